"""What a sync costs, in counts that do not depend on the machine, so that a change that costs more is noticed."""

import re
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import duckdb
import psycopg2
import pytest

from analytics_assets_tests.servers.fake_api import FakeApi
from analytics_assets_tests.support.project import Project
from analytics_assets_tests.support.rows import events
from analytics_assets_tests.support.waiting import until

Costs = dict[str, int]

LOGGING = ("logging_storage = 'stdout'", "enabled_log_types = 'QueryLog'", "enable_logging = true")
"""Settings by which DuckDB writes each statement to the standard output."""

FIRST = {"requests": 24, "events": 183, "statements": 274, "copies": 8, "connections": 20}
QUIET = {"requests": 24, "events": 183, "statements": 148, "copies": 0, "connections": 3}
"""The most that a sync of all eight may take: requests to the API, events of Dagster, statements that Postgres gets,
those of them that copy rows, and connections to it. Who needs less lowers them."""

FIRST_DUCKDB = {"statements": 690, "connections": 4}
QUIET_DUCKDB = {"statements": 405, "connections": 4}
"""The same for DuckDB: statements that it gets, and databases that are opened. Sometimes dlt makes a client more, which
is five statements."""


@pytest.fixture
def costs_of(
    postgres: str, api: FakeApi, project: Project, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[], Costs]]:
    """Syncs all resources into Postgres, and returns what that took. Postgres writes each statement into its log."""
    monkeypatch.setenv("DESTINATION_TYPE", "postgres")
    monkeypatch.setenv("DESTINATION__POSTGRES__CREDENTIALS", postgres)
    # More are asked for ahead of the end, in vain, as time allows.
    monkeypatch.setenv("SOURCES__ANALYTICS__REQUESTS_IN_FLIGHT", "1")
    with closing(psycopg2.connect(postgres)) as connection, connection.cursor() as cursor:
        connection.autocommit = True
        cursor.execute(f"ALTER DATABASE {postgres.rpartition('/')[2]} SET log_statement = 'all'")
        mine = "WHERE datname = current_database()"

        def are_all_closed() -> bool:
            cursor.execute(f"SELECT count(*) FROM pg_stat_activity {mine} AND pid <> pg_backend_pid()")
            return cursor.fetchall() == [(0,)]

        def connections() -> int:
            # Each is counted at its end at the latest.
            until(are_all_closed, "the connections of the run are closed")
            cursor.execute(f"SELECT sessions FROM pg_stat_database {mine}")
            found: int = cursor.fetchall()[0][0]
            return found

        def statements() -> list[str]:
            cursor.execute("SELECT pg_read_file(current_setting('data_directory') || '/../log')")
            return re.findall(r"LOG:  statement: (\w+)", cursor.fetchall()[0][0])

        def sync() -> Costs:
            connected, before, requests = connections(), len(statements()), len(api.requests)
            run_id = project.sync().run_id
            found = statements()[before:]
            return {
                "requests": len(api.requests) - requests,
                "events": len(project.instance.all_logs(run_id)),
                "statements": len(found),
                "copies": found.count("COPY"),
                "connections": connections() - connected,
            }

        yield sync


def test_a_sync_costs_no_more_than_it_did(costs_of: Callable[[], Costs], api: FakeApi) -> None:
    api.rows["activities"] = events(1, 200)
    first, quiet = costs_of(), costs_of()
    assert {name: cost for name, cost in first.items() if cost > FIRST[name]} == {}
    assert {name: cost for name, cost in quiet.items() if cost > QUIET[name]} == {}


def test_a_sync_into_duckdb_costs_no_more_than_it_did(
    api: FakeApi, project: Project, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    real, opened = duckdb.connect, 0

    def connect(*arguments: Any, **options: Any) -> duckdb.DuckDBPyConnection:
        """DuckDB as it is, but it writes each statement to the standard output."""
        nonlocal opened
        opened += 1
        connection = real(*arguments, **options)
        for setting in LOGGING:
            connection.execute(f"SET GLOBAL {setting}")
        return connection

    def sync() -> Costs:
        before = opened
        capfd.readouterr()
        project.sync()
        return {"statements": capfd.readouterr().out.count("\tQueryLog\t"), "connections": opened - before}

    monkeypatch.setattr(duckdb, "connect", connect)
    api.rows["activities"] = events(1, 200)
    first, quiet = sync(), sync()
    assert {name: cost for name, cost in first.items() if cost > FIRST_DUCKDB[name]} == {}
    assert {name: cost for name, cost in quiet.items() if cost > QUIET_DUCKDB[name]} == {}
