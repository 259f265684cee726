"""Where rows land: which file, what if it is busy, and Postgres."""

import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import dagster as dg
import dlt
import duckdb
import psycopg2
import pytest
from dlt.common.destination.reference import Destination
from dlt.common.normalizers.naming.snake_case import NamingConvention

from analytics_assets.api.settings_reader import read_settings
from analytics_assets.defs.assets.resource import AnalyticsResource
from analytics_assets.defs.assets.specs import asset_key
from analytics_assets.defs.quality.connection_check import Verdict, check_connection
from analytics_assets.project import project_dir
from analytics_assets.warehouse.destination import build_destination
from analytics_assets.warehouse.target import Target, read_target
from analytics_assets_tests.servers.fake_api import PATHS, FakeApi
from analytics_assets_tests.support.checkout import CHECKOUT
from analytics_assets_tests.support.holder import holding
from analytics_assets_tests.support.project import Project, failure_message, metadata, resource_config
from analytics_assets_tests.support.rows import group, location, policy

URL = "https://api.example.com"


def test_demo_rows_and_real_rows_have_files_of_their_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    data = project_dir() / "data"
    assert read_target(read_settings()) == Target("duckdb", data / "demo.duckdb")
    assert read_target(read_settings(base_url=URL, api_key="x")) == Target("duckdb", data / "warehouse.duckdb")
    assert data.is_absolute()


@pytest.mark.parametrize(
    ("configured", "path"),
    [
        ("warehouse/x.duckdb", "warehouse/x.duckdb"),
        ("duckdb:///x.duckdb", "x.duckdb"),
        ("/srv/x.duckdb", "/srv/x.duckdb"),
    ],
)
def test_relative_paths_start_at_the_project(monkeypatch: pytest.MonkeyPatch, configured: str, path: str) -> None:
    monkeypatch.setenv("DESTINATION__DUCKDB__CREDENTIALS", configured)
    assert read_target(read_settings()).duckdb_path == project_dir() / path
    assert read_target(read_settings(), credentials="explicit.duckdb").duckdb_path == project_dir() / "explicit.duckdb"


