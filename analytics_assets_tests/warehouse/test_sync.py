"""Full re-reads, rebuilds, backfills and deletions."""

import threading
import time
from typing import Any

import pytest

from analytics_assets.api.settings_reader import LONGEST_LAG
from analytics_assets_tests.servers.fake_api import FakeApi, Request
from analytics_assets_tests.support.project import Project, failure_message, metadata
from analytics_assets_tests.support.rows import organization, policy, role


@pytest.mark.parametrize("resource", ["organizations", "locations", "software_products"])
def test_every_sync_of_a_complete_listing_marks_what_is_gone(api: FakeApi, project: Project, resource: str) -> None:
    project.sync(resource)
    gone = api.rows[resource].pop(1)
    first = project.sync(resource)
    assert metadata(first, resource)["rows_marked_deleted"] == 1
    assert project.ids(resource, "deleted_at IS NOT NULL") == [gone["id"]]

    marked_at = project.query(f"SELECT deleted_at FROM analytics.{resource} WHERE deleted_at IS NOT NULL")
    assert metadata(project.sync(resource), resource)["rows_marked_deleted"] == 0
    assert project.query(f"SELECT deleted_at FROM analytics.{resource} WHERE deleted_at IS NOT NULL") == marked_at

    api.rows[resource].append(gone)
    project.sync(resource)
    assert project.ids(resource, "deleted_at IS NOT NULL") == []


def test_the_reconcile_job_finds_edits_and_deletions_that_no_cursor_shows(api: FakeApi, project: Project) -> None:
    api.rows["roles"].append(role(4, "2024-05-03T00:00:00Z"))
    project.sync()
    api.rows["roles"][0] = role(1, name="Edited, and created has not moved")
    del api.rows["policies"][0]
    del api.rows["activities"][:5]
    assert metadata(project.sync("roles"), "roles")["rows_loaded"] == 0
    assert project.ids("policies", "deleted_at IS NOT NULL") == []

    result = project.sync(job="analytics_reconcile")
    assert project.query("SELECT name FROM analytics.roles WHERE id = 1") == [("Edited, and created has not moved",)]
    assert project.ids("policies", "deleted_at IS NOT NULL") == [1]
    assert len(project.ids("activities")) == 41
    assert metadata(result, "activities")["rows_marked_deleted"] == 0
    assert metadata(project.sync("policies"), "policies")["rows_loaded"] == 0


def test_a_load_that_died_after_its_merge_does_not_hide_what_comes_next(api: FakeApi, project: Project) -> None:
    project.sync("policies")
    api.rows["policies"][2] = policy(3, name="Second")
    project.sync("policies")
    newest = "SELECT max(_dlt_load_id) FROM analytics.policies"
    # What a kill at that point leaves: the rows are merged, but dlt does not count the load.
    project.query(f"DELETE FROM analytics._dlt_loads WHERE load_id IN ({newest})")
    api.rows["policies"][2] = policy(3)
    project.sync("policies")
    assert project.query("SELECT name FROM analytics.policies WHERE id = 3") == [("Policy 3",)]
    assert metadata(project.sync("policies"), "policies")["rows_loaded"] == 0


@pytest.mark.parametrize("staging", ["made by the sync", "made by dbt"])
def test_a_table_is_rebuilt_where_nothing_was_ever_merged(api: FakeApi, project: Project, staging: str) -> None:
    if staging == "made by dbt":
        project.query("CREATE SCHEMA analytics_staging; CREATE TABLE analytics_staging.model AS SELECT 1 AS one")
    project.sync("policies")
    project.sync("policies", config={"mode": "rebuild"})
    assert project.ids("policies") == [row["id"] for row in api.rows["policies"]]
    api.rows["policies"][2] = policy(3, "2024-06-01T00:00:00Z", name="Edited")
    project.sync("policies")
    assert project.query("SELECT name FROM analytics.policies WHERE id = 3") == [("Edited",)]
    if staging == "made by dbt":
        assert project.query("SELECT one FROM analytics_staging.model") == [(1,)]


def test_a_full_read_moves_the_cursor(api: FakeApi, project: Project) -> None:
    project.sync("policies", config={"mode": "full"})
    assert metadata(project.sync("policies"), "policies")["rows_loaded"] == 0


