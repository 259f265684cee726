"""Two runs of one resource at once, from instances that share nothing but the warehouse."""

import json
import os
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from threading import Barrier

import psycopg2
import pytest

from analytics_assets.api.settings_reader import read_settings
from analytics_assets.demo.exchange import Request
from analytics_assets.warehouse.session import open_session
from analytics_assets.warehouse.sync import begin_sync, sync
from analytics_assets_tests.servers.fake_api import Answer, FakeApi
from analytics_assets_tests.support.eight import BY_NAME, EIGHT
from analytics_assets_tests.support.project import Project, failure_message, materialized, metadata, resource_config
from analytics_assets_tests.support.rows import activity, organization, policy
from analytics_assets_tests.support.syncing import syncing
from analytics_assets_tests.support.tables import Tables, expected, open_tables
from analytics_assets_tests.support.waiting import until

ALL_DAY = {"start": "2024-05-01T00:00:00Z", "end": "2024-05-02T00:00:00Z"}


def answer_late(api: FakeApi, resource: str, meanwhile: Callable[[], None]) -> None:
    """Answers the next request with the rows of the moment at which it comes, and calls a function before."""
    left = [meanwhile]

    def answer(request: Request) -> Answer | None:
        if not left:
            return None
        reply = api.wire_format.answer(request, datetime.now(UTC))
        body = json.dumps(reply.body).encode()
        left.pop()()
        return Answer(reply.status, body)

    api.faults[resource].append(answer)


