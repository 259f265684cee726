"""Syncs by Sling, with an API specification, into DuckDB. It runs in an environment of its own.

Sling's newer wheels download its program when they are first used; this is the last version whose wheel has it. Its
incremental mode for APIs needs a token of Sling Pro, so that each sync reads everything and replaces the tables.

Locked: uv pip compile --no-annotate --no-header, of sling-linux-amd64==1.4.11, and duckdb-cli, duckdb-extension-httpfs
and duckdb-extension-json, which it uses, ==1.5.5.
"""

import json
import os
import shutil
import sys
import sysconfig
from pathlib import Path
from typing import Any

PACKAGES = Path(sysconfig.get_path("purelib"))


def specification(catalog: list[dict[str, Any]], url: str, page_size: int, in_flight: int) -> dict[str, Any]:
    """The API as Sling's specifications describe one. Without a rate it makes two requests a second."""
    request = {"rate": 100_000, "concurrency": in_flight, "headers": {"Authorization": "Bearer any"}}
    return {
        "name": "Benchmark",
        "defaults": {"request": request},
        "endpoints": {declared["name"]: endpoint(declared, url, page_size) for declared in catalog},
    }


def endpoint(declared: dict[str, Any], url: str, page_size: int) -> dict[str, Any]:
    """One resource."""
    made: dict[str, Any] = {
        "request": {"url": f"{url}{declared['path']}"},
        "response": {"records": {"jmespath": f"{declared['selector']}[]", "primary_key": [declared["key"]]}},
    }
    if declared["paginated"]:
        made["state"] = {"offset": 0}
        made["request"]["parameters"] = {"after": "${state.offset}", "limit": page_size}
        made["pagination"] = {
            "next_state": {"offset": f"${{state.offset + {page_size}}}"},
            "stop_condition": "length(response.records) == 0",
        }
    return made


def place_extensions() -> None:
    """Puts the extensions of DuckDB, which come as wheels, where DuckDB looks for those that it has downloaded."""
    for file in PACKAGES.glob("duckdb_extension_*/extensions/*/*.duckdb_extension"):
        directory = Path(sys.prefix) / ".duckdb/extensions" / file.parent.name / "linux_amd64"
        if not (directory / file.name).exists():
            directory.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, directory)


def main(catalog: str, url: str, database: str, page_size: str, in_flight: str) -> None:
    """Becomes Sling."""
    declared = json.loads(Path(catalog).read_text("utf-8"))
    directory = Path(database).parent
    # JSON is YAML too.
    described, replication = directory / "specification.yaml", directory / "replication.yaml"
    described.write_text(json.dumps(specification(declared, url, int(page_size), int(in_flight))), "utf-8")
    streams = {
        "source": "BENCHMARK",
        "target": "WAREHOUSE",
        "defaults": {"mode": "full-refresh", "object": "analytics.{stream_name}"},
        "streams": {each["name"]: {} for each in declared},
    }
    replication.write_text(json.dumps(streams), "utf-8")
    place_extensions()
    environment = os.environ | {
        "HOME": sys.prefix,
        "SLING_HOME_DIR": str(directory),
        # The program itself; the script of that name in bin starts a Python before it.
        "DUCKDB_PATH": str(PACKAGES / "duckdb_cli/duckdb"),
        "BENCHMARK": json.dumps({"type": "api", "spec": f"file://{described}"}),
        "WAREHOUSE": json.dumps({"type": "duckdb", "instance": database}),
    }
    program = PACKAGES / "sling_linux_amd64/bin/sling-linux-amd64"
    os.execve(program, [str(program), "run", "--replication", str(replication)], environment)


if __name__ == "__main__":
    main(*sys.argv[1:])
