"""Requests in flight: how many, in which order, and what they do when the API asks for a pause or a listing ends."""

import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from analytics_assets.demo.exchange import Request
from analytics_assets_tests.servers.fake_api import Answer, FakeApi
from analytics_assets_tests.support.dagster_dev import PATIENCE
from analytics_assets_tests.support.eight import DIALECTS
from analytics_assets_tests.support.project import Project, materialized, metadata
from analytics_assets_tests.support.rows import activity, organization
from analytics_assets_tests.support.specification import ANALYTICS


@pytest.mark.parametrize("newest_first", [False, True])
def test_activities_are_read_ahead_of_their_turn_unless_the_newest_come_first(
    empty_api: FakeApi,
    project: Project,
    monkeypatch: pytest.MonkeyPatch,
    with_dialect: Callable[..., None],
    *,
    newest_first: bool,
) -> None:
    monkeypatch.setenv("SOURCES__ANALYTICS__PAGE_SIZE", "100")
    with_dialect("activities", newest_first=newest_first)
    empty_api.rows["organizations"] = [organization(1)]
    empty_api.rows["activities"] = [activity(n) for n in range(1, 9001)]
    far = threading.Event()
    empty_api.faults["activities"].append(lambda request: far.set() if int(request.query["after"]) > 7000 else None)
    went_far = []

    def late(_: Request) -> None:
        # Three batches have come by then, and none has been asked for.
        went_far.append(far.wait(1 if newest_first else PATIENCE))

    empty_api.faults["organizations"].append(late)
    result = project.sync("organizations", "activities")
    assert materialized(result) == ["organizations", "activities"]
    assert set(went_far) == {not newest_first}
    assert metadata(result, "activities")["dagster/row_count"] == 9000


@pytest.fixture
def with_dialect(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Gives an endpoint of the specification's dialect what another API may have."""

    def change(resource: str, **fields: Any) -> None:
        endpoints = {**ANALYTICS.endpoints, resource: replace(ANALYTICS.endpoints[resource], **fields)}
        monkeypatch.setitem(DIALECTS, "analytics", replace(ANALYTICS, endpoints=endpoints))

    return change


def test_an_api_that_filters_is_asked_for_the_window_since_the_cursor(
    api: FakeApi, project: Project, with_dialect: Callable[..., None]
) -> None:
    with_dialect("activities", since_param="since")

    def filtered(request: Request) -> Answer:
        rows = [row for row in api.rows["activities"] if row["activityTime"] >= request.query["since"]]
        after = int(request.query["after"])
        return Answer(body={"activities": rows[after : after + 20]})

    api.faults["activities"].append(filtered)
    said = metadata(project.sync("activities"), "activities")
    assert (said["rows_read"], said["reads"]) == (41, "what is new")
    assert {request.query["since"] for request in api.asked("activities")} == {"2024-01-01T00:00:00Z"}

    api.requests.clear()
    api.rows["activities"].append(activity(42, "2024-05-01T00:42:00Z"))
    said = metadata(project.sync("activities"), "activities")
    # The newest was at 00:41, and the lag of activities is 300 s.
    assert {request.query["since"] for request in api.asked("activities")} == {"2024-05-01T00:36:00Z"}
    assert (said["rows_read"], said["rows_loaded"]) == (7, 1)
    assert project.ids("activities") == list(range(1, 43))


def test_a_full_sync_asks_an_api_that_filters_for_everything(
    api: FakeApi, project: Project, with_dialect: Callable[..., None]
) -> None:
    with_dialect("policies", since_param="since")
    project.sync("policies")
    api.requests.clear()
    project.sync("policies", config={"mode": "full"})
    assert {request.query["since"] for request in api.asked("policies")} == {"2024-01-01T00:00:00Z"}


def test_a_listing_with_the_newest_first_is_read_as_far_as_the_cursor(
    empty_api: FakeApi, project: Project, with_dialect: Callable[..., None]
) -> None:
    with_dialect("activities", newest_first=True)
    rows = [activity(n, f"2024-05-{n // 1440 + 1:02}T{n // 60 % 24:02}:{n % 60:02}:00Z") for n in range(20_000)]
    empty_api.rows["activities"] = rows[::-1]
    project.sync("activities")
    assert project.query("SELECT count(*) FROM analytics.activities") == [(20_000,)]

    empty_api.requests.clear()
    empty_api.rows["activities"].insert(0, activity(20_000, "2024-05-20T00:00:00Z"))
    said = metadata(project.sync("activities"), "activities")
    assert (said["rows_loaded"], said["reads"]) == (1, "what is new")
    # A batch or two of a thousand rows, instead of twenty.
    assert len(empty_api.asked("activities")) < 300


def test_an_api_without_a_filter_is_read_whole(api: FakeApi, project: Project) -> None:
    project.sync("activities", "organizations")
    result = project.sync("activities", "organizations")
    said = metadata(result, "activities")
    assert (said["rows_read"], said["reads"]) == (41, "everything, loads what is new")
    assert metadata(result, "organizations")["reads"] == "everything"
