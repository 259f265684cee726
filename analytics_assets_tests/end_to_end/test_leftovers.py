"""A resource that is removed or renamed leaves a clear sign, and a command drops what is left of it."""

import os
import pty
import subprocess
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import duckdb
import pytest

from analytics_assets.api.connector import Connector
from analytics_assets.api.settings_reader import read_settings
from analytics_assets.warehouse.leftovers import drop_leftover
from analytics_assets.warehouse.session import open_session
from analytics_assets.warehouse.sync import begin_sync, sync
from analytics_assets_tests.servers.fake_api import FakeApi
from analytics_assets_tests.support.commands import COMMANDS_OF_EIGHT, check, run, start
from analytics_assets_tests.support.eight import EIGHT
from analytics_assets_tests.support.project import Project
from analytics_assets_tests.support.specification import ANALYTICS
from analytics_assets_tests.support.tables import Tables, open_tables

SIGN = (
    "The warehouse still has something of places, and the catalog no longer lists it."
    " `python -m analytics_assets drop places` drops what is left"
)

DLT_TABLES = {"_dlt_version": "schema_name", "_dlt_loads": "schema_name", "_dlt_pipeline_state": "pipeline_name"}

FORMER = replace(
    EIGHT,
    resources=(*EIGHT.resources, replace(EIGHT.by_name["locations"], name="places")),
    dialects=(replace(ANALYTICS, endpoints={**ANALYTICS.endpoints, "places": ANALYTICS.endpoints["locations"]}),),
)
OTHER = replace(FORMER, name="analytics_eu", config_section="sources.analytics", dataset_name="analytics")
"""Another connector of the same dataset."""


