"""Files that open: which DuckDB reads what a sync has written, what becomes of files that exist, and reading by dlt."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import dlt
import duckdb
import pytest

from analytics_assets_tests.servers.fake_api import FakeApi
from analytics_assets_tests.support.needs import absent
from analytics_assets_tests.support.project import Project, failure_message, metadata
from analytics_assets_tests.support.rows import policy, role

# The oldest that has wheels for every Python, a later one, and the one that makes files for itself alone by default.
OLDEST, LATER, NEWEST = "1.4.2", "1.5.0", "2.0.1"
INSTALLED = duckdb.__version__

READ = """
import json, sys, duckdb
assert duckdb.__version__ == sys.argv[2], duckdb.__version__
with duckdb.connect(sys.argv[1], read_only=True) as connection:
    names = connection.execute("SELECT schema_name, table_name FROM duckdb_tables()").fetchall()
    tables = {".".join(name): connection.execute('SELECT * FROM "{}"."{}"'.format(*name)).fetchall() for name in names}
    print(json.dumps({name: sorted(json.dumps(row, default=str) for row in rows) for name, rows in tables.items()}))
"""

SYNC = """
import sys, duckdb
from analytics_assets.api.settings_reader import read_settings
from analytics_assets.warehouse.session import open_session
from analytics_assets.warehouse.sync import begin_sync, sync
from analytics_assets_tests.support.eight import EIGHT
assert duckdb.__version__ == sys.argv[1], duckdb.__version__
with open_session(read_settings(EIGHT)) as session, begin_sync(session) as pending:
    for each in pending:
        sync(each, session, rebuild=sys.argv[2] == "rebuild")
"""

EXECUTE = """
import sys, duckdb
with duckdb.connect(sys.argv[1]) as connection:
    connection.execute(sys.argv[2])