@pytest.fixture(params=["postgres", "sqlite"])
def warehouse(
    request: pytest.FixtureRequest, project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Tables:
    """A destination to which the configuration points, and that more than one process can use."""
    return open_tables(request.param, request, project, tmp_path, monkeypatch)


def test_a_run_that_another_has_overtaken_reads_again_and_loses_nothing(
    warehouse: Tables, api: FakeApi, project: Project
) -> None:
    project.sync("policies")
    with syncing(os.environ) as other:
        for number, (mode, everything) in enumerate([("incremental", True), ("full", False)], 1):

            def overtake(number: int = number, *, everything: bool = everything) -> None:
                api.rows["policies"][0] = policy(1, f"2024-06-0{number}T00:00:00Z", name=f"Edited {number}")
                api.rows["policies"].append(policy(10 + number, f"2024-06-0{number}T00:00:01Z"))
                other.begin("policies", everything=everything)
                assert other.end() == {"failed": {}, "said": []}

            answer_late(api, "policies", overtake)
            result = project.sync("policies", config={"mode": mode})
            assert "policies: another run has loaded the table meanwhile, so the API is read once" in project.log(
                result
            )
            read = metadata(result, "policies")
            assert (read["requests"], read["rows_read"], read["rows_marked_deleted"]) == (2, 3 + number, 0)
            assert warehouse.cells("policies") == expected("policies", api.rows["policies"])
        assert metadata(project.sync("policies"), "policies")["rows_loaded"] == 0


def test_a_run_is_overtaken_while_it_loads_other_tables_and_in_several_loads(
    warehouse: Tables, api: FakeApi, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its rows are read ahead, and are older than those that another run has loaded meanwhile."""
    monkeypatch.setenv("SOURCES__ANALYTICS__ROWS_PER_LOAD", "1")
    monkeypatch.setenv("SOURCES__ANALYTICS__PAGE_SIZE", "1000")
    # Otherwise all of it would come in one load.
    monkeypatch.setattr("analytics_assets.warehouse.unchanged.MOST_BYTES", 0)
    api.rows["organizations"] = [organization(n) for n in range(6_500)]
    both = ("organizations", "policies")
    project.sync(*both)
    asked = len(api.asked("policies"))
    with syncing(os.environ) as other:

        def overtake() -> None:
            until(lambda: len(api.asked("policies")) > asked, "policies are read ahead")
            api.rows["policies"][0] = policy(1, "2024-06-01T00:00:00Z", name="Edited")
            api.rows["policies"].append(policy(9, "2024-07-01T00:00:00Z"))
            other.begin("policies")
            assert other.end() == {"failed": {}, "said": []}
            other.begin("organizations")
            assert other.end() == {"failed": {}, "said": []}

        answer_late(api, "organizations", overtake)
        result = project.sync(*both, config={"mode": "full"})
    for name in both:
        assert f"{name}: another run has loaded the table meanwhile" in project.log(result)
        assert warehouse.cells(name) == expected(name, api.rows[name])


def test_without_a_lock_a_run_that_is_overtaken_twice_gives_up(
    api: FakeApi,
    project: Project,
    request: pytest.FixtureRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    warehouse = open_tables("delta", request, project, tmp_path, monkeypatch)
    project.sync("policies")
    with syncing(os.environ) as other:

        def overtake(*, again: bool) -> None:
            api.rows["policies"].append(policy(10 + again, f"2024-06-0{2 - again}T00:00:00Z"))
            other.begin("policies")
            assert other.end() == {"failed": {}, "said": []}
            if again:
                answer_late(api, "policies", partial(overtake, again=False))

        answer_late(api, "policies", partial(overtake, again=True))
        failed = project.run("policies")
    assert "another run has loaded the table twice while this one read the API" in failure_message(failed)
    project.sync("policies", config={"mode": "full"})
    assert warehouse.cells("policies") == expected("policies", api.rows["policies"])
    # As if both of the only two loads had been taken back.
    assert warehouse.lake
    warehouse.lake.remove("_dlt_loads/*.jsonl")
    project.sync("policies")
    assert warehouse.cells("policies") == expected("policies", api.rows["policies"])


def test_a_sqlite_table_that_another_run_keeps_is_waited_for_with_a_limit(
    api: FakeApi, project: Project, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_tables("sqlite", request, project, tmp_path, monkeypatch)
    with closing(sqlite3.connect(tmp_path / "warehouse__analytics.roles.lock", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        result = project.run("roles", "groups", run_config=resource_config(busy_timeout=0.3))
    assert "- roles: Another run is still loading analytics.roles after 0.3 s. Let it end" in failure_message(result)
    assert "Waiting for another run that is loading analytics.roles, 0.3 s at most" in project.log(result)
    assert materialized(result) == ["groups"]


def test_windows_of_events_are_loaded_beside_each_other_but_not_the_same_one(
    postgres: str, api: FakeApi, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DESTINATION_TYPE", "postgres")
    monkeypatch.setenv("DESTINATION__POSTGRES__CREDENTIALS", postgres)
    # Parquet files would be merged without a staging table.
    monkeypatch.setenv("NORMALIZE__LOADER_FILE_FORMAT", "csv")
    monkeypatch.setenv("SOURCES__ANALYTICS__START_DATE", "2024-05-02T00:00:00Z")
    api.rows["activities"].append(activity(50, "2024-05-02T01:00:00Z"))
    short = resource_config(busy_timeout=0.3)
    window = {**short, "ops": {"analytics_api": {"config": ALL_DAY}}}
    project.sync("activities")
    with closing(psycopg2.connect(postgres)) as connection, connection.cursor() as cursor:
        # What a window that was killed has left, and what it has not.
        cursor.execute("CREATE SCHEMA analytics_staging_w0123456789ab; CREATE SCHEMA analytics_staging_mine")
        # A window that waits for the staging table of other runs fails.
        cursor.execute(f"ALTER DATABASE {connection.info.dbname} SET lock_timeout = '5s'")
        connection.commit()
        cursor.execute("LOCK TABLE analytics_staging.activities")
        # The window of another day is loaded.
        cursor.execute("SELECT pg_advisory_lock_shared(hashtext('analytics.activities'))")
        lock_window(cursor, "2024-05-02T00:00:00Z", "2024-05-03T00:00:00Z")

        busy = "Another run is still loading analytics.activities after 0.3 s"
        assert busy in failure_message(project.run("activities", run_config=short))
        # A new column, and a row that each window has, wait for the others.
        api.rows["activities"][0]["fieldOfLater"] = 1
        assert busy in failure_message(project.run("activities", run_config=window))
        del api.rows["activities"][0]["fieldOfLater"]
        api.rows["activities"].append(activity(51, None))
        assert busy in failure_message(project.run("activities", run_config=window))
        del api.rows["activities"][-1]
        loaded = metadata(project.sync("activities", run_config=window), "activities")
        assert loaded["dagster/row_count"] == len(api.rows["activities"])
        # Its last minute is more than the key of a lock can be.
        far = {**short, "ops": {"analytics_api": {"config": {"start": "7000-01-01", "end": "7000-01-02"}}}}
        assert metadata(project.sync("activities", run_config=far), "activities")["rows_loaded"] == 0
        lock_window(cursor, "2024-05-01T23:59:00Z", "2024-05-02T00:01:00Z")
        assert "a window of activities that overlaps" in failure_message(project.run("activities", run_config=window))
        cursor.execute("SELECT nspname FROM pg_namespace WHERE nspname LIKE 'analytics%' ORDER BY 1")
        assert cursor.fetchall() == [("analytics",), ("analytics_staging",), ("analytics_staging_mine",)]
    # The cursor is where the first sync has left it.
    assert metadata(project.sync("activities"), "activities")["rows_loaded"] == 0


def lock_window(cursor: "psycopg2.extensions.cursor", start: str, end: str) -> None:
    for edge, moment in (("begins", start), ("ends", end)):
        minute = int(datetime.fromisoformat(moment).timestamp() // 60)
        key = f"analytics.activities {edge}"
        cursor.execute("SELECT pg_advisory_lock_shared(hashtext(%s), %s)", [key, minute])


def test_two_threads_of_a_process_load_each_row_once(api: FakeApi, project: Project) -> None:
    """DuckDB lets both into the file. Each has looked at the table before the other loads it."""
    project.sync("activities")
    api.rows["activities"] += [activity(n, "2024-06-01T00:00:00Z") for n in range(100, 110)]
    both = Barrier(2, timeout=60)
    waiting = [None, None]

    def wait(_: Request) -> None:
        with suppress(IndexError):
            waiting.pop()
            both.wait()

    api.faults["activities"].append(wait)

    def load(_: int) -> int:
        with (
            open_session(read_settings(EIGHT)) as session,
            begin_sync(session, [BY_NAME["activities"]]) as [pending],
        ):
            return sync(pending, session).rows_in_table

    with ThreadPoolExecutor(2) as threads:
        assert list(threads.map(load, range(2))) == [len(api.rows["activities"])] * 2
    assert project.ids("activities") == [row["id"] for row in api.rows["activities"]]