def test_a_listing_that_shrank_suspiciously_marks_nothing_and_fails(
    api: FakeApi, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.sync("organizations")
    del api.rows["organizations"][10:]
    message = failure_message(project.run("organizations"))
    assert "lacks 35 of the table's 45 live rows" in message
    assert project.ids("organizations", "deleted_at IS NOT NULL") == []

    monkeypatch.setenv("SOURCES__ANALYTICS__MAX_DELETED_SHARE", "0.9")
    assert metadata(project.sync("organizations"), "organizations")["rows_marked_deleted"] == 35


def test_an_empty_listing_over_a_full_table_fails(api: FakeApi, project: Project) -> None:
    project.sync("organizations")
    api.rows["organizations"].clear()
    assert "lacks 45 of the table's 45" in failure_message(project.run("organizations"))
    assert project.ids("organizations", "deleted_at IS NULL") == list(range(1, 46))


def test_full_leaves_rows_from_before_the_start_date_alone(
    api: FakeApi, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    api.rows["policies"] = [policy(n, f"2024-0{n}-01T00:00:00Z") for n in range(1, 7)]
    project.sync("policies")
    monkeypatch.setenv("START_DATE", "2024-04-01T00:00:00Z")
    del api.rows["policies"][4]
    project.sync("policies", config={"mode": "full"})
    assert project.ids("policies", "deleted_at IS NOT NULL") == [5]


def test_rebuild_drops_and_reloads_the_selected_tables_only(api: FakeApi, project: Project) -> None:
    project.sync("policies", "organizations", "roles")
    api.rows["policies"].pop()
    api.rows["organizations"] = [organization(1)]
    project.sync("policies", "organizations", config={"mode": "rebuild"})

    assert project.ids("policies") == [1, 2]
    assert project.ids("organizations") == [1]
    assert project.ids("roles") == [1, 2, 3]
    assert metadata(project.sync("roles"), "roles")["rows_loaded"] == 0


def test_a_backfill_loads_its_window_and_leaves_the_cursor_alone(
    api: FakeApi, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("START_DATE", "2024-05-01T00:30:00Z")
    first = project.sync("activities")
    window = {"start": "2024-05-01T00:05:00Z", "end": "2024-05-01T00:10:00Z"}
    result = project.sync("activities", config=window)

    assert metadata(result, "activities")["rows_loaded"] == 5
    assert project.ids("activities") == [*range(5, 10), *range(30, 42)]
    after = metadata(project.sync("activities"), "activities")
    assert after["cursor_before"] == metadata(first, "activities")["cursor_after"]
    assert metadata(project.sync("activities"), "activities")["rows_loaded"] == 0


def test_a_backfill_does_not_hide_a_later_version_from_the_next_sync(api: FakeApi, project: Project) -> None:
    project.sync("policies")
    api.rows["policies"][2] = policy(3, name="Second")
    project.sync("policies", config={"start": "2024-04-30", "end": "2024-05-02"})
    assert project.query("SELECT name FROM analytics.policies WHERE id = 3") == [("Second",)]
    api.rows["policies"][2] = policy(3)
    project.sync("policies")
    assert project.query("SELECT name FROM analytics.policies WHERE id = 3") == [("Policy 3",)]


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"start": "last week"}, "start: 'last week' is not an ISO 8601"),
        (
            {"start": "0000-01-01"},
            "start: '0000-01-01' is not an ISO 8601 date-time from 1500-01-01 to 9999-12-31, such",
        ),
        (
            {"start": "1499-12-31"},
            "start: '1499-12-31' is not an ISO 8601 date-time from 1500-01-01 to 9999-12-31, such",
        ),
        (
            {"start": "0001-01-01T00:00:00+14:00"},
            "start: '0001-01-01T00:00:00+14:00' is not an ISO 8601 date-time from",
        ),
        (
            {"start": "2024-05-01", "end": "9999-12-31T23:59:59-05:00"},
            "end: '9999-12-31T23:59:59-05:00' is not an ISO 8601 date-time from 1500-01-01 to 9999-12-31, such as 2024",
        ),
        ({"end": "2024-05-01T00:00:00Z"}, "end without start"),
        ({"start": "2024-05-02", "end": "2024-05-01"}, "is not before"),
        ({"start": "2024-05-02", "mode": "full"}, "goes with mode: incremental"),
        ({"page_size": 0}, "page_size: 0 is below 1"),
        ({"requests_in_flight": -1}, "requests_in_flight: -1 is below 1"),
    ],
)
def test_wrong_run_config_is_refused_before_any_request(
    api: FakeApi, project: Project, config: dict[str, Any], message: str
) -> None:
    result = project.run("activities", config=config)
    assert not result.success
    assert message in failure_message(result)
    assert api.requests == []
    run = project.instance.get_run_by_id(result.run_id)
    assert run is not None
    assert run.tags["dagster/max_retries"] == "0"


@pytest.mark.parametrize("dialect", ["analytics", "ninjaone"])
def test_the_first_and_the_last_date_that_are_taken_work(
    project: Project, monkeypatch: pytest.MonkeyPatch, dialect: str
) -> None:
    monkeypatch.setenv("SOURCES__ANALYTICS__DIALECT", dialect)
    monkeypatch.setenv("SOURCES__ANALYTICS__LAG_SECONDS", str(LONGEST_LAG))
    monkeypatch.setenv("START_DATE", "9999-12-31")
    assert metadata(project.sync("activities", "policies"), "activities")["rows_loaded"] == 0
    monkeypatch.setenv("START_DATE", "1500-01-01")
    window = {"start": "1500-01-01", "end": "9999-12-31"}
    loaded = metadata(project.sync("activities", "policies", config=window), "activities")["rows_loaded"]
    assert loaded > 0
    for mode in ("rebuild", "incremental", "full"):
        said = metadata(project.sync("activities", "policies", config={"mode": mode}), "activities")
        assert said["dagster/row_count"] == loaded


def test_page_size_and_requests_in_flight_of_a_run_win_over_all_else(
    api: FakeApi, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = threading.Lock()
    under_way = most = 0

    def count(_: Request) -> None:
        nonlocal under_way, most
        with lock:
            under_way += 1
            most = max(most, under_way)
        time.sleep(0.05)
        with lock:
            under_way -= 1

    for faults in api.faults.values():
        faults.append(count)
    monkeypatch.setenv("SOURCES__ANALYTICS__PAGE_SIZE", "30")
    monkeypatch.setenv("SOURCES__ANALYTICS__REQUESTS_IN_FLIGHT", "4")
    op = {"config": {"page_size": 11, "requests_in_flight": 1}}
    fields = {"config": {"page_size": 40, "requests_in_flight": 3}}
    project.sync(run_config={"ops": {"analytics_api": op}, "resources": {"analytics": fields}})
    assert {request.query["limit"] for request in api.asked("activities")} == {"11"}
    assert most == 1

    api.requests.clear()
    project.sync(config={"requests_in_flight": 2})
    assert {request.query["limit"] for request in api.asked("activities")} == {"30"}
    assert most == 2
