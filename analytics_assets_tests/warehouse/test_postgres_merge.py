"""How rows get into a table of Postgres: in one transaction, each once, by connections that are used again."""

import os
import signal
from collections.abc import Callable
from contextlib import closing
from typing import Any
from urllib.parse import urlsplit

import psycopg2
import pytest

from analytics_assets.warehouse.session import open_session
from analytics_assets_tests.servers.fake_api import FakeApi
from analytics_assets_tests.servers.lost_commit import losing_a_commit
from analytics_assets_tests.support.nursery import MERGED, PREPARED, Kill, nursery
from analytics_assets_tests.support.project import Project, metadata
from analytics_assets_tests.support.rows import activity
from analytics_assets_tests.support.waiting import until

Query = Callable[[str], list[tuple[Any, ...]]]


@pytest.fixture
def query(postgres: str, monkeypatch: pytest.MonkeyPatch) -> Query:
    """Asks an empty database, to which the configuration points."""
    monkeypatch.setenv("DESTINATION_TYPE", "postgres")
    monkeypatch.setenv("DESTINATION__POSTGRES__CREDENTIALS", postgres)

    def execute(sql: str) -> list[tuple[Any, ...]]:
        with closing(psycopg2.connect(postgres)) as connection, connection.cursor() as cursor:
            cursor.execute(sql)
            connection.commit()
            return cursor.fetchall() if cursor.description else []

    return execute


