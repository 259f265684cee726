"""The public API's dialect: the same tables, paging by id, and what is said of a server that does not page so."""

import itertools
import random
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from dlt.extract.exceptions import ResourceExtractionError

from analytics_assets.demo.exchange import Request
from analytics_assets_tests.servers.fake_api import Answer
from analytics_assets_tests.servers.fake_ninjaone import FakeNinjaOne
from analytics_assets_tests.support.project import Project, metadata
from analytics_assets_tests.support.reading import read_ids
from analytics_assets_tests.support.rows import MAY, activity, events, organization


@pytest.mark.parametrize("rows", [0, 1, 9, 10, 11, 20, 95])
@pytest.mark.parametrize("resource", ["organizations", "activities"])
def test_every_row_is_read_once_whatever_their_number(ninjaone: FakeNinjaOne, resource: str, rows: int) -> None:
    ninjaone.rows[resource] = [make(resource, n) for n in range(1000, 1000 + 3 * rows, 3)]
    assert sorted(read_ids(resource)) == list(range(1000, 1000 + 3 * rows, 3))
    # The empty page that ends it, and the last row once more where a full page is followed by an empty one.
    assert len(ninjaone.requests) == -(-rows // 10) + 1 + (rows > 0 and rows % 10 == 0)


def test_a_day_of_activities_on_top_of_many_is_about_ten_pages(
    ninjaone: FakeNinjaOne, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SOURCES__ANALYTICS__PAGE_SIZE")
    start = datetime(2024, 5, 1, tzinfo=UTC).timestamp()
    # A day has 86400 s; the ids of some rows do not follow their times.
    ninjaone.rows["activities"] = [activity(n, start + 8.64 * n - 100 * (n % 7 == 0)) for n in range(1, 30_001)]
    project.sync("activities")
    ninjaone.requests.clear()
    ninjaone.rows["activities"] += [activity(n, start + 8.64 * n - 100 * (n % 7 == 0)) for n in range(30_001, 40_001)]
    said = metadata(project.sync("activities"), "activities")
    assert (said["rows_loaded"], said["dagster/row_count"]) == (10_000, 40_000)
    assert said["reads"] == "what is new"
    assert 10 <= said["requests"] <= 13


@pytest.mark.parametrize("disorder", [0, 3, 40])
@pytest.mark.parametrize("seed", range(3))
def test_activities_by_time_to_which_ids_are_only_close_are_all_read(
    ninjaone: FakeNinjaOne, monkeypatch: pytest.MonkeyPatch, disorder: int, seed: int
) -> None:
    monkeypatch.setenv("SOURCES__ANALYTICS__PAGE_SIZE", "200")
    dice = random.Random(seed)
    by_time = [activity(n, MAY + n + dice.uniform(0, disorder)) for n in range(1, 3001)]
    by_time.sort(key=lambda row: row["activityTime"], reverse=True)

    def newest_time_first(request: Request) -> Answer:
        below = int(request.query.get("olderThan", 10**6))
        page = itertools.islice((row for row in by_time if row["id"] < below), int(request.query["pageSize"]))
        return Answer(body={"activities": list(page)})

    ninjaone.faults["activities"].append(newest_time_first)
    assert sorted(read_ids("activities")) == list(range(1, 3001))
    assert len(ninjaone.requests) < 35


def test_ids_below_those_of_a_page_overlap_without_harm(ninjaone: FakeNinjaOne) -> None:
    ninjaone.rows["activities"] = events(1, 95)

    def overlap(request: Request) -> Answer | None:
        below = int(request.query.get("olderThan", 10**6))
        page = [row for row in ninjaone.rows["activities"] if row["id"] < below + 3][::-1][:10]
        return Answer(body={"activities": page if below > 1 else []})

    ninjaone.faults["activities"].append(overlap)
    assert sorted(read_ids("activities")) == list(range(1, 96))


def make(resource: str, number: int) -> dict[str, Any]:
    return activity(number, MAY + number) if resource == "activities" else organization(number)


def refused(resource: str) -> str:
    with pytest.raises(ResourceExtractionError) as caught:
        read_ids(resource)
    return str(caught.value)


def shuffled(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return random.Random(1).sample(rows, len(rows))


@pytest.mark.parametrize(
    ("resource", "page", "message"),
    [
        ("organizations", lambda rows, _: rows[:10], r"page 2 (after=1010) begins with id 1001"),
        ("organizations", lambda rows, after: rows[after : after + 10], "after a full page comes nothing"),
        ("organizations", lambda rows, after: shuffled([r for r in rows if r["id"] > after][:10]), "not ordered by id"),
        ("organizations", lambda rows, after: [r for r in rows if r["id"] > after][:10][::-1], "not ordered by id"),
        ("activities", lambda rows, _: rows[::-1][:10], "page 2 (olderThan=1036) brings nothing new"),
        ("activities", lambda rows, _: shuffled(rows), "not ordered by id"),
        ("activities", lambda rows, below: [] if below else rows[::-1][:10], "after a full page comes nothing"),
    ],
)
def test_a_server_that_does_not_page_by_id_is_found_out(
    ninjaone: FakeNinjaOne,
    resource: str,
    page: Callable[[list[dict[str, Any]], int], list[dict[str, Any]]],
    message: str,
) -> None:
    rows = [make(resource, n) for n in range(1001, 1046)]

    def answer(request: Request) -> Answer:
        found = page(rows, int(request.query.get("olderThan" if resource == "activities" else "after", 0)))
        return Answer(body={"activities": found} if resource == "activities" else found)

    ninjaone.faults[resource].append(answer)
    assert message in refused(resource)


def test_an_id_that_has_no_order_is_refused(ninjaone: FakeNinjaOne) -> None:
    ninjaone.answer_always("organizations", Answer(body=[{"id": "-17"}]))
    assert "has the id -17, and paging by id takes numbers from 1" in refused("organizations")
