"""Cells are the same whatever files dlt loads, and where it is handed rows in place of Arrow."""

import json
from collections.abc import Callable
from contextlib import closing
from typing import Any

import psycopg2
import pytest

from analytics_assets_tests.servers.fake_api import FakeApi
from analytics_assets_tests.support.project import Project, failure_message, metadata
from analytics_assets_tests.support.rows import group

JSON = [{"a": [1, None, {"b": ""}]}, [], "word", "[1]", "", 7, -1.5, True, {"é": '"\\\n\r\t,'}, [[None]], 2**63 - 1]

Query = Callable[[str], list[tuple[Any, ...]]]


@pytest.fixture(params=["duckdb jsonl", "duckdb insert_values", "postgres csv", "sqlalchemy postgres"])
def query(request: pytest.FixtureRequest, project: Project, monkeypatch: pytest.MonkeyPatch) -> Query:
    """Asks a destination to which the configuration points."""
    destination, file_format = request.param.split()
    if destination == "duckdb":
        monkeypatch.setenv("NORMALIZE__LOADER_FILE_FORMAT", file_format)
        return project.query
    url: str = request.getfixturevalue("postgres")
    monkeypatch.setenv("DESTINATION_TYPE", destination)
    if destination == "sqlalchemy":
        # SQLAlchemy's type for JSON in Postgres would encode JSON that is text once more.
        monkeypatch.setenv("DESTINATION__SQLALCHEMY__CREDENTIALS", url.replace("postgresql", "postgresql+psycopg2"))
    else:
        monkeypatch.setenv("NORMALIZE__LOADER_FILE_FORMAT", file_format)
        monkeypatch.setenv("DESTINATION__POSTGRES__CREDENTIALS", url)

    def execute(sql: str) -> list[tuple[Any, ...]]:
        with closing(psycopg2.connect(url, options="-c TimeZone=UTC")) as connection, connection.cursor() as cursor:
            cursor.execute(sql)
            return cursor.fetchall()

    return execute


def test_json_and_what_does_not_fit_are_loaded_and_merged_as_they_are(
    query: Query, empty_api: FakeApi, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [group(number, tags=value, name="", anyOther=value) for number, value in enumerate(JSON)]
    rows.append(group(90, "2024-05-02T00:00:00.000001Z", deviceCount="many", tags=None, name=None))
    empty_api.rows["groups"] = rows
    assert metadata(project.sync("groups"), "groups")["rows_loaded"] == len(rows)
    assert cells(query) == expected(rows)
    assert query("SELECT updated FROM analytics.groups WHERE id = 90")[0][0].microsecond == 1
    rows[0] |= {"updated": "2024-06-01T00:00:00Z", "tags": None, "name": "now", "anyOther": [1]}
    rows[1] |= {"updated": "2024-06-01T00:00:00Z", "later": {"at": "last"}}
    result = project.sync("groups")
    assert metadata(result, "groups")["rows_loaded"] == 2
    assert cells(query) == expected(rows)
    [(later,)] = query("SELECT CAST(later AS VARCHAR) FROM analytics.groups WHERE id = 1")
    assert json.loads(later) == {"at": "last"}
    assert query("SELECT count(*), count(DISTINCT _dlt_id) FROM analytics.groups") == [(len(rows), len(rows))]
    # By default other files follow, into tables that were made for those before.
    monkeypatch.delenv("NORMALIZE__LOADER_FILE_FORMAT", raising=False)
    rows[2] |= {"updated": "2024-07-01T00:00:00Z", "tags": {"now": ["json"]}}
    assert metadata(project.sync("groups"), "groups")["rows_loaded"] == 1
    assert cells(query) == expected(rows)
    types = "SELECT DISTINCT data_type FROM information_schema.columns WHERE table_schema = 'analytics'"
    assert not {("json",), ("jsonb",)} <= set(query(f"{types} AND table_name = 'groups'"))


def test_a_listing_without_rows_becomes_a_table_where_rows_are_handed_over(
    postgres: str, empty_api: FakeApi, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DESTINATION_TYPE", "sqlalchemy")
    monkeypatch.setenv("DESTINATION__SQLALCHEMY__CREDENTIALS", postgres.replace("postgresql", "postgresql+psycopg2"))
    assert metadata(project.sync("roles"), "roles")["dagster/row_count"] == 0


def cells(query: Query) -> dict[int, tuple[Any, ...]]:
    columns = ", ".join(f"CAST({name} AS VARCHAR)" for name in ("tags", "any_other", "_rescued_data"))
    found = query(f"SELECT id, name, {columns} FROM analytics.groups")
    return {row[0]: (row[1], *(text and json.loads(text) for text in row[2:])) for row in found}


def expected(rows: list[dict[str, Any]]) -> dict[int, tuple[Any, ...]]:
    def rescued(row: dict[str, Any]) -> Any:
        return {"deviceCount": row["deviceCount"]} if row["deviceCount"] else None

    return {row["id"]: (row["name"], row["tags"], row.get("anyOther"), rescued(row)) for row in rows}


def test_a_format_that_the_destination_does_not_load_is_named_before_any_request(
    api: FakeApi, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NORMALIZE__LOADER_FILE_FORMAT", "csv")
    said = failure_message(project.run("roles"))
    assert "normalize.loader_file_format = 'csv': the destination duckdb loads files of" in said
    assert "parquet" in said
    assert not api.requests