def test_a_load_is_merged_without_a_staging_table_unless_a_key_is_there_twice(
    query: Query, empty_api: FakeApi, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    # So far apart that the paging does not notice.
    monkeypatch.setattr("analytics_assets.api.pagination.offset.REMEMBERED_KEYS", 10)
    monkeypatch.setattr("analytics_assets.api.prefetch.BATCH_ROWS", 20)
    monkeypatch.setenv("SOURCES__ANALYTICS__PAGE_SIZE", "5")
    staged = "SELECT count(*) FROM pg_tables WHERE schemaname = 'analytics_staging' AND tablename = 'activities'"
    rows = empty_api.rows["activities"] = [activity(n, "2024-05-01T00:00:00Z", data={"n": n}) for n in range(1, 71)]
    project.sync("activities")
    assert messages(query) == sent(rows)
    # A column whose type somebody has changed takes the values that fit it.
    query("ALTER TABLE analytics.activities ALTER device_id TYPE integer")
    rows[:] = [activity(n, "2024-06-01T00:00:00Z", message="Edited", data=[n]) for n in range(2, 72)]
    project.sync("activities")
    assert messages(query) == {1: ("Activity 1", {"n": 1}), **sent(rows)}
    assert query(staged) == [(0,)]

    # Here a key is twice, and a new column makes several files.
    rows[:] = [activity(n, "2024-07-01T00:00:00Z", message="Again", data=None) for n in range(1, 72)]
    rows[6] |= {"activityTime": "2024-07-03T00:00:00Z", "message": "Newer", "brandNew": 1}
    rows.append(activity(7, "2024-07-02T00:00:00Z", message="Older"))
    project.sync("activities")
    assert query(staged) == [(1,)]
    assert messages(query) == sent(rows[:-1])
    assert query("SELECT id, brand_new FROM analytics.activities WHERE brand_new IS NOT NULL") == [(7, 1)]

    rows[:] = [activity(n, "2024-08-01T00:00:00Z", message="Last", data="text") for n in range(1, 72)]
    project.sync("activities")
    assert messages(query) == sent(rows)
    # It is empty, and nobody waits for it.
    assert query("SELECT count(*) FROM analytics_staging.activities") == [(0,)]


def test_rows_whose_commit_was_not_confirmed_are_there_once(
    query: Query, postgres: str, api: FakeApi, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    for edit in (False, True):
        for row in api.rows["activities"] if edit else ():
            row |= {"activityTime": "2024-06-01T00:00:00Z", "message": f"Edited {row['id']}"}
        with losing_a_commit(postgres, "_loaded" if edit else "activities") as (url, way):
            monkeypatch.setenv("DESTINATION__POSTGRES__CREDENTIALS", url)
            loaded = metadata(project.sync("activities"), "activities")
        assert way.lost == 1
        assert loaded["dagster/row_count"] == len(api.rows["activities"])
        assert messages(query) == sent(api.rows["activities"])


def test_a_run_that_is_killed_before_in_or_after_its_merge_costs_no_row(
    query: Query, postgres: str, api: FakeApi
) -> None:
    rows = api.rows["activities"]
    deleting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE 'DELETE FROM%'"
    with nursery() as workers:
        assert workers.run() == 0, workers.last_words()
        for number, point in enumerate((PREPARED, None, MERGED)):
            before = messages(query)
            for row in rows:
                row |= {"activityTime": f"2024-06-0{number + 1}T00:00:00Z", "message": f"Edited {number}"}
            if point:
                assert workers.run(kill=Kill("activities", point)) == -signal.SIGKILL
            else:
                with closing(psycopg2.connect(postgres)) as other, other.cursor() as cursor:
                    cursor.execute("LOCK TABLE analytics.activities IN SHARE MODE")
                    process = workers.start()
                    until(lambda: query(deleting) == [(1,)], "the merge waits")
                    os.kill(process, signal.SIGKILL)
                    assert workers.wait() == -signal.SIGKILL
            assert messages(query) == (sent(rows) if point == MERGED else before)
            rows.append(activity(90 + number, f"2024-06-0{number + 1}T01:00:00Z"))
            assert workers.run() == 0, workers.last_words()
            assert messages(query) == sent(rows)


def messages(query: Query) -> dict[int, tuple[str, Any]]:
    """Message and data by id; an id that is there twice is an error."""
    found = query("SELECT id, message, data FROM analytics.activities")
    assert len({row[0] for row in found}) == len(found)
    return {row[0]: row[1:] for row in found}


def sent(rows: list[dict[str, Any]]) -> dict[int, tuple[str, Any]]:
    return {row["id"]: (row["message"], row["data"]) for row in rows}


def test_a_connection_is_used_again_until_it_is_lost_or_the_session_ends(query: Query) -> None:
    def backend() -> int:
        with session.client as client:
            [[pid]] = client.sql_client.execute_sql("SELECT pg_backend_pid()") or ()
            return int(pid)

    alive = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    with open_session() as session:
        first = backend()
        assert backend() == first
        # Two at once are two.
        with session.client:
            assert query(alive) == [(1,)]
        query(f"SELECT pg_terminate_backend({first}, 10000)")
        second = backend()
        assert second != first
        with pytest.raises(Exception, match="nowhere"), session.client as client, client.sql_client.begin_transaction():
            client.sql_client.execute_sql("SELECT * FROM nowhere")
        assert backend() == second
    until(lambda: query(alive) == [(0,)], "the server has closed the connections")


def test_a_role_that_may_make_no_temporary_tables_merges(
    query: Query, postgres: str, api: FakeApi, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    address, database = urlsplit(postgres), postgres.rpartition("/")[2]
    role = f"loader_of_{database}"
    query(f"CREATE ROLE {role} LOGIN PASSWORD 'secret'")
    query(f"REVOKE ALL ON DATABASE {database} FROM PUBLIC")
    query(f"GRANT CONNECT, CREATE ON DATABASE {database} TO {role}")
    netloc = f"{role}:secret@{address.hostname}:{address.port}"
    monkeypatch.setenv("DESTINATION__POSTGRES__CREDENTIALS", address._replace(netloc=netloc).geturl())
    project.sync("roles")
    api.rows["roles"][1] |= {"name": "Renamed", "created": "2024-07-01T00:00:00Z"}
    project.sync("roles")
    assert query("SELECT id FROM analytics.roles WHERE name = 'Renamed'") == [(api.rows["roles"][1]["id"],)]
    assert query("SELECT tablename FROM pg_tables WHERE tablename LIKE '%loaded%'") == []
