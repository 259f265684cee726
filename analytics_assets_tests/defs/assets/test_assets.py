"""Runs of the eight assets against a server of the specification's wire format."""

import os
import signal
from typing import Any

import dlt
import pytest
from dlt.destinations.job_client_impl import SqlJobClientBase
from dlt.load.load import Load
from dlt.normalize import Normalize

from analytics_assets_tests.servers.fake_api import IN_TURN, PATHS, Answer, FakeApi
from analytics_assets_tests.support.project import Project, failure_message, materialized, metadata
from analytics_assets_tests.support.rows import activity, group, organization, policy, role, script

INCREMENTAL = ["policies", "activities", "automation_scripts", "groups", "roles"]
COMPLETE = ["organizations", "locations", "software_products"]


def test_first_sync_loads_exactly_the_rows_of_the_api(api: FakeApi, project: Project) -> None:
    result = project.sync()

    assert materialized(result) == IN_TURN
    for resource, rows in api.rows.items():
        assert project.ids(resource) == [row["id"] for row in rows]
        assert metadata(result, resource)["rows_loaded"] == len(rows)
        assert metadata(result, resource)["dagster/row_count"] == len(rows)
        assert metadata(result, resource)["dagster/table_name"] == f"analytics.{resource}"


def test_second_sync_with_nothing_new_succeeds_and_loads_nothing_incrementally(api: FakeApi, project: Project) -> None:
    project.sync()
    result = project.sync()

    assert {name: metadata(result, name)["rows_loaded"] for name in INCREMENTAL} == dict.fromkeys(INCREMENTAL, 0)
    for resource, rows in api.rows.items():
        assert project.ids(resource) == [row["id"] for row in rows]
        assert metadata(result, resource)["dagster/row_count"] == len(rows)


@pytest.mark.parametrize(
    ("resource", "row"),
    [
        ("policies", policy(90, "2024-06-01T00:00:00Z")),
        ("activities", activity(90, "2024-06-01T00:00:00Z")),
        ("automation_scripts", script(90, "2024-06-01T00:00:00Z")),
        ("groups", group(90, "2024-06-01T00:00:00Z")),
        ("roles", role(90, "2024-06-01T00:00:00Z")),
    ],
)
def test_one_new_row_is_all_that_the_next_sync_loads(
    api: FakeApi, project: Project, resource: str, row: dict[str, object]
) -> None:
    project.sync(resource)
    api.rows[resource].append(row)
    result = project.sync(resource)

    assert metadata(result, resource)["rows_loaded"] == 1
    assert project.ids(resource) == [row["id"] for row in api.rows[resource]]


def test_an_edited_row_replaces_its_old_version(api: FakeApi, project: Project) -> None:
    project.sync("policies", "organizations")
    api.rows["policies"][1] = policy(2, "2024-06-01T00:00:00Z", name="Edited")
    api.rows["organizations"][1] = organization(2, name="Renamed")
    result = project.sync("policies", "organizations")

    assert metadata(result, "policies")["rows_loaded"] == 1
    assert project.query("SELECT name FROM analytics.policies WHERE id = 2") == [("Edited",)]
    assert project.query("SELECT name FROM analytics.organizations WHERE id = 2") == [("Renamed",)]


def test_a_subset_asks_for_its_own_endpoints_only(api: FakeApi, project: Project) -> None:
    result = project.sync("roles", "groups")

    assert materialized(result) == ["groups", "roles"]
    assert set(api.paths()) == {PATHS["groups"], PATHS["roles"]}


def test_one_resource_that_fails_costs_only_itself(api: FakeApi, project: Project) -> None:
    api.answer_always("policies", Answer(403, {"error": "forbidden"}))
    result = project.run()

    assert not result.success
    assert materialized(result) == [name for name in IN_TURN if name != "policies"]
    message = failure_message(result)
    assert "1 of 8 resources failed" in message
    assert "policies: GET /v2/policies answered 403" in message
    assert "scopes or role" in message
    assert project.ids("activities") == [row["id"] for row in api.rows["activities"]]
    assert project.query("SELECT count(*) FROM duckdb_tables() WHERE table_name = 'policies'") == [(0,)]
    assert len(api.asked("policies")) == 1


@pytest.mark.parametrize(("step", "begins"), [(Normalize, "run"), (Load, "initialize_package")])
def test_a_run_that_is_interrupted_ends_whatever_dlt_is_at(
    api: FakeApi, project: Project, monkeypatch: pytest.MonkeyPatch, step: type, begins: str
) -> None:
    original = getattr(step, begins)

    def interrupt(self: Any, *args: Any) -> Any:
        if dlt.current.pipeline().pipeline_name == f"analytics_{IN_TURN[2]}":
            os.kill(os.getpid(), signal.SIGINT)
        return original(self, *args)

    monkeypatch.setattr(step, begins, interrupt)
    result = project.run()
    assert not result.success
    assert materialized(result) == IN_TURN[:2]
    assert "Execution was interrupted unexpectedly" in str([event.message for event in result.all_events])


@pytest.mark.parametrize(("at", "done"), [(1, []), (2, IN_TURN[:2])], ids=["before the syncs", "in a sync"])
def test_a_run_that_is_interrupted_in_a_query_ends(
    api: FakeApi, project: Project, monkeypatch: pytest.MonkeyPatch, at: int, done: list[str]
) -> None:
    project.sync()
    asked: list[str] = []
    original = SqlJobClientBase.get_storage_tables

    def interrupt(self: SqlJobClientBase, names: list[str]) -> Any:
        asked.extend(names)
        if names == [IN_TURN[2]] and asked.count(IN_TURN[2]) == at:
            try:
                os.kill(os.getpid(), signal.SIGINT)
            except BaseException as error:
                # So does DuckDB's driver with a signal that comes while a query runs.
                raise RuntimeError("Query interrupted") from error
        return original(self, names)

    monkeypatch.setattr(SqlJobClientBase, "get_storage_tables", interrupt)
    result = project.run()
    assert not result.success
    assert materialized(result) == done
    assert "Execution was interrupted unexpectedly" in str([event.message for event in result.all_events])


def test_a_failed_resource_keeps_what_it_had_and_recovers(api: FakeApi, project: Project) -> None:
    project.sync("activities")
    api.rows["activities"] += [activity(n, f"2024-05-01T01:{n - 41:02}:00Z") for n in range(42, 100)]
    api.answer_with("activities", *[Answer(body={"activities": api.rows["activities"][:20]}), Answer(404)])
    failed = project.run("activities")

    assert not failed.success
    assert project.ids("activities") == list(range(1, 42))
    result = project.sync("activities")
    assert project.ids("activities") == list(range(1, 100))
    assert metadata(result, "activities")["rows_loaded"] == 58


def test_an_empty_listing_is_a_table_without_rows(empty_api: FakeApi, project: Project) -> None:
    result = project.sync()

    for resource in PATHS:
        assert metadata(result, resource)["rows_loaded"] == 0
        assert metadata(result, resource)["dagster/row_count"] == 0
        assert project.ids(resource) == []
    project.sync()
