"""The same rows are the same cells in DuckDB, in Postgres and, by way of SQLAlchemy, in SQLite."""

import io
import logging
import re
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import dlt
import duckdb
import pyarrow as pa
import pymysql
import pytest
from sqlalchemy import make_url

from analytics_assets.api.settings_reader import read_settings
from analytics_assets.warehouse.destination import build_destination
from analytics_assets.warehouse.session import open_session
from analytics_assets.warehouse.target import Target
from analytics_assets_tests.servers.fake_api import PATHS, FakeApi
from analytics_assets_tests.support.commands import COMMANDS_OF_EIGHT, run
from analytics_assets_tests.support.eight import EIGHT
from analytics_assets_tests.support.project import Project, failure_message, metadata
from analytics_assets_tests.support.rows import activity, group, location, organization, policy, role
from analytics_assets_tests.support.tables import Cells, Tables, expected, normal, open_tables

TEXTS = [
    "",
    " ",
    "\t",
    "NULL",
    "null",
    '"',
    '""',
    'say "hi", twice',
    "it's",
    ",",
    ",,",
    "one\ntwo",
    "one\r\ntwo\rthree",
    "\n",
    "\r",
    "\\",
    "\\.",
    "\\.\nnext",
    "one\n\\.\ntwo",
    "\\N",
    "\\n",
    "%s :arg0 {x} $1",
    "Zażółć 漢字 😀 \u202e",
    "\ufeffmark",
    "long " * 200_000,
]


