"""Listings that change, or misbehave, while they are read."""

import random
from collections.abc import Callable
from typing import Any

import pytest
from dlt.extract.exceptions import ResourceExtractionError

from analytics_assets.demo.exchange import Request
from analytics_assets_tests.servers.fake_api import TOKEN, Answer, FakeApi
from analytics_assets_tests.support.project import Project
from analytics_assets_tests.support.reading import read_ids, read_resource
from analytics_assets_tests.support.rows import activity, organization


def before_request(api: FakeApi, number: int, change: Callable[[list[dict[str, Any]]], object]) -> None:
    """Changes the API's rows just before it answers the given request."""

    def fault(_: Request) -> Answer | None:
        if len(api.asked("organizations")) == number:
            change(api.rows["organizations"])
        return None

    api.faults["organizations"].append(fault)


@pytest.mark.parametrize("rows", [0, 1, 2, 19, 20, 21, 38, 39, 40, 57, 58, 59, 60, 100])
@pytest.mark.parametrize("page_size", [1, 2, 3, 20, 1000])
def test_every_row_is_read_once_whatever_their_number(
    empty_api: FakeApi, monkeypatch: pytest.MonkeyPatch, rows: int, page_size: int
) -> None:
    monkeypatch.setenv("SOURCES__ANALYTICS__PAGE_SIZE", str(page_size))
    empty_api.rows["organizations"] = [organization(n) for n in range(1, rows + 1)]
    assert read_ids("organizations") == list(range(1, rows + 1))
    assert {request.query["limit"] for request in empty_api.requests} == {str(page_size)}


@pytest.mark.parametrize("cap", [1, 2, 7, 19])
def test_a_server_may_cap_the_page_size(api: FakeApi, cap: int) -> None:
    rows = api.rows["organizations"]
    api.faults["organizations"].append(
        lambda request: Answer(body={"data": rows[int(request.query["after"]) :][: min(cap, 20)]})
    )
    assert read_ids("organizations") == list(range(1, 46))


def test_a_server_may_ignore_the_limit(api: FakeApi) -> None:
    rows = api.rows["organizations"]
    api.faults["organizations"].append(lambda request: Answer(body={"data": rows[int(request.query["after"]) :]}))
    assert read_ids("organizations") == list(range(1, 46))


def test_a_short_page_in_the_middle_is_not_the_end(api: FakeApi) -> None:
    rows = api.rows["organizations"]

    def short(request: Request) -> Answer | None:
        after = int(request.query["after"])
        return Answer(body={"data": rows[after : after + 5]}) if after == 19 else None

    api.faults["organizations"].append(short)
    assert read_ids("organizations") == list(range(1, 46))


@pytest.mark.parametrize("deleted", [1, 5, 19, 20])
def test_rows_deleted_on_pages_already_read_hide_no_live_row(api: FakeApi, deleted: int) -> None:
    before_request(api, 2, lambda rows: rows.__delitem__(slice(0, deleted)))
    found = read_ids("organizations")
    assert set(range(21, 46)) <= set(found)
    assert len(found) == len(set(found))


def test_rows_deleted_at_the_end_are_no_gap(api: FakeApi) -> None:
    before_request(api, 2, lambda rows: rows.__delitem__(slice(10, None)))
    assert read_ids("organizations") == list(range(1, 21))


@pytest.mark.parametrize("inserted", [1, 5, 25])
def test_rows_inserted_before_what_was_read_shift_nothing_out(api: FakeApi, inserted: int) -> None:
    new = [organization(n) for n in range(100, 100 + inserted)]
    before_request(api, 2, lambda rows: rows.__setitem__(slice(0, 0), new))
    found = read_ids("organizations")
    assert set(range(1, 46)) <= set(found)
    assert len(found) == len(set(found))


@pytest.mark.parametrize("seed", range(30))
def test_no_row_that_is_alive_throughout_is_ever_lost(api: FakeApi, seed: int) -> None:
    dice = random.Random(seed)
    api.rows["organizations"] = [organization(n) for n in range(1, 201)]
    alive = set(range(1, 201))
    fresh = iter(range(1000, 10_000))

    def change(request: Request) -> None:
        rows = api.rows["organizations"]
        for _ in range(dice.choice((0, 0, 0, 1, 2))):
            if dice.random() < 0.6:
                alive.discard(rows.pop(dice.randrange(len(rows)))["id"])
            else:
                rows.insert(dice.randrange(len(rows)), organization(next(fresh)))

    api.faults["organizations"].append(change)
    found = read_ids("organizations")
    assert alive <= set(found)
    assert len(found) == len(set(found))