@pytest.fixture(params=["duckdb", "postgres", "sqlite"])
def warehouse(
    request: pytest.FixtureRequest, api: FakeApi, project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Tables:
    """A destination with the tables of `roles` and `locations`, the latter also by the name `places` of former times.

    The places were merged in dlt's way, so that they have a staging table, too.
    """
    if request.param == "postgres":
        monkeypatch.setenv("NORMALIZE__LOADER_FILE_FORMAT", "csv")
    tables = open_tables(request.param, request, project, tmp_path, monkeypatch)
    load("locations")
    load("places", connector=FORMER)
    api.rows["locations"][0] |= {"name": "Renamed"}
    load("places", connector=FORMER)
    return tables


def load(*names: str, connector: Connector = EIGHT) -> list[str]:
    """Syncs each of the resources; returns what was said meanwhile."""
    said: list[str] = []
    for name in names:
        with (
            open_session(read_settings(connector), log=said.append) as session,
            begin_sync(session, [connector.by_name[name]]) as [pending],
        ):
            sync(pending, session)
    return said


def drop(tmp_path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return run(tmp_path, *COMMANDS_OF_EIGHT, "drop", *arguments)


def kept(tables: Tables) -> dict[str, set[str]]:
    """The names of pipelines by the table of dlt that has them."""
    return {
        table: {name for (name,) in tables.execute(f"SELECT {column} FROM {tables.name(table)}")}
        for table, column in DLT_TABLES.items()
    }


def test_what_is_left_of_a_former_resource_is_named_and_dropped(warehouse: Tables, tmp_path: Path) -> None:
    assert load("locations", "roles") == [SIGN, SIGN]
    [verdict] = [line for line in check(tmp_path).stdout.splitlines() if " destination " in line]
    assert verdict.startswith("ok ")
    assert verdict.endswith(SIGN)
    assert kept(warehouse)["_dlt_version"] == {"analytics_places", "analytics_locations", "analytics_roles"}

    refused = drop(tmp_path, "places")
    assert refused.returncode == 1
    assert "the table analytics.places with 20 rows, and dlt's state." in refused.stdout
    assert refused.stderr == "Nothing was dropped: there is no terminal to ask on. Add --yes to drop it.\n"
    assert len(warehouse.execute(f"SELECT id FROM {warehouse.name('places')}")) == 20

    dropped = drop(tmp_path, "places", "--yes")
    assert dropped.returncode == 0, dropped.stderr
    assert dropped.stdout.splitlines()[-1] == "Dropped: the table analytics.places with 20 rows, and dlt's state."
    assert set(map(frozenset, kept(warehouse).values())) == {frozenset({"analytics_locations", "analytics_roles"})}
    if warehouse.kind != "sqlite":
        where = "SELECT table_schema, table_name FROM information_schema.tables WHERE table_name = 'places'"
        assert warehouse.execute(where) == []
        staged = warehouse.execute("SELECT schema_name FROM analytics_staging._dlt_version")
        assert ("analytics_locations",) in staged
        assert ("analytics_places",) not in staged
    assert load("locations", "roles") == []
    assert drop(tmp_path, "places", "--yes").stderr == (
        "Nothing is left of a resource 'places' in the warehouse. Nothing else is left, either.\n"
    )


@pytest.mark.parametrize("warehouse", ["postgres"], indirect=True)
def test_the_command_waits_for_a_run_that_loads_the_table(warehouse: Tables, tmp_path: Path) -> None:
    with closing(warehouse.connect()) as other:
        other.cursor().execute("SELECT pg_advisory_lock(hashtext('analytics.places'))")
        with start(tmp_path, *COMMANDS_OF_EIGHT, "drop", "places", "--yes") as process:
            assert process.stdout
            said = process.stdout.readline()
            other.close()
            process.communicate()
    assert said == "Waiting for another run that is loading analytics.places, 60 s at most\n"
    assert process.returncode == 0


def answer(tmp_path: Path, text: str) -> tuple[int, str]:
    """Runs the command at a terminal, answers its question, and returns its exit status and output."""
    command = [*COMMANDS_OF_EIGHT, "drop", "places"]
    ours, theirs = pty.openpty()
    try:
        with subprocess.Popen(command, stdin=theirs, stdout=subprocess.PIPE, text=True, cwd=tmp_path) as process:
            os.write(ours, f"{text}\n".encode())
            output, _ = process.communicate()
    finally:
        os.close(ours)
        os.close(theirs)
    return process.returncode, output


@pytest.mark.parametrize("warehouse", ["duckdb"], indirect=True)
def test_the_command_asks_at_a_terminal(warehouse: Tables, tmp_path: Path) -> None:
    for text, status, left in (("n", 1, 20), ("", 1, 20), ("y", 0, None)):
        code, output = answer(tmp_path, text)
        assert "Drop it for good? [y/N]" in output
        assert code == status
        found = warehouse.execute("SELECT table_name FROM duckdb_tables() WHERE table_name = 'places'")
        with duckdb.connect(str(tmp_path / "warehouse_read.duckdb"), read_only=True) as copy:
            assert (
                copy.execute("SELECT table_name FROM duckdb_tables() WHERE table_name = 'places'").fetchall() == found
            )
        assert bool(found) is (left is not None)


@pytest.mark.parametrize("warehouse", ["duckdb"], indirect=True)
def test_a_resource_of_the_catalog_and_an_unknown_name_are_refused(warehouse: Tables, tmp_path: Path) -> None:
    result = drop(tmp_path, "locations", "--yes")
    assert result.returncode == 1
    assert result.stderr.startswith("locations is in the catalog. Run with mode: rebuild to drop its table")
    result = drop(tmp_path, "place", "--yes")
    assert result.returncode == 1
    assert result.stderr == "Nothing is left of a resource 'place' in the warehouse. There is places.\n"
    assert len(warehouse.execute("SELECT id FROM analytics.locations")) == 20


@pytest.mark.parametrize("warehouse", ["duckdb"], indirect=True)
def test_a_run_warns_once_of_what_is_left(warehouse: Tables, project: Project) -> None:
    result = project.sync()
    warnings = [
        entry.user_message for entry in project.instance.all_logs(result.run_id) if "no longer lists" in entry.message
    ]
    assert warnings == [SIGN]


def test_another_connector_of_the_same_dataset_is_no_leftover(api: FakeApi, project: Project) -> None:
    load("roles", connector=OTHER.only(["roles"]))
    assert load("groups") == []


@pytest.mark.parametrize("warehouse", ["duckdb", "postgres"], indirect=True)
def test_a_table_that_another_connector_has_taken_over_stays(warehouse: Tables, tmp_path: Path) -> None:
    warehouse.execute("DROP TABLE analytics.places")
    load("places", "places", connector=OTHER)
    assert load("roles") == [SIGN]
    dropped = drop(tmp_path, "places", "--yes")
    assert dropped.returncode == 0, dropped.stderr
    assert dropped.stdout.splitlines()[-1] == (
        "Dropped: dlt's state, and not the table analytics.places, because the pipeline analytics_eu_places has it,"
        " too."
    )
    assert all("analytics_eu_places" in names and "analytics_places" not in names for names in kept(warehouse).values())
    assert len(warehouse.execute("SELECT id FROM analytics.places")) == 20
    assert load("roles") == []
    assert load("places", connector=OTHER) == []


def test_without_a_duckdb_file_there_is_nothing_to_drop_and_none_is_made(
    api: FakeApi, project: Project, tmp_path: Path
) -> None:
    result = drop(tmp_path, "places", "--yes")
    assert result.returncode == 1
    assert result.stderr == (
        f"Nothing is left of a resource 'places' in the warehouse: there is no file {project.database}.\n"
    )
    assert not project.database.exists()


def test_the_command_line_prints_what_a_sync_says(api: FakeApi, project: Project, tmp_path: Path) -> None:
    load("places", connector=FORMER)
    done = run(tmp_path, *COMMANDS_OF_EIGHT, "sync")
    assert done.returncode == 0, done.stderr
    assert SIGN in " ".join(done.stdout.split())


def test_what_the_connector_has_is_never_dropped(api: FakeApi, project: Project) -> None:
    load("roles")
    with open_session(read_settings(EIGHT)) as session, session.client as client:
        for connector in (EIGHT, EIGHT.only(["groups"])):
            with pytest.raises(ValueError, match="roles is a resource of analytics, and nothing that is left over"):
                drop_leftover(client, connector, "roles")
    assert project.ids("roles") == [1, 2, 3]