@pytest.fixture(params=["duckdb", "postgres", "sqlite"])
def warehouse(
    request: pytest.FixtureRequest, project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Tables:
    """A destination to which the configuration points."""
    return open_tables(request.param, request, project, tmp_path, monkeypatch)


def test_cells_are_what_the_api_sent_at_first_and_after_edits_and_a_rebuild(
    warehouse: Tables, empty_api: FakeApi, project: Project
) -> None:
    api = empty_api
    api.rows["organizations"] = [
        organization(1, name="", description=None, userData={"": "", "null": None, "nested": {"a": [1, "", None, {}]}}),
        organization(
            2, name=None, description="", userData=[], tags=["", "x"], fields={"quote": 'a"b\\c\n', "é": "😀"}
        ),
        organization(3, name=" ", description="\n", userData={}, tags=None, fields=[[], [None], [True, 1, 1.5]]),
    ]
    api.rows["policies"] = [
        policy(1, "2024-05-01T00:00:00.123456Z", parentPolicyId=2**63 - 1, nodeClassDefault=True, name=""),
        policy(2, "2024-05-01T02:00:00+02:00", parentPolicyId=-(2**63), nodeClassDefault=False, description=""),
        policy(-(2**63), None, parentPolicyId=0, nodeClassDefault=None, name=None, nodeClass=""),
        policy(2**63 - 1, "2024-05-02T23:59:59.999999Z", parentPolicyId=None, tags={"a": 2**53 + 1}),
    ]
    both = ("organizations", "policies")
    project.sync(*both)
    for resource in both:
        assert warehouse.cells(resource) == expected(resource, api.rows[resource])

    # What was filled is empty, and the other way round.
    gone = api.rows["organizations"].pop()
    api.rows["organizations"][0] = organization(1, name=None, description="", userData=None, tags=[""])
    api.rows["organizations"][1] = organization(2, name="", description=None, userData={"now": ""})
    api.rows["policies"][0] = policy(1, "2024-06-01T00:00:00.000001Z", description="", tags={"b": ""})
    api.rows["policies"][2] |= {"updated": "2024-06-01T00:00:00Z", "name": "", "nodeClass": None}
    result = project.sync(*both)
    assert metadata(result, "organizations")["rows_marked_deleted"] == 1
    assert metadata(result, "policies")["rows_loaded"] == 2
    found = warehouse.cells("organizations")
    assert abs(found[3].pop("deleted_at") - datetime.now(UTC)) < timedelta(minutes=1)
    wanted = expected("organizations", [*api.rows["organizations"], gone])
    del wanted[3]["deleted_at"]
    assert found == wanted
    assert warehouse.cells("policies") == expected("policies", api.rows["policies"])

    quiet = project.sync(*both)
    assert metadata(quiet, "organizations")["rows_marked_deleted"] == 0
    assert metadata(quiet, "policies")["rows_loaded"] == 0

    api.rows["organizations"].append(gone)
    project.sync("organizations")
    assert warehouse.cells("organizations") == expected("organizations", api.rows["organizations"])

    del api.rows["policies"][1]
    result = project.sync("policies", config={"mode": "full"})
    assert metadata(result, "policies")["rows_marked_deleted"] == 1
    assert [key for key, cells in warehouse.cells("policies").items() if cells["deleted_at"]] == [2]

    project.sync(*both, config={"mode": "rebuild"})
    for resource in both:
        assert warehouse.cells(resource) == expected(resource, api.rows[resource])


def test_texts_of_any_kind_are_loaded_and_merged_as_they_are(
    warehouse: Tables, empty_api: FakeApi, project: Project
) -> None:
    def rows(texts: list[str]) -> list[Cells]:
        # The key is the first column, where a line of a file may look like its end.
        keys = [f"{text[:20]} {number}" if number % 2 else text[:20] or "-" for number, text in enumerate(TEXTS)]
        return [
            {"id": key, "vendorName": text, "productName": text or None, "installable": True}
            for key, text in zip(keys, texts, strict=True)
        ]

    for texts in (TEXTS, TEXTS[::-1]):
        empty_api.rows["software_products"] = rows(texts)
        result = project.sync("software_products")
        assert metadata(result, "software_products")["rows_loaded"] == len(TEXTS)
        assert warehouse.cells("software_products") == expected("software_products", rows(texts))


def test_json_of_any_kind_is_loaded_and_merged_as_it_is(warehouse: Tables, project: Project, tmp_path: Path) -> None:
    kinds = ['""', '"x"', '" "', '"[1]"', '"1"', "null", "true", "0", "-1.5", "123456789012345678901", "[]", "{}"]
    kinds += ['{"a":""}', '{"a":null}', "[1,[2,[3]]]", r'"\"\\\n\r\t,"', '"\\\\."']
    cells: list[str | None] = [*kinds, None]
    destination = build_destination(
        Target("sqlalchemy" if warehouse.kind == "sqlite" else warehouse.kind),
        duckdb.connect(str(project.database)) if warehouse.kind == "duckdb" else None,
    )
    for run_, values in (("first", cells), ("second", cells[::-1])):
        table = pa.table({"id": pa.array(range(len(values))), "value": pa.array(values, pa.string())})
        loaded = dlt.resource(
            [table],
            name="kinds",
            primary_key="id",
            write_disposition="merge",
            columns={"value": {"data_type": "json", "nullable": True}},
        )
        pipeline = dlt.pipeline(
            "kinds", destination=destination, dataset_name="analytics", pipelines_dir=str(tmp_path / run_)
        )
        pipeline.run(loaded)
        found = warehouse.execute(f"SELECT value FROM {warehouse.name('kinds')} ORDER BY id")
        assert [normal(value, "json") for (value,) in found] == [normal(value, "json") for value in values]


def test_a_row_at_the_start_date_itself_is_in_scope(
    warehouse: Tables, empty_api: FakeApi, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCES__ANALYTICS__START_DATE", "2024-05-01T00:00:00.500000Z")
    rows = empty_api.rows["policies"] = [policy(n, f"2024-05-01T00:00:0{n}Z") for n in range(1, 4)]
    rows.append(policy(4, "2024-05-01T00:00:00.500000Z"))
    project.sync("policies")
    del rows[-1]
    monkeypatch.setenv("SOURCES__ANALYTICS__START_DATE", "2024-05-01T00:00:00.500001Z")
    assert metadata(project.sync("policies", config={"mode": "full"}), "policies")["rows_marked_deleted"] == 0
    monkeypatch.setenv("SOURCES__ANALYTICS__START_DATE", "2024-05-01T00:00:00.500000Z")
    assert metadata(project.sync("policies", config={"mode": "full"}), "policies")["rows_marked_deleted"] == 1


def test_all_checks_pass(warehouse: Tables, api: FakeApi, project: Project) -> None:
    now = datetime.now(UTC)
    api.rows["activities"] = [activity(n, (now - timedelta(minutes=n)).isoformat()) for n in range(1, 30)]
    synced, looked = project.sync(), project.sync(job="analytics_verify")
    for result in (synced, looked):
        evaluations = result.get_asset_check_evaluations()
        assert len(evaluations) > len(PATHS)
        assert wrong(result) == set()


def test_checks_find_what_is_wrong(warehouse: Tables, api: FakeApi, project: Project) -> None:
    api.rows["locations"] += [location(number, organizationId=number) for number in range(300, 307)]
    api.rows["groups"] = [group(1), group(2, None), group(3, "2099-01-01T00:00:00Z"), group(4, brandNew="x")]
    of_the_rows = {
        ("activities", "cursor_freshness"),
        ("groups", "cursor_freshness"),
        ("groups", "rows_without_cursor"),
        ("groups", "undeclared_columns"),
        ("locations", "organization_exists"),
    }
    assert wrong(project.sync()) == of_the_rows
    warehouse.execute(f"UPDATE {warehouse.name('roles')} SET id = 1 WHERE id = 2")
    warehouse.execute(f"UPDATE {warehouse.name('_dlt_loads')} SET status = 1 WHERE schema_name = 'analytics_policies'")
    warehouse.execute(f"DROP TABLE {warehouse.name('software_products')}")
    result = project.sync(job="analytics_verify")
    damaged = {("policies", "last_load"), ("roles", "primary_key"), ("software_products", "last_load")}
    assert wrong(result) == of_the_rows | damaged
    [orphans] = [each for each in result.get_asset_check_evaluations() if each.check_name == "organization_exists"]
    said = {name: value.value for name, value in orphans.metadata.items()}
    assert said == {"rows": 7, "live_rows": 27, "ids": [300, 301, 302, 303, 304]}


def test_previews_and_the_chart_look_the_same(
    request: pytest.FixtureRequest, api: FakeApi, project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    api.rows["organizations"] = [organization(1, userData={"a": [1, "é", None]}), organization(2, userData=[])]
    api.rows["policies"] += [
        policy(4, "2024-06-01T00:00:00.000001Z", nodeClassDefault=True),
        policy(5, None, name=""),
        policy(6, "2099-01-01T00:00:00Z"),
    ]
    api.rows["groups"] += [group(4, None), group(5, "2024-06-01T02:00:00+02:00"), group(6, shared=True)]
    # On the edges of days.
    instants = ["2024-05-01T00:00:00Z", "2024-05-01T23:59:59.999999Z", "2024-05-02T00:00:00Z", "2024-05-03T00:00:00Z"]
    api.rows["activities"] = [activity(number, moment) for number, moment in enumerate(instants, 1)]
    shown = []
    for kind in ("duckdb", "postgres", "sqlite"):
        warehouse = open_tables(kind, request, project, tmp_path, monkeypatch)
        result = project.sync()
        shown.append({name: metadata(result, name)["preview"] for name in PATHS})
        shown[-1]["chart"] = metadata(result, "activities")["activities_per_day"]
        # JSON that is a text, one of which looks like JSON itself. Some drivers parse it.
        for key, text in ((1, '"word"'), (2, '"[1]"'), (3, '""')):
            warehouse.execute(f"UPDATE {warehouse.name('groups')} SET tags = '{text}' WHERE id = {key}")
        shown[-1]["texts"] = metadata(project.sync("groups"), "groups")["preview"]
    assert shown[0] == shown[1] == shown[2]
    assert "2024-05-03: 1 on the last day, 2 at most, 4 in all" in shown[0]["chart"]
    cells = {name: re.sub(" +", " ", text) for name, text in shown[0].items()}
    assert "| True |" in cells["policies"]
    assert "| 5 | Group 5 |" in cells["groups"].splitlines()[2]
    assert all(f"| {text} |" in cells["texts"] for text in ('"word"', r'"\[1\]"', '""'))
    assert '| {"a":\\[1,"é",null\\]} |' in cells["organizations"]


def test_a_load_that_died_before_it_was_complete_is_read_again(
    warehouse: Tables, api: FakeApi, project: Project
) -> None:
    project.sync("policies")
    for mode in ("incremental", "rebuild"):
        warehouse.execute(f"DELETE FROM {warehouse.name('_dlt_loads')} WHERE schema_name = 'analytics_policies'")
        result = project.sync("policies", config={"mode": mode})
        assert metadata(result, "policies")["rows_loaded"] == len(api.rows["policies"])
        assert warehouse.execute(f"SELECT count(*) FROM {warehouse.name('policies')}") == [(len(api.rows["policies"]),)]
    assert metadata(project.sync("policies"), "policies")["rows_loaded"] == 0


@pytest.mark.parametrize("kind", ["postgres", "sqlite"])
@pytest.mark.parametrize("place", ["staging", "table"])
def test_a_load_that_fails_shows_no_row(
    kind: str,
    place: str,
    request: pytest.FixtureRequest,
    api: FakeApi,
    project: Project,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    warehouse = open_tables(kind, request, project, tmp_path, monkeypatch)
    if (kind, place) == ("postgres", "staging"):
        # Parquet files are merged without a staging table.
        monkeypatch.setenv("NORMALIZE__LOADER_FILE_FORMAT", "csv")
    project.sync("roles")
    api.rows["roles"][0] |= {"created": "2024-06-01T00:00:00Z"}
    project.sync("roles")
    refuse(warehouse, place, tmp_path)
    api.rows["roles"].append(role(9, "2025-05-01T00:00:00Z", name="row-canary"))
    logged = io.StringIO()
    handler = logging.StreamHandler(logged)
    logging.getLogger("dlt").addHandler(handler)
    try:
        result = project.run("roles")
    finally:
        logging.getLogger("dlt").removeHandler(handler)
    said = {"postgres": "violates check constraint", "sqlite": "nothing like it"}[kind]
    assert said in failure_message(result)
    assert "exception in job roles" in logged.getvalue()
    everything = [failure_message(result), logged.getvalue(), *map(str, result.all_events)]
    everything += [str(entry) for entry in project.instance.all_logs(result.run_id)]
    assert not any("row-canary" in text for text in everything)


def refuse(warehouse: Tables, place: str, tmp_path: Path) -> None:
    """Has the warehouse refuse a row, when it is copied or when it is merged."""
    if warehouse.kind == "postgres":
        table = "analytics_staging.roles" if place == "staging" else "analytics.roles"
        warehouse.execute(f"ALTER TABLE {table} ADD CHECK (name <> 'row-canary')")
    else:
        name = "warehouse__analytics_staging.db" if place == "staging" else "warehouse__analytics.db"
        with closing(sqlite3.connect(tmp_path / name)) as connection:
            connection.execute(
                "CREATE TRIGGER refuse BEFORE INSERT ON roles WHEN NEW.name = 'row-canary'"
                " BEGIN SELECT RAISE(ABORT, 'nothing like it'); END"
            )


@pytest.mark.parametrize("kind", ["mariadb", "sqlite"])
def test_a_merge_finds_rows_by_an_index_of_the_key(
    kind: str,
    request: pytest.FixtureRequest,
    api: FakeApi,
    project: Project,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without it each row of the table would be compared with each of the load, which takes minutes from 20,000 on."""
    warehouse = open_tables(kind, request, project, tmp_path, monkeypatch)
    project.sync("roles", "software_products")
    if kind == "mariadb":
        query = (
            "SELECT table_name, column_name FROM information_schema.statistics WHERE table_schema = 'analytics_staging'"
        )
        found = set(warehouse.execute(query))
    else:
        with closing(sqlite3.connect(tmp_path / "warehouse__analytics_staging.db")) as connection:
            found = set(
                connection.execute(
                    "SELECT tbl_name, info.name FROM sqlite_master AS made, pragma_index_info(made.name) AS info"
                    " WHERE made.type = 'index'"
                )
            )
    assert found == {("roles", "id"), ("software_products", "id")}


def test_a_sqlite_file_that_another_run_writes_is_waited_for_longer_than_by_python(
    request: pytest.FixtureRequest, api: FakeApi, project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_tables("sqlite", request, project, tmp_path, monkeypatch)
    with open_session(read_settings(EIGHT)) as session, session.client as client:
        assert client.sql_client.execute_sql("PRAGMA busy_timeout") == [(60_000,)]


def test_a_user_who_may_not_read_is_told_so(
    mariadb_server: str, api: FakeApi, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    where = make_url(mariadb_server)
    with closing(pymysql.connect(host=where.host, port=where.port or 0, user="root")) as connection:
        connection.cursor().execute("CREATE USER IF NOT EXISTS poor@'127.0.0.1' IDENTIFIED BY 'pw-canary'")
    monkeypatch.setenv("DESTINATION_TYPE", "sqlalchemy")
    monkeypatch.setenv("DESTINATION__SQLALCHEMY__CREDENTIALS", mariadb_server.replace("loader:", "poor:"))
    message = failure_message(project.run("roles"))
    assert message.startswith("Cannot read what the destination sqlalchemy has: (pymysql.err.OperationalError) (1142,")
    assert "pw-canary" not in message
    assert not api.requests


def test_the_command_line_syncs_and_checks_sqlite(
    request: pytest.FixtureRequest, api: FakeApi, project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    warehouse = open_tables("sqlite", request, project, tmp_path, monkeypatch)
    checked = run(tmp_path, *COMMANDS_OF_EIGHT, "check")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "sqlalchemy can be reached; writing was not tried" in checked.stdout
    assert not (tmp_path / "warehouse__analytics.db").exists()
    for _ in range(2):
        synced = run(tmp_path, *COMMANDS_OF_EIGHT, "sync")
        assert synced.returncode == 0, synced.stdout + synced.stderr
        assert "Warning" not in synced.stderr
    for resource, rows in api.rows.items():
        assert sorted(warehouse.cells(resource)) == [row["id"] for row in rows]
    checked = run(tmp_path, *COMMANDS_OF_EIGHT, "check")
    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.parametrize(
    ("credentials", "problem"),
    [("", "is missing"), ("sqlite:///:memory:", "is no file: tables and cursors would be gone after the run")],
)
def test_a_sqlite_that_is_no_file_is_refused_before_any_request(
    api: FakeApi, project: Project, monkeypatch: pytest.MonkeyPatch, credentials: str, problem: str
) -> None:
    monkeypatch.setenv("DESTINATION_TYPE", "sqlalchemy")
    if credentials:
        monkeypatch.setenv("DESTINATION__SQLALCHEMY__CREDENTIALS", credentials)
    message = failure_message(project.run("roles"))
    assert f"destination.sqlalchemy.credentials {problem}" in message
    assert "Write it like sqlite:////path/to/file.db" in message
    assert not api.requests


def wrong(result: dg.ExecuteInProcessResult) -> set[tuple[str, str]]:
    found = result.get_asset_check_evaluations()
    return {(each.asset_key.path[-1], each.check_name) for each in found if not each.passed}
