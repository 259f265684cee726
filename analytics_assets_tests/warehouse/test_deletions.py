"""Rows that are gone upstream are marked, unless too many are."""

import pytest

from analytics_assets_tests.servers.fake_api import FakeApi
from analytics_assets_tests.support.project import Project, failure_message, metadata
from analytics_assets_tests.support.rows import policy


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
