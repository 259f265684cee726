"""Postgres as a destination, and as the place of Dagster's history."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import dagster as dg
import psycopg2
import pytest

from analytics_assets.defs.assets.resource import AnalyticsResource
from analytics_assets.defs.quality.connection_check import Verdict, check_connection
from analytics_assets_tests.servers.fake_api import PATHS, FakeApi
from analytics_assets_tests.support.checkout import CHECKOUT
from analytics_assets_tests.support.eight import NAMES, asset_key
from analytics_assets_tests.support.project import Project, failure_message, materialized, metadata, resource_config
from analytics_assets_tests.support.rows import policy


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
        return next(
            found for found in check_connection(NAMES, AnalyticsResource(), pytest.fail) if found.subject not in PATHS
        )

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
        result = project.run("roles", "groups", run_config=resource_config(busy_timeout=0.3))
    message = failure_message(result)
    assert "- roles: Another run is still loading analytics.roles after 0.3 s. Let it end, or raise" in message
    assert materialized(result) == ["groups"]
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
