"""In somebody else's project: two tenants beside the host's own assets, jobs and dlt sources."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import duckdb
import pytest
import yaml

from analytics_assets_tests.servers.fake_api import TOKEN, FakeApi, serve
from analytics_assets_tests.support.rows import group, organization

HOST = '''
import gc, os
import dagster as dg, dlt
from analytics_assets_tests.support.specification import EIGHT
from analytics_assets.definitions import build_definitions
from analytics_assets.defs.names import name_all
from dataclasses import replace

@dg.asset
def own() -> dg.MaterializeResult:
    """The host's own, which reads the host's configuration by dlt."""
    return dg.MaterializeResult(metadata={"greeting": dlt.config["sources.host.greeting"]})

@dg.definitions
def defs():
    small = EIGHT.only(["organizations", "locations", "groups"])
    acme = name_all(
        replace(small, name="acme", config_section="sources.first", dataset_name="acme_raw"),
        prefix=("crm", "acme"), group="sales", owner="team:sales", resource_key="acme_api", pool="duck",
    )
    umbrella = name_all(replace(small, name="umbrella", docs_url="https://docs.example.com"))
    host = dg.Definitions(assets=[own], jobs=[dg.define_asset_job("host_job", dg.AssetSelection.assets(own))])
    merged = dg.Definitions.merge(host, build_definitions(acme), build_definitions(umbrella))
    assert "DLT_PROJECT_DIR" not in os.environ and gc.get_freeze_count() == 0
    return merged.map_asset_specs(func=lambda spec: spec.replace_attributes(group_name="vendor"))
'''

RUN = """
import json, sys
import dagster as dg
from host import defs
definitions = defs()
done = {}
with dg.instance_for_test() as instance:
    for job, key in (("host_job", None), ("acme_sync", "acme_api"), ("umbrella_sync", "umbrella")):
        result = definitions.resolve_job_def(job).execute_in_process(instance=instance)
        done[job] = ["/".join(event.asset_key.path) for event in result.get_asset_materialization_events()]
    greeting = instance.get_latest_materialization_event(dg.AssetKey("own")).asset_materialization.metadata["greeting"]
executors = {job: definitions.resolve_job_def(job).executor_def.name for job in ("host_job", "acme_sync")}
tables = [spec for spec in definitions.resolve_all_asset_specs()]
keyed = definitions.get_repository_def().assets_defs_by_key
executable = [each for each in keyed.values() if each.is_executable]
print(json.dumps({
    "done": done, "greeting": greeting.value, "executors": executors,
    "owners": sorted({owner for spec in tables for owner in spec.owners}),
    "docs": sorted({spec.metadata["docs"].url for spec in tables if "docs" in spec.metadata}),
    "groups": sorted({spec.group_name for spec in tables}),
    "pools": sorted({each.op.pool for each in executable if each.op.pool}),
}))
"""


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project of its own, with its own `.dlt`, in which processes are started."""
    path = tmp_path / "host"
    (path / ".dlt").mkdir(parents=True)
    monkeypatch.delenv("DLT_PROJECT_DIR")
    return path


def configure(host: Path, first: FakeApi, second: FakeApi) -> None:
    (host / ".dlt" / "config.toml").write_text(
        f'[sources.host]\ngreeting = "hello"\n[sources.first]\nbase_url = "{first.url}"\n'
        f'[sources.umbrella]\nbase_url = "{second.url}"\n'
    )
    (host / ".dlt" / "secrets.toml").write_text(
        f'[sources.first]\napi_key = "{TOKEN}"\n[sources.umbrella]\napi_key = "{TOKEN}"\n'
        f'[destination.duckdb]\ncredentials = "{host / "all.duckdb"}"\n'
    )


def run(host: Path, *command: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(host), "DG_TELEMETRY_DISABLED": "1"}
    result = subprocess.run(
        [str(Path(sys.executable).with_name(command[0])), *command[1:]],
        cwd=host,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert "Traceback" not in result.stderr, result.stderr
    return result.stdout


def test_two_tenants_stand_beside_the_hosts_own_assets(host: Path) -> None:
    with serve() as first, serve() as second:
        first.rows |= {"organizations": [organization(1)], "groups": [group(1), group(2)]}
        second.rows |= {"organizations": [organization(7), organization(8)], "groups": [group(9)]}
        configure(host, first, second)
        (host / "host.py").write_text(HOST)
        found: dict[str, Any] = yaml.safe_load(run(host, "python", "-c", RUN).splitlines()[-1])
    names = ["organizations", "locations", "groups"]
    assert {job: set(keys) for job, keys in found["done"].items()} == {
        "host_job": {"own"},
        "acme_sync": {f"crm/acme/{name}" for name in names},
        "umbrella_sync": {f"umbrella/{name}" for name in names},
    }
    assert found["greeting"] == "hello"
    assert found["executors"] == {"host_job": "multi_or_in_process_executor", "acme_sync": "in_process"}
    assert found["owners"] == ["team:data-platform", "team:sales"]
    assert "https://docs.example.com" in found["docs"]
    assert found["groups"] == ["vendor"]
    assert found["pools"] == ["analytics_warehouse", "duck"]
    with duckdb.connect(str(host / "all.duckdb")) as connection:

        def ids(table: str) -> list[int]:
            return [row[0] for row in connection.execute(f"SELECT id FROM {table} ORDER BY id").fetchall()]

        assert (ids("acme_raw.organizations"), ids("acme_raw.groups")) == ([1], [1, 2])
        assert (ids("umbrella.organizations"), ids("umbrella.groups")) == ([7, 8], [9])


THREADS = """
import os, threading
from dataclasses import replace
from analytics_assets_tests.support.specification import EIGHT
from analytics_assets.api.settings_reader import read_settings
from analytics_assets.warehouse.session import open_session
from analytics_assets.warehouse.sync import begin_sync, sync
from analytics_assets.warehouse.target import Target
from pathlib import Path
loaded, small = {}, EIGHT.only(["organizations", "groups"])
def load(name, section):
    settings = read_settings(replace(small, name=name, config_section=section))
    with open_session(settings, Target("duckdb", Path(f"of_{name}.duckdb").absolute())) as session:
        with begin_sync(session, settings.connector.resources) as listings:
            loaded[name] = {each.listing.resource.name: sync(each, session).rows_loaded for each in listings}
threads = [threading.Thread(target=load, args=pair) for pair in (("acme", "sources.first"), ("umbrella", None))]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
assert not any(name.startswith("dagster") for name in __import__("sys").modules)
print(dict(sorted(loaded.items())))
"""


def test_the_dlt_half_loads_two_tenants_in_threads_of_a_script_without_dagster(host: Path) -> None:
    with serve() as first, serve() as second:
        first.rows |= {"organizations": [organization(1)], "groups": [group(1), group(2)]}
        second.rows |= {"organizations": [organization(7), organization(8)], "groups": [group(9)]}
        configure(host, first, second)
        said = run(host, "python", "-c", THREADS).splitlines()[-1]
    assert said == str({"acme": {"organizations": 1, "groups": 2}, "umbrella": {"organizations": 2, "groups": 1}})