"""

OWN_TABLE = "CREATE TABLE own AS SELECT range AS id, repeat('x', 100) AS filler FROM range(5000)"

Python = Callable[..., str]


@pytest.fixture(scope="session")
def python(tmp_path_factory: pytest.TempPathFactory) -> Python:
    """Runs a script with a version of DuckDB; those that are not installed come from the package index."""
    uv = os.environ.get("UV") or shutil.which(
        "uv", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    )
    installer = [uv, "pip", "install", "--python", sys.executable] if uv else [sys.executable, "-m", "pip", "install"]
    directory = tmp_path_factory.mktemp("duckdb")
    for version in (OLDEST, LATER, NEWEST):
        target = str(directory / version)
        command = [*installer, "--quiet", "--no-deps", "--target", target, f"duckdb=={version}"]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        if result.returncode:
            absent(f"DuckDB {version} cannot be installed: {result.stderr}")

    def run(version: str, script: str, *arguments: object) -> str:
        path = {} if version == INSTALLED else {"PYTHONPATH": str(directory / version)}
        command = [sys.executable, "-c", script, *map(str, arguments)]
        result = subprocess.run(command, env=os.environ | path, capture_output=True, text=True, check=False)
        assert result.returncode == 0, f"DuckDB {version}: {result.stderr}"
        return result.stdout

    return run


def storage(database: Path) -> str:
    """The oldest DuckDB that reads a file, as the file says."""
    with duckdb.connect() as connection:
        connection.execute(f"ATTACH '{database}' AS looked_at (READ_ONLY)")
        found = connection.execute("SELECT tags FROM duckdb_databases() WHERE database_name = 'looked_at'").fetchall()
    return str(found[0][0]["storage_version"])


def read(python: Python, database: Path, *versions: str) -> dict[str, list[str]]:
    """All rows of all tables, as text, alike in all these versions."""
    found: list[dict[str, list[str]]] = [json.loads(python(name, READ, database, name)) for name in versions]
    assert all(each == found[0] for each in found)
    return found[0]


@pytest.mark.parametrize("writer", [LATER, INSTALLED, NEWEST])
def test_a_new_file_is_read_by_duckdb_1_4_and_later(
    writer: str, python: Python, api: FakeApi, project: Project
) -> None:
    def sync(mode: str) -> dict[str, list[str]]:
        python(writer, SYNC, writer, mode)
        return read(python, project.database, OLDEST, LATER, INSTALLED, NEWEST)

    assert len(sync("incremental")["analytics.policies"]) == 3
    assert storage(project.database) == "v1.4.0+"
    api.rows["policies"].append(policy(90, "2024-06-01T00:00:00Z", brandNew={"nested": [1, None]}))
    assert len(sync("incremental")["analytics.policies"]) == 4
    api.rows["policies"] = [policy(n, name="x" * 5000) for n in range(500)]
    rebuilt = sync("rebuild")
    assert len(rebuilt["analytics.policies"]) == 500
    assert len(rebuilt["analytics.activities"]) == 41


@pytest.mark.parametrize(
    ("maker", "version"), [(OLDEST, "v1.0.0+"), (LATER, "v1.0.0+"), (LATER, "v1.5.0+"), (INSTALLED, "v1.2.0+")]
)
def test_a_file_that_exists_keeps_its_storage_version(
    maker: str, version: str, python: Python, project: Project, api: FakeApi
) -> None:
    attach = f"ATTACH '{project.database}' AS made (STORAGE_VERSION '{version[:-1]}'); USE made"
    python(maker, EXECUTE, ":memory:", f"{attach}; {OWN_TABLE}")
    assert storage(project.database) == version
    project.sync("roles", "policies")
    api.rows["roles"].append(role(4, "2024-06-01T00:00:00Z"))
    project.sync("roles", "policies")
    project.sync("policies", config={"mode": "rebuild"})
    project.query("UPDATE own SET filler = 'y'; CHECKPOINT")

    assert storage(project.database) == version
    found = read(python, project.database, maker, INSTALLED)
    assert (len(found["main.own"]), len(found["analytics.roles"]), len(found["analytics.policies"])) == (5000, 4, 3)


def test_a_file_of_duckdb_2_is_converted_by_what_the_error_says(
    python: Python, project: Project, api: FakeApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = replace(project, database=project.database.with_name("o'duck.duckdb"))
    monkeypatch.setenv("DESTINATION__DUCKDB__CREDENTIALS", str(project.database))
    project.sync("roles")
    made = project.database.with_name("made.duckdb")
    ours = str(project.database).replace("'", "''")
    python(NEWEST, EXECUTE, ":memory:", f"ATTACH '{ours}' AS a; ATTACH '{made}' AS b; COPY FROM DATABASE a TO b")
    made.replace(project.database)
    before = project.database.read_bytes()
    api.requests.clear()
    message = failure_message(project.run("roles"))

    assert f"a newer DuckDB than {INSTALLED} has made" in message
    assert api.requests == []
    assert project.database.read_bytes() == before
    found = re.search(r"ATTACH '.*COPY FROM DATABASE newer TO older", message)
    assert found
    python(NEWEST, EXECUTE, ":memory:", found[0])
    project.database.with_name(f"{project.database.name}.copy").replace(project.database)
    api.rows["roles"].append(role(4, "2024-06-01T00:00:00Z"))
    assert metadata(project.sync("roles"), "roles")["rows_loaded"] == 1
    assert project.ids("roles") == [1, 2, 3, 4]
    assert len(read(python, project.database, OLDEST, INSTALLED, NEWEST)["analytics.roles"]) == 4


# dlt 1.31.0 uses a name that DuckDB 1.5 says will go, as it has in 2.0.
@pytest.mark.filterwarnings("ignore:fetch_arrow_table:DeprecationWarning")
def test_dlt_reads_the_tables_as_arrow_and_by_sql(project: Project, api: FakeApi, tmp_path: Path) -> None:
    project.sync("roles")
    pipeline = dlt.pipeline(
        "analytics_roles", destination="duckdb", dataset_name="analytics", pipelines_dir=str(tmp_path / "reader")
    )
    pipeline.sync_destination()
    for tables in (dlt.dataset("duckdb", "analytics", schema="analytics_roles"), pipeline.dataset()):
        roles = tables.roles.order_by("id")
        assert roles.select("id", "name").arrow().to_pylist() == [
            {"id": row["id"], "name": row["name"]} for row in api.rows["roles"]
        ]
        assert [table.num_rows for table in roles.iter_arrow(2048)] == [3]
        assert tables("SELECT count(*) AS n, max(id) FROM roles WHERE custom").fetchall() == [(3, 3)]