def test_a_real_api_is_loaded_into_the_default_file(
    api: FakeApi, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DESTINATION__DUCKDB__CREDENTIALS")
    assert project.sync().success
    with duckdb.connect(str(project_dir() / "data" / "warehouse.duckdb")) as connection:
        assert connection.execute("SELECT count(*) FROM analytics.roles").fetchone() == (len(api.rows["roles"]),)


@pytest.mark.parametrize("name", ["analytics", "Analytics", "analytics_staging", "reports"])
def test_a_file_that_is_named_like_a_schema_is_refused_before_any_request(
    api: FakeApi, project: Project, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    monkeypatch.setenv("DESTINATION__DUCKDB__CREDENTIALS", str(tmp_path / f"{name}.duckdb"))
    result = project.run("roles")
    assert f"Rename the file, for example to {name}_warehouse.duckdb" in failure_message(result)
    assert not api.requests


@pytest.mark.parametrize("type_", ["duckdb", "postgres"])
def test_remembered_capabilities_are_those_that_dlt_would_resolve(tmp_path: Path, type_: str) -> None:
    ours = build_destination(Target(type_), "postgresql://nobody:x@localhost/nowhere" if type_ == "postgres" else None)
    # That DuckDB has transactions is what dlt does not know.
    theirs = dlt.destinations.duckdb(supports_transactions=True) if type_ == "duckdb" else dlt.destinations.postgres()
    naming = NamingConvention(20)
    for _ in range(2):
        # Some values are partial functions, which are equal by name only.
        assert repr(dict(ours.capabilities())) == repr(dict(theirs.capabilities()))
        assert repr(dict(ours.capabilities(naming=naming))) == repr(dict(theirs.capabilities(naming=naming)))
        # What dlt writes into its copy is not in the next one.
        ours.capabilities().max_identifier_length = 7
    pipeline = dlt.pipeline("any", destination=ours, pipelines_dir=str(tmp_path))
    assert pipeline.destination is ours


@pytest.mark.parametrize("type_", ["duckdb", "postgres"])
def test_a_configuration_that_is_spelled_out_is_the_one_that_dlt_would_resolve(
    monkeypatch: pytest.MonkeyPatch, type_: str
) -> None:
    credentials = "postgresql://nobody:x@localhost/nowhere" if type_ == "postgres" else "any.duckdb"
    monkeypatch.setenv(f"DESTINATION__{type_.upper()}__STAGING_DATASET_NAME_LAYOUT", "landing_%s")
    monkeypatch.setenv(f"DESTINATION__{type_.upper()}__CREATE_INDEXES", "true")
    ours = build_destination(Target(type_), credentials)
    theirs = Destination.from_reference(type_, credentials=credentials)
    assert theirs
    spelled_out, resolved = (
        dict(destination.configuration(destination.spec(), accept_partial=True)) for destination in (ours, theirs)
    )
    assert spelled_out.pop("credentials").to_url() == resolved.pop("credentials").to_url()
    assert spelled_out == resolved
    assert (resolved["staging_dataset_name_layout"], resolved["create_indexes"]) == ("landing_%s", True)
    # And nothing is looked up any more.
    monkeypatch.setenv(f"DESTINATION__{type_.upper()}__STAGING_DATASET_NAME_LAYOUT", "other_%s")
    assert ours.configuration(ours.spec(), accept_partial=True)["staging_dataset_name_layout"] == "landing_%s"


@pytest.fixture
def holder(project: Project, api: FakeApi, request: pytest.FixtureRequest) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the DuckDB file until a line is written to it."""
    project.sync("roles")
    with holding(project.database, request.param) as process:
        yield process


@pytest.mark.parametrize("holder", ["reader", "writer"], indirect=True)
def test_a_busy_file_is_a_clear_error_after_a_while(
    holder: subprocess.Popen[str], project: Project, api: FakeApi
) -> None:
    api.requests.clear()
    result = project.run("roles", run_config=resource_config(busy_timeout=0.6))

    message = failure_message(result)
    assert f"The DuckDB file {project.database} is still in use" in message
    assert str(holder.pid) in message
    assert api.requests == []
    logged = [entry.user_message for entry in project.instance.all_logs(result.run_id)]
    assert any(f"Waiting for the DuckDB file {project.database}" in line for line in logged)


@pytest.mark.parametrize("holder", ["writer"], indirect=True)
def test_a_busy_file_is_waited_for(
    holder: subprocess.Popen[str], project: Project, api: FakeApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    def let_go(_: float) -> None:
        assert holder.stdin
        holder.communicate("\n")

    monkeypatch.setattr("analytics_assets.warehouse.duckdb_file.time.sleep", let_go)
    assert project.run("roles", run_config=resource_config(busy_timeout=30)).success


@pytest.mark.parametrize("name", ["warehouse", "clock"])
def test_a_file_that_is_no_duckdb_is_named(
    name: str, project: Project, api: FakeApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What DuckDB says of it has its name, which may look like a word about locks.
    database = project.database.with_stem(name)
    monkeypatch.setenv("DESTINATION__DUCKDB__CREDENTIALS", str(database))
    database.write_bytes(b"something else" * 1000)
    message = failure_message(project.run("roles", run_config=resource_config(busy_timeout=0.6)))
    assert f"Cannot open the DuckDB file {database}" in message
    assert api.requests == []


def test_no_working_directory_outlives_a_run(
    project: Project, api: FakeApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    api.rows["roles"] = [{"no": "id"}]
    assert not project.run("roles", "groups").success
    assert list(scratch.glob("analytics_assets_*")) == []
    assert list((tmp_path / "dlt").glob("pipelines/*")) == []


def test_postgres_by_configuration_alone(
    postgres: str, api: FakeApi, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DESTINATION_TYPE", "postgres")
    monkeypatch.setenv("DESTINATION__POSTGRES__CREDENTIALS", postgres)
    project.sync()
    api.rows["policies"].append(policy(90, "2024-06-01T00:00:00Z"))
    api.rows["locations"].pop()
    result = project.sync()

    assert metadata(result, "policies")["rows_loaded"] == 1
    assert metadata(result, "activities")["rows_loaded"] == 0
    assert metadata(result, "locations")["rows_marked_deleted"] == 1
    assert metadata(result, "locations")["dagster/row_count"] == 20
    connection = psycopg2.connect(postgres)
    try:
        with connection.cursor() as cursor:
            for resource, rows in api.rows.items():
                live = "" if resource == "activities" else "WHERE deleted_at IS NULL"
                cursor.execute(f"SELECT id FROM analytics.{resource} {live} ORDER BY id")
                assert [row[0] for row in cursor.fetchall()] == [row["id"] for row in rows]
            cursor.execute("SELECT data->'n'->>0 FROM analytics.activities WHERE id = 7")
            assert cursor.fetchone() == ("7",)
    finally:
        connection.close()
    assert not project.database.exists()


def test_the_connection_check_tells_whether_postgres_takes_a_table_and_leaves_none(
    postgres: str, api: FakeApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    def verdict(url: str) -> Verdict:
        monkeypatch.setenv("DESTINATION__POSTGRES__CREDENTIALS", url)
        return next(found for found in check_connection(AnalyticsResource(), pytest.fail) if found.subject not in PATHS)

    monkeypatch.setenv("DESTINATION_TYPE", "postgres")
    with closing(psycopg2.connect(postgres)) as connection, connection.cursor() as cursor:
        cursor.execute("CREATE ROLE reader LOGIN; COMMIT")
        names = "SELECT table_schema, table_name FROM information_schema.tables ORDER BY 1, 2"
        cursor.execute(names)
        before = cursor.fetchall()
        refused, taken = verdict(postgres.replace("loader", "reader")), verdict(postgres)
        cursor.execute("ROLLBACK")
        cursor.execute(names)
        assert cursor.fetchall() == before

    assert taken == Verdict("destination", passed=True, says="postgres can be written to")
    assert not refused.passed
    assert "permission denied" in refused.says
    assert "pw-canary" not in refused.says


def test_the_checks_measure_postgres_as_they_do_duckdb(
    postgres: str, api: FakeApi, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DESTINATION_TYPE", "postgres")
    monkeypatch.setenv("DESTINATION__POSTGRES__CREDENTIALS", postgres)
    api.rows["locations"] += [location(number, organizationId=number) for number in range(300, 307)]
    api.rows["groups"] = [group(1), group(2, None), group(3, "2099-01-01T00:00:00Z"), group(4, brandNew="x")]
    synced = project.sync(config={"mode": "rebuild"})
    with closing(psycopg2.connect(postgres)) as connection, connection, connection.cursor() as cursor:
        cursor.execute("UPDATE analytics.roles SET id = 1 WHERE id = 2")
        cursor.execute("UPDATE analytics._dlt_loads SET status = 1 WHERE schema_name = 'analytics_policies'")
        cursor.execute("DROP TABLE analytics.software_products")
    looked = project.sync(job="analytics_verify")

    def wrong(result: dg.ExecuteInProcessResult) -> set[tuple[str, str]]:
        found = result.get_asset_check_evaluations()
        return {(each.asset_key.path[-1], each.check_name) for each in found if not each.passed}

    of_the_rows = {
        ("activities", "cursor_freshness"),
        ("groups", "cursor_freshness"),
        ("groups", "rows_without_cursor"),
        ("groups", "undeclared_columns"),
        ("locations", "organization_exists"),
    }
    assert wrong(synced) == of_the_rows
    damaged = {("roles", "primary_key"), ("policies", "last_load"), ("software_products", "last_load")}
    assert wrong(looked) == of_the_rows | damaged
    [orphans] = [each for each in looked.get_asset_check_evaluations() if each.check_name == "organization_exists"]
    said = {name: value.value for name, value in orphans.metadata.items()}
    assert said == {"rows": 7, "live_rows": 27, "ids": [300, 301, 302, 303, 304]}


def test_postgres_shows_the_newest_rows_and_the_chart_as_duckdb_does(
    postgres: str, api: FakeApi, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    api.rows["groups"] = [group(1), group(2, None), group(3, "2024-06-01T02:00:00+02:00"), group(4, shared=True)]
    shown = []
    for destination in ("duckdb", "postgres"):
        monkeypatch.setenv("DESTINATION_TYPE", destination)
        monkeypatch.setenv("DESTINATION__POSTGRES__CREDENTIALS", postgres)
        result = project.sync(config={"mode": "rebuild"})
        shown.append({name: metadata(result, name)["preview"] for name in PATHS})
        shown[-1]["chart"] = metadata(result, "activities")["activities_per_day"]
    assert shown[0] == shown[1]
    assert "| 3 | Group 3 |" in shown[0]["groups"].splitlines()[2]


def test_a_run_waits_for_another_that_loads_the_same_postgres_table(
    postgres: str, api: FakeApi, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DESTINATION_TYPE", "postgres")
    monkeypatch.setenv("DESTINATION__POSTGRES__CREDENTIALS", postgres)
    other = psycopg2.connect(postgres)
    with other.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(hashtext('analytics.roles'))")
    with ThreadPoolExecutor(1) as pool:

        def let_go_when_waited_for() -> None:
            with closing(psycopg2.connect(postgres)) as watcher, watcher.cursor() as cursor:
                waiting = 0
                while not waiting:
                    cursor.execute("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")
                    [waiting] = cursor.fetchone() or [0]
            other.close()

        released = pool.submit(let_go_when_waited_for)
        result = project.sync("roles", "groups")
        released.result()

    assert metadata(result, "roles")["dagster/row_count"] >= 3
    logged = [entry.user_message for entry in project.instance.all_logs(result.run_id)]
    assert [line for line in logged if line.startswith("Waiting for")] == [
        "Waiting for another run that is loading analytics.roles, 60 s at most"
    ]


def test_a_postgres_table_that_another_run_keeps_is_waited_for_with_a_limit(
    postgres: str, api: FakeApi, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DESTINATION_TYPE", "postgres")
    monkeypatch.setenv("DESTINATION__POSTGRES__CREDENTIALS", postgres)
    with closing(psycopg2.connect(postgres)) as other, other.cursor() as cursor:
        # A run that waits without a limit gets the table in the end, and does not fail.
        cursor.execute("SET idle_session_timeout = '20s'; SELECT pg_advisory_lock(hashtext('analytics.roles'))")
        other.commit()
        message = failure_message(project.run("roles", run_config=resource_config(busy_timeout=0.3)))
    assert message.startswith("Another run is still loading analytics.roles after 0.3 s. Let it end, or raise")
    assert not api.requests
    project.sync("roles", run_config=resource_config(busy_timeout=0.3))


def test_dagster_keeps_its_history_in_postgres(postgres: str, api: FakeApi, project: Project, tmp_path: Path) -> None:
    home = tmp_path / "dagster"
    home.mkdir()
    shipped = (CHECKOUT / "dagster.yaml").read_text(encoding="utf-8")
    # As Dagster's documentation spells it, without the name of a driver.
    storage = f"storage:\n  postgres:\n    postgres_url: {postgres}\n"
    (home / "dagster.yaml").write_text(shipped + storage, encoding="utf-8")
    with dg.DagsterInstance.from_config(str(home)) as instance:
        run = replace(project, instance=instance).sync("roles").run_id
    with dg.DagsterInstance.from_config(str(home)) as instance:
        record = instance.get_latest_materialization_event(asset_key("roles"))
        assert record
        assert record.run_id == run
        assert [each.run_id for each in instance.get_runs()] == [run]
    with closing(psycopg2.connect(postgres)) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT status FROM runs WHERE run_id = %s", [run])
        assert cursor.fetchall() == [("SUCCESS",)]


def test_a_postgres_that_is_down_is_one_error_before_any_request(
    api: FakeApi, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DESTINATION_TYPE", "postgres")
    monkeypatch.setenv("DESTINATION__POSTGRES__CREDENTIALS", "postgresql://loader:pw-canary@127.0.0.1:1/none")
    message = failure_message(project.run())

    assert "Cannot use the destination postgres" in message
    assert "pw-canary" not in message
    assert api.requests == []