def test_a_row_listed_twice_is_an_error(api: FakeApi) -> None:
    api.rows["organizations"].append(organization(7))
    with pytest.raises(ResourceExtractionError, match="organizations: id 7 is listed twice, the second time on page 3"):
        read_ids("organizations")


def test_a_row_twice_on_one_page_is_an_error(api: FakeApi) -> None:
    api.rows["organizations"].insert(9, organization(7))
    with pytest.raises(ResourceExtractionError, match="lists id 7 twice on one page"):
        read_ids("organizations")


def test_a_server_that_ignores_after_is_found_out_on_the_second_page(api: FakeApi) -> None:
    api.answer_always("organizations", Answer(body={"data": api.rows["organizations"][:20]}))
    with pytest.raises(ResourceExtractionError, match=r"page 2 \(after=19\) repeats the page before.*dialect"):
        read_ids("organizations")
    # The third page is asked for together with the second.
    assert len(api.requests) <= 3


def test_a_short_first_page_that_comes_again_is_a_list_that_is_not_paged(empty_api: FakeApi) -> None:
    empty_api.answer_always("organizations", Answer(body={"data": [organization(1), organization(2)]}))
    with pytest.raises(ResourceExtractionError, match="does not page this list: it sent the same 2 rows") as raised:
        read_ids("organizations")
    assert "pagination=None" in str(raised.value)
    # A dialect is advised only if the body fits another one, and not this one.
    assert "dialect =" not in str(raised.value)


def test_after_that_is_read_as_an_id_is_found_out_where_ids_are_larger_than_offsets(empty_api: FakeApi) -> None:
    rows = [organization(n) for n in range(1001, 1046)]
    empty_api.faults["organizations"].append(
        lambda request: Answer(body={"data": [row for row in rows if row["id"] > int(request.query["after"])][:20]})
    )
    with pytest.raises(ResourceExtractionError, match=r"page 2 \(after=19\) repeats the page before"):
        read_ids("organizations")


@pytest.mark.parametrize("ids", [range(1, 101), range(1, 400, 2)])
def test_after_that_is_read_as_an_id_loses_no_row_where_ids_are_about_the_offsets(
    empty_api: FakeApi, ids: range
) -> None:
    rows = [organization(n) for n in ids]
    empty_api.faults["organizations"].append(
        lambda request: Answer(body={"data": [row for row in rows if row["id"] > int(request.query["after"])][:20]})
    )
    assert read_ids("organizations") == list(ids)


def test_after_that_is_read_as_a_date_is_found_out(empty_api: FakeApi) -> None:
    newest = [activity(n, 1714521600 + n) for n in range(45, 25, -1)]
    empty_api.answer_always("activities", Answer(body={"lastActivityId": 141, "activities": newest}))
    with pytest.raises(ResourceExtractionError, match="repeats the page before"):
        list(read_resource("activities"))


def test_a_listing_that_never_settles_is_an_error(api: FakeApi) -> None:
    fresh = iter(range(1000, 100_000))
    api.faults["organizations"].append(lambda _: Answer(body={"data": [organization(next(fresh)) for _ in range(20)]}))
    with pytest.raises(ResourceExtractionError, match=r"does not follow the pages before.* than an offset\.$"):
        read_ids("organizations")
    assert len(api.requests) < 20


def test_paging_goes_on_until_an_empty_page_and_sends_the_token(
    api: FakeApi, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCES__ANALYTICS__REQUESTS_IN_FLIGHT", "1")
    project.sync("organizations", "policies")

    asked = api.asked("organizations")
    assert [request.query for request in asked] == [
        {"after": after, "limit": "20"} for after in ("0", "19", "38", "45")
    ]
    assert {request.headers["Authorization"] for request in api.requests} == {f"Bearer {TOKEN}"}
    assert [request.query for request in api.asked("policies")] == [{}]
