"""Full re-reads, rebuilds, backfills and deletions."""

import pytest

from analytics_assets_tests.servers.fake_api import FakeApi
from analytics_assets_tests.support.project import Project, metadata
from analytics_assets_tests.support.rows import organization, policy, role


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
