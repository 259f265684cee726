"""Requests in flight: how many, in which order, and what they do when the API asks for a pause or a listing ends."""

import gc
import threading
import time

import pytest

from analytics_assets.api.http.errors import StatusError
from analytics_assets.api.listing import Listing, open_listings
from analytics_assets.api.settings_reader import read_settings
from analytics_assets.demo.exchange import Request
from analytics_assets_tests.servers.fake_api import PATHS, Answer, FakeApi
from analytics_assets_tests.support.eight import BY_NAME, EIGHT
from analytics_assets_tests.support.rows import location, organization
from analytics_assets_tests.support.waiting import PATIENCE, Turnstile, until


def listings(*names: str) -> list[Listing]:
    return list(open_listings(read_settings(EIGHT), [BY_NAME[name] for name in names]).values())


def ids(listing: Listing) -> list[int]:
    found: list[int] = []
    is_last = False
    while not is_last:
        batch = listing.next_batch()
        found += batch.table["id"].to_pylist()
        is_last = batch.is_last
    return found


@pytest.mark.parametrize("in_flight", [1, 3, 8])
def test_as_many_requests_as_allowed_are_in_flight_and_no_more(
    empty_api: FakeApi, monkeypatch: pytest.MonkeyPatch, in_flight: int
) -> None:
    monkeypatch.setenv("SOURCES__ANALYTICS__REQUESTS_IN_FLIGHT", str(in_flight))
    empty_api.rows["organizations"] = [organization(n) for n in range(1, 1001)]
    turnstile = Turnstile(in_flight)

    def pass_first_pages(request: Request) -> None:
        # The reader asks for more pages at once the longer a listing turns out to be.
        if int(request.query["after"]) > 19 * in_flight:
            turnstile(request)

    empty_api.faults["organizations"].append(pass_first_pages)
    [listing] = listings("organizations")
    listing.start({})
    assert ids(listing) == list(range(1, 1001))
    assert turnstile.most == in_flight


def test_resources_overlap_and_share_the_limit(api: FakeApi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCES__ANALYTICS__REQUESTS_IN_FLIGHT", "4")
    turnstile = Turnstile(4)
    for faults in api.faults.values():
        faults.append(turnstile)
    started = listings(*PATHS)
    for listing in started:
        listing.start({})
    for listing in started:
        assert len(ids(listing)) == len(api.rows[listing.resource.name])
    assert turnstile.most == 4


def test_pages_that_arrive_in_any_order_are_put_in_order(empty_api: FakeApi) -> None:
    empty_api.rows["organizations"] = [organization(n) for n in range(1, 1001)]
    later: dict[str, threading.Event] = {}

    def after_the_next_page(request: Request) -> None:
        """Holds every other page until the one behind it has been asked for."""
        after = int(request.query["after"])
        later.setdefault(str(after), threading.Event()).set()
        if after > 19 * 8 and after // 19 % 2 and after + 19 < 950:
            assert later.setdefault(str(after + 19), threading.Event()).wait(PATIENCE)

    empty_api.faults["organizations"].append(after_the_next_page)
    [listing] = listings("organizations")
    listing.start({})
    assert ids(listing) == list(range(1, 1001))


@pytest.mark.parametrize("rows", [0, 1, 19, 20, 21, 45, 500])
@pytest.mark.parametrize("in_flight", [1, 2, 8])
def test_at_most_one_window_is_asked_for_behind_the_end(
    empty_api: FakeApi, monkeypatch: pytest.MonkeyPatch, in_flight: int, rows: int
) -> None:
    monkeypatch.setenv("SOURCES__ANALYTICS__REQUESTS_IN_FLIGHT", str(in_flight))
    empty_api.rows["organizations"] = [organization(n) for n in range(1, rows + 1)]
    [listing] = listings("organizations")
    listing.start({})
    assert ids(listing) == list(range(1, rows + 1))
    behind = [request for request in empty_api.requests if int(request.query["after"]) > rows]
    assert len(behind) < in_flight
    assert len(empty_api.requests) <= rows // 19 + 2 + len(behind)


def test_a_short_listing_is_not_asked_for_in_many_requests(empty_api: FakeApi) -> None:
    [listing] = listings("organizations")
    listing.start({})
    assert ids(listing) == []
    assert len(empty_api.requests) == 1


def test_a_failure_behind_the_end_is_no_failure(empty_api: FakeApi) -> None:
    empty_api.rows["organizations"] = [organization(n) for n in range(1, 31)]
    empty_api.faults["organizations"].append(
        lambda request: Answer(400, {"error": "after is too large"}) if int(request.query["after"]) > 30 else None
    )
    [listing] = listings("organizations")
    listing.start({})
    assert ids(listing) == list(range(1, 31))


def test_a_failure_in_the_middle_is_the_failure_of_the_listing(empty_api: FakeApi) -> None:
    empty_api.rows["organizations"] = [organization(n) for n in range(1, 1001)]
    empty_api.faults["organizations"].append(
        lambda request: Answer(400, {"error": "no"}) if request.query["after"] == "380" else None
    )
    [listing] = listings("organizations")
    listing.start({})
    with pytest.raises(StatusError, match="after=380&limit=20 answered 400"):
        ids(listing)


def test_retry_after_stops_all_requests(api: FakeApi) -> None:
    arrivals: list[float] = []

    def note(_: Request) -> Answer | None:
        arrivals.append(time.monotonic())
        return Answer(429, headers={"Retry-After": "1"}) if len(arrivals) == 1 else None

    for name in ("roles", "groups", "organizations"):
        api.faults[name].append(note)
    first, *others = listings("roles", "groups", "organizations")
    first.start({})
    until(lambda: any("Retry-After asks" in wait.why for wait in first.stats.waits), "a wait for the retry")
    for listing in others:
        listing.start({})
    assert ids(first) == [1, 2, 3]
    assert [len(ids(listing)) for listing in others] == [3, 45]
    refused, *later = arrivals
    assert min(later) - refused >= 1


def test_a_listing_that_nobody_reads_is_not_read_on(empty_api: FakeApi) -> None:
    """Another one by the same event loop has long been read when the pages that were asked for have come."""
    empty_api.rows["organizations"] = [organization(n) for n in range(1, 20_001)]
    empty_api.rows["locations"] = [location(n) for n in range(1, 1_001)]
    held, released = threading.Event(), threading.Event()

    def hold(request: Request) -> None:
        if int(request.query["after"]) > 3_000:
            held.set()
            assert released.wait(PATIENCE)

    empty_api.faults["organizations"].append(hold)
    [listing] = listings("organizations")
    listing.start({})
    assert listing.next_batch()
    assert held.wait(PATIENCE)
    del listing
    gc.collect()
    released.set()
    for _ in range(2):
        [other] = listings("locations")
        other.start({})
        assert len(ids(other)) == 1_000
    # Eight were in flight.
    assert len(empty_api.asked("organizations")) <= 3_000 // 19 + 1 + 8


def test_a_later_slice_of_a_listing_comes_in_batches_as_large_as_those_of_the_first(empty_api: FakeApi) -> None:
    empty_api.rows["organizations"] = [organization(n) for n in range(1, 1001)]
    [listing] = listings("organizations")
    # Of all slices so far.
    listing.stats.weight = 10**10
    listing.start({})
    assert len(listing.next_batch().table) == 1000
