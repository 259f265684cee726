"""Child resources: which paths are requested, in which order rows come, and what becomes of parents that are gone."""

import threading
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from dlt.sources.helpers.rest_client.auth import OAuth2ClientCredentials
from dlt.sources.helpers.rest_client.paginators import JSONResponseCursorPaginator, PageNumberPaginator

from analytics_assets.api.catalog import Column, Resource
from analytics_assets.api.dialects.base import ById, ByOffset, Dialect, Endpoint, Parent
from analytics_assets.api.listing import open_listings
from analytics_assets.warehouse.session import open_session
from analytics_assets.warehouse.sync import Synced, begin_sync, sync
from analytics_assets_tests.servers.fake_api import Answer
from analytics_assets_tests.servers.vendor import Asked, serve_vendor
from analytics_assets_tests.support.project import Project
from analytics_assets_tests.support.vendors import TOKEN, Connect
from analytics_assets_tests.support.waiting import PATIENCE, Turnstile

ID = Column("id", "bigint", "Identifier", nullable=False)

SITES = Resource("sites", "One row per site.", (ID, Column("slug", "text", "Name in paths")))

DEVICES = Resource(
    "devices",
    "One row per device.",
    (ID, Column("siteId", "bigint", "Site"), Column("seen", "timestamp", "When it was last seen")),
    cursor="seen",
)

DISKS = Resource("disks", "One row per disk.", (ID, Column("deviceId", "bigint", "Device"), Column("slug", "text", "")))

SITES_BY_OFFSET = Endpoint("/sites", "data", ByOffset("skip", size_param="top"))

DEVICES_OF = Endpoint("/sites/{siteId}/devices", "data", parent=Parent("sites", {"siteId": "id"}))

DISKS_OF = Endpoint(
    "/sites/{slug}/devices/{deviceId}/disks",
    "data",
    parent=Parent("devices", {"slug": "slug", "deviceId": "id"}),
)


class Sites:
    """Sites by offset, and devices of each in pages of two."""

    def __init__(self, sites: int, devices: int = 3) -> None:
        self.sites: list[dict[str, Any]] = [{"id": n, "slug": f"s {n}/ü"} for n in range(1, sites + 1)]
        self.devices = devices
        self.gone: set[int] = set()

    def __call__(self, asked: Asked) -> Answer:
        if asked.path == "/sites":
            skip = int(asked.query.get("skip", "0"))
            return Answer(body={"data": self.sites[skip : skip + int(asked.query.get("top", "1000"))], "total": 999})
        _, _, site, _, *deeper = asked.path.split("/")
        if deeper:
            return Answer(body={"data": [{"id": 10 * int(deeper[0])}]})
        if int(site) in self.gone:
            return Answer(404, {"error": "no such site"})
        page = int(asked.query.get("page", "0"))
        listed = [{"id": 1000 * int(site) + n, "seen": "2024-05-01T00:00:00Z"} for n in range(self.devices)]
        return Answer(body={"data": listed[2 * page : 2 * page + 2] if "page" in asked.query else listed, "total": 7})


def expected(sites: range, devices: int = 3) -> list[tuple[int, int]]:
    return [(1000 * site + n, site) for site in sites for n in range(devices)]


@pytest.mark.parametrize("in_flight", ["1", "3", "8"])
@pytest.mark.parametrize(("sites", "devices"), [(0, 3), (1, 0), (50, 3), (50, 0)])
def test_the_devices_of_all_sites_come_in_the_order_of_the_sites_and_have_their_column(
    connect: Connect, monkeypatch: pytest.MonkeyPatch, sites: int, devices: int, in_flight: str
) -> None:
    monkeypatch.setenv("SOURCES__VENDOR__REQUESTS_IN_FLIGHT", in_flight)
    with serve_vendor(Sites(sites, devices)) as vendor:
        connected = connect(vendor.url, {"sites": SITES_BY_OFFSET, "devices": DEVICES_OF}, SITES, DEVICES)
        rows = connected.rows("devices")
        assert [(row["id"], row["site_id"]) for row in rows] == expected(range(1, sites + 1), devices)
        assert {asked.authorization for asked in vendor.requests} == {f"Bearer {TOKEN}"}
        assert connected.listing.stats.requests == len(vendor.requests)
        # What the body of one site says is not the total of all.
        assert connected.listing.stats.total is None
        assert len([asked for asked in vendor.requests if asked.path != "/sites"]) == sites


def test_each_listing_is_paged_and_filtered_and_only_so_many_are_read_at_once(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCES__VENDOR__REQUESTS_IN_FLIGHT", "4")
    sites, turnstile = Sites(20, 5), Turnstile(4)

    def reply(asked: Asked) -> Answer:
        if asked.path != "/sites" and len(vendor.asked(asked.path)) == 1:
            turnstile(asked)
        return sites(asked)

    pages = PageNumberPaginator(page_param="page", total_path=None)
    endpoint = Endpoint(DEVICES_OF.path, "data", pages, since_param="since", parent=DEVICES_OF.parent)
    with serve_vendor(reply) as vendor:
        connected = connect(vendor.url, {"sites": SITES_BY_OFFSET, "devices": endpoint}, SITES, DEVICES)
        rows = connected.rows("devices")
        assert [(row["id"], row["site_id"]) for row in rows] == expected(range(1, 21), 5)
        for asked in vendor.requests:
            assert asked.query.get("since") == (None if asked.path == "/sites" else "2024-01-01T00:00:00Z")
    assert turnstile.most == 4


def test_a_field_of_the_row_wins_over_the_parents_and_a_parent_may_have_a_parent(connect: Connect) -> None:
    sites = Sites(3, 2)

    def reply(asked: Asked) -> Answer:
        answer = sites(asked)
        if asked.path == "/sites/2/devices":
            answer.body["data"][0]["siteId"] = 77
        for row in answer.body["data"]:
            row["slug"] = f"{row['id']}/ü"
        return answer

    endpoints = {"sites": SITES_BY_OFFSET, "devices": DEVICES_OF, "disks": DISKS_OF}
    with serve_vendor(reply) as vendor:
        connected = connect(vendor.url, endpoints, SITES, DEVICES, DISKS)
        assert [row["site_id"] for row in connected.rows("devices")] == [1, 1, 77, 2, 3, 3]
        rows = connected.rows("disks")
        assert [(row["id"], row["device_id"]) for row in rows] == [(10 * n, n) for n, _ in expected(range(1, 4), 2)]
        assert vendor.asked("/sites/1001%2F%C3%BC/devices/1001/disks")


def test_a_parent_that_is_gone_has_no_rows_and_is_counted(connect: Connect) -> None:
    sites = Sites(10)
    sites.gone = {1, 4, 10}
    with serve_vendor(sites) as vendor:
        connected = connect(vendor.url, {"sites": SITES_BY_OFFSET, "devices": DEVICES_OF}, SITES, DEVICES)
        found = {row["site_id"] for row in connected.rows("devices")}
        assert found == {2, 3, 5, 6, 7, 8, 9}
        assert connected.listing.stats.parents_gone == 3


@pytest.mark.parametrize("number", [1, 10, 500])
def test_if_all_parents_are_gone_the_path_is_wrong(connect: Connect, number: int) -> None:
    sites = Sites(number)
    sites.gone = set(range(1, number + 1))
    with serve_vendor(sites) as vendor:
        connected = connect(vendor.url, {"sites": SITES_BY_OFFSET, "devices": DEVICES_OF}, SITES, DEVICES)
        message = connected.refusal("devices")
        assert len(vendor.requests) <= 160
    assert f"devices: GET /sites/{{siteId}}/devices answered 404 Not Found for each of {min(number, 100)}" in message


@pytest.mark.parametrize("disks_are_there", [True, False])
def test_parents_that_are_gone_are_counted_apart_on_each_level(connect: Connect, *, disks_are_there: bool) -> None:
    sites = Sites(3, 2)
    sites.gone = {1, 2} if disks_are_there else {1}

    def reply(asked: Asked) -> Answer:
        return Answer(404) if asked.path.endswith("/disks") and not disks_are_there else sites(asked)

    parent = Parent("devices", {"deviceId": "id"})
    disks = Endpoint("/all/{deviceId}/devices/{deviceId}/disks", "data", parent=parent)
    endpoints = {"sites": SITES_BY_OFFSET, "devices": DEVICES_OF, "disks": disks}
    with serve_vendor(reply) as vendor:
        connected = connect(vendor.url, endpoints, SITES, DEVICES, DISKS)
        if disks_are_there:
            assert connected.ids("disks") == [30_000, 30_010]
            assert connected.listing.stats.parents_gone == 2
        else:
            assert "answered 404 Not Found for each of 4 rows of devices" in connected.refusal("disks")


def listed(rows: dict[str, list[dict[str, Any]]], asked: Asked) -> Answer:
    """The answer of an API whose devices are these, by site."""
    return Answer(body={"data": [{"id": int(n)} for n in rows] if asked.path == "/sites" else rows[asked.path[7:-8]]})


LOCAL_IDS = [
    {"1": [{"id": 1, "slug": "a"}], "2": [{"id": 1, "slug": "b"}]},
    {"1": [{"id": 1, "slug": "a"}], "2": [{"id": 1}]},
    {"1": [{"id": 1, "siteId": 1}], "2": [{"id": 1, "siteId": 2}]},
    # Without any content, nothing says that it is the same row.
    {"1": [{"id": 1}], "2": [{"id": 1}]},
]


@pytest.mark.parametrize("rows", LOCAL_IDS)
def test_ids_that_differ_only_together_with_the_parent_are_an_error(
    connect: Connect, rows: dict[str, list[dict[str, Any]]]
) -> None:
    columns = (ID, Column("siteId", "bigint", "Site", nullable=False))
    both = Resource("devices", "One row per device.", columns, key=("siteId", "id"))
    endpoints = {"sites": Endpoint("/sites", "data"), "devices": DEVICES_OF}
    with serve_vendor(lambda asked: listed(rows, asked)) as vendor:
        message = connect(vendor.url, endpoints, SITES, DEVICES).refusal("devices")
        assert "devices: GET /sites/1/devices and /sites/2/devices list different rows with id 1." in message
        assert 'set key=("siteId", "id"), declare siteId with nullable=False' in message
        assert [row["site_id"] for row in connect(vendor.url, endpoints, SITES, both).rows("devices")] == [1, 2]


def test_a_row_that_names_another_parent_and_nothing_else_is_an_error(connect: Connect) -> None:
    columns = (ID, Column("siteId", "bigint", "Site", nullable=False))
    both = Resource("devices", "One row per device.", columns, key=("siteId", "id"))
    rows = {"1": [{"id": 1, "siteId": 1}], "2": [{"id": 1, "siteId": 1}]}
    endpoints = {"sites": Endpoint("/sites", "data"), "devices": DEVICES_OF}
    with serve_vendor(lambda asked: listed(rows, asked)) as vendor:
        message = connect(vendor.url, endpoints, SITES, both).refusal("devices")
    assert "/sites/1/devices and /sites/2/devices list different rows with siteId, id (1, 1)" in message


def test_a_null_is_filled_as_an_absent_field_is(connect: Connect) -> None:
    columns = (ID, Column("siteId", "bigint", "Site", nullable=False))
    both = Resource("devices", "One row per device.", columns, key=("siteId", "id"))
    rows = {"1": [{"id": 1, "siteId": None}], "2": [{"id": 1, "siteId": None}]}
    endpoints = {"sites": Endpoint("/sites", "data"), "devices": DEVICES_OF}
    with serve_vendor(lambda asked: listed(rows, asked)) as vendor:
        assert [row["site_id"] for row in connect(vendor.url, endpoints, SITES, both).rows("devices")] == [1, 2]


def test_a_path_into_the_parents_row_fills_a_placeholder(connect: Connect) -> None:
    found = [{"id": 1, "ref": {"id": "a/b"}}, {"id": 2, "ref": {"id": "x"}, "ref.id": "by its name"}]
    devices = Endpoint("/sites/{site}/devices", "data", parent=Parent("sites", {"site": "ref.id"}))

    def reply(asked: Asked) -> Answer:
        return Answer(body={"data": found if asked.path == "/sites" else []})

    with serve_vendor(reply) as vendor:
        connected = connect(vendor.url, {"sites": Endpoint("/sites", "data"), "devices": devices}, SITES, DEVICES)
        assert connected.rows("devices") == []
        paths = {asked.path for asked in vendor.requests}
        assert paths == {"/sites", "/sites/a%2Fb/devices", "/sites/by%20its%20name/devices"}
        found[0]["ref"] = {}
        assert "the row of sites with id 1 has no value in 'ref.id', which cannot" in connected.refusal("devices")
        devices = replace(devices, parent=Parent("sites", {"site": "id.x"}))
        connected = connect(vendor.url, {"sites": Endpoint("/sites", "data"), "devices": devices}, SITES, DEVICES)
        assert "the row of sites with id 1 has no value in 'id.x', which cannot" in connected.refusal("devices")


def test_a_row_that_several_parents_list_is_read_once(connect: Connect) -> None:
    shared = {"id": 1, "slug": "a", "seen": None}
    rows = {"1": [shared, {"id": 2, "slug": "b"}], "2": [{"id": 3, "slug": "a"}, dict(reversed(shared.items()))]}
    endpoints = {"sites": Endpoint("/sites", "data"), "devices": DEVICES_OF}
    anywhere = replace(DEVICES, columns=tuple(column for column in DEVICES.columns if column.name != "siteId"))
    with serve_vendor(lambda asked: listed(rows, asked)) as vendor:
        assert connect(vendor.url, endpoints, SITES, anywhere).ids("devices") == [1, 2, 3]
        # With a column for the site, one of the two sites of device 1 would be lost.
        message = connect(vendor.url, endpoints, SITES, DEVICES).refusal("devices")
    assert "list different rows with id 1. A merge would keep one of them. If only siteId and id together" in message


def test_a_404_behind_the_first_page_is_an_error(connect: Connect) -> None:
    def reply(asked: Asked) -> Answer:
        if asked.query.get("cursor"):
            return Answer(404)
        body = {"data": [{"id": 1}], "next": "more" if "/devices" in asked.path else None}
        return Answer(body=body)

    paging = JSONResponseCursorPaginator("next")
    endpoint = Endpoint(DEVICES_OF.path, "data", paging, parent=DEVICES_OF.parent)
    with serve_vendor(reply) as vendor:
        connected = connect(vendor.url, {"sites": Endpoint("/sites", "data"), "devices": endpoint}, SITES, DEVICES)
        assert "devices: GET /sites/1/devices?cursor=more answered 404" in connected.refusal("devices")


@pytest.mark.parametrize("of_dlt", [True, False])
def test_a_404_of_the_token_endpoint_says_nothing_about_a_parent(
    connect: Connect, monkeypatch: pytest.MonkeyPatch, *, of_dlt: bool
) -> None:
    monkeypatch.setenv("SOURCES__VENDOR__CLIENT_ID", "client")
    monkeypatch.setenv("SOURCES__VENDOR__CLIENT_SECRET", "secret-canary")
    monkeypatch.setenv("SOURCES__VENDOR__REQUESTS_IN_FLIGHT", "1")
    sites = Sites(9)

    def reply(asked: Asked) -> Answer:
        if asked.path == "/token":
            is_first = len(vendor.asked("/token")) == 1
            return Answer(body={"access_token": "expiring", "expires_in": 3600}) if is_first else Answer(404)
        return Answer(401) if vendor.asked("/sites/4/devices") else sites(asked)

    with serve_vendor(reply) as vendor:
        monkeypatch.setenv("SOURCES__VENDOR__TOKEN_URL", f"{vendor.url}/token")
        auth: dict[str, Any] = {"auth": OAuth2ClientCredentials()} if of_dlt else {"token_path": "/token"}
        endpoints = {"sites": Endpoint("/sites", "data"), "devices": DEVICES_OF}
        connected = connect(vendor.url, endpoints, SITES, DEVICES, **auth)
        assert f"No token: POST {vendor.url}/token answered 404" in connected.refusal("devices")


def test_an_error_of_one_listing_is_that_of_all(connect: Connect) -> None:
    sites = Sites(30)

    def reply(asked: Asked) -> Answer:
        return Answer(403) if asked.path == "/sites/17/devices" else sites(asked)

    with serve_vendor(reply) as vendor:
        connected = connect(vendor.url, {"sites": SITES_BY_OFFSET, "devices": DEVICES_OF}, SITES, DEVICES)
        assert "devices: GET /sites/17/devices answered 403" in connected.refusal("devices")


@pytest.mark.parametrize("value", [None, "", "..", ".", {"a": "value-canary"}, ["x"], True, "a\nb"])
def test_a_parent_without_a_value_for_the_path_is_an_error_that_names_it(connect: Connect, value: object) -> None:
    sites = Sites(3)
    sites.sites[1]["slug"] = value
    endpoint = Endpoint("/sites/{slug}/devices", "data", parent=Parent("sites", {"slug": "slug"}))
    with serve_vendor(lambda asked: sites(asked) if asked.path == "/sites" else Answer(body={"data": []})) as vendor:
        connected = connect(vendor.url, {"sites": SITES_BY_OFFSET, "devices": endpoint}, SITES, DEVICES)
        message = connected.refusal("devices")
    assert "devices: the row of sites with id 2 has" in message
    assert "in 'slug', which cannot stand in the path /sites/{slug}/devices" in message
    assert "value-canary" not in message


def test_all_pages_together_are_limited(connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    with serve_vendor(Sites(18)) as vendor:
        connected = connect(vendor.url, {"sites": SITES_BY_OFFSET, "devices": DEVICES_OF}, SITES, DEVICES)
        # Two pages of sites, the second of which is empty, and one of devices for each.
        monkeypatch.setenv("SOURCES__VENDOR__MAX_PAGES", "20")
        assert len(connected.rows("devices")) == 54
        monkeypatch.setenv("SOURCES__VENDOR__MAX_PAGES", "19")
        assert "devices: the listing goes on after 19 pages" in connected.refusal("devices")


def test_a_probe_reads_two_pages_with_rows(connect: Connect) -> None:
    sites = Sites(500)
    with serve_vendor(sites) as vendor:
        connected = connect(vendor.url, {"sites": SITES_BY_OFFSET, "devices": DEVICES_OF}, SITES, DEVICES)
        [listing] = open_listings(connected.settings(), [DEVICES], most_pages=2).values()
        listing.start({})
        batch = listing.next_batch()
        assert (batch.is_last, batch.table["id"].to_pylist()) == (True, [1000, 1001, 1002, 2000, 2001, 2002])
        assert len(vendor.requests) <= 2 + 2 * 8


def test_no_more_listings_are_read_than_the_first_lets_pass(connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first listing stalls: those behind it are read ahead, but no further."""
    monkeypatch.setenv("SOURCES__VENDOR__REQUESTS_IN_FLIGHT", "4")
    sites, others, released = Sites(200), threading.Semaphore(0), threading.Event()

    def reply(asked: Asked) -> Answer:
        if asked.path == "/sites/1/devices":
            assert released.wait(PATIENCE)
        elif asked.path != "/sites":
            others.release()
        return sites(asked)

    with serve_vendor(reply) as vendor:
        connected = connect(vendor.url, {"sites": SITES_BY_OFFSET, "devices": DEVICES_OF}, SITES, DEVICES)
        listing = connected.open("devices")
        listing.start({})
        for _ in range(3):
            assert others.acquire(timeout=PATIENCE)
        # A fourth would be of the fifth listing, and come without delay.
        assert not others.acquire(timeout=0.3)
        released.set()
        assert listing.next_batch().table.num_rows == 600


def test_a_child_is_synced_by_its_cursor(connect: Connect, project: Project) -> None:
    sites = Sites(5)
    with serve_vendor(sites) as vendor:
        connected = connect(vendor.url, {"sites": SITES_BY_OFFSET, "devices": DEVICES_OF}, SITES, DEVICES)
        with open_session(connected.settings()) as session:

            def sync_once() -> Synced:
                with begin_sync(session, [DEVICES]) as [pending]:
                    return sync(pending, session)

            assert sync_once().rows_loaded == 15
            sites.gone = {2}
            assert sync_once().rows_loaded == 0
            sites.devices = 4
            done = sync_once()
    assert (done.rows_loaded, done.rows_in_table, done.stats.parents_gone) == (4, 19, 1)
    assert done.stats.cursor_after == datetime(2024, 5, 1, tzinfo=UTC)


def test_the_cursor_waits_for_the_rows_of_a_parent_that_is_briefly_gone(connect: Connect, project: Project) -> None:
    def device(id_: int, day: int) -> dict[str, Any]:
        return {"id": id_, "seen": f"2024-05-{day:02}T00:00:00Z"}

    rows = {"1": [device(11, 1)], "2": [device(21, 1)]}
    gone: set[str] = set()

    def reply(asked: Asked) -> Answer:
        return Answer(404) if asked.path in gone else listed(rows, asked)

    endpoints = {"sites": Endpoint("/sites", "data"), "devices": replace(DEVICES_OF, since_param="since")}
    with serve_vendor(reply) as vendor:
        connected = connect(vendor.url, endpoints, SITES, DEVICES)
        with open_session(connected.settings()) as session:

            def sync_once() -> Synced:
                with begin_sync(session, [DEVICES]) as [pending]:
                    return sync(pending, session)

            before = sync_once().stats.cursor_after
            rows["1"].append(device(12, 2))
            rows["2"].append(device(22, 9))
            gone.add("/sites/1/devices")
            done = sync_once()
            assert (done.rows_loaded, done.stats.cursor_after) == (1, before)
            gone.clear()
            done = sync_once()
            assert (done.rows_in_table, done.stats.rows_unchanged) == (4, 1)
            assert done.stats.cursor_after == datetime(2024, 5, 9, tzinfo=UTC)
        assert vendor.requests[-1].query["since"] == "2024-05-01T00:00:00Z"


MISTAKES = [
    (Endpoint("/sites/{siteId}/devices"), "has the placeholder {siteId}, which no field of a parent fills"),
    (Endpoint("/devices", parent=Parent("sites", {"siteId": "id"})), "has a field for 'siteId'"),
    (Endpoint(DEVICES_OF.path, parent=DEVICES_OF.parent, newest_first=True), "newest_first does not go with a parent"),
    (
        Endpoint(DEVICES_OF.path, pagination=ById("below", "n", descending=True), parent=DEVICES_OF.parent),
        "descending ids does not go with a parent",
    ),
]


@pytest.mark.parametrize(("endpoint", "said"), MISTAKES)
def test_a_mistake_of_a_child_is_found(endpoint: Endpoint, said: str) -> None:
    [mistake] = endpoint.mistakes()
    assert said in mistake


def test_parents_that_are_unknown_or_go_in_circles_are_found() -> None:
    one = Endpoint("/a/{x}", parent=Parent("two", {"x": "id"}))
    two = Endpoint("/b/{x}", parent=Parent("one", {"x": "id"}))
    lost = Endpoint("/c/{x}", parent=Parent("nobody", {"x": "id"}))
    assert Dialect("vendor", {"one": one, "two": two, "lost": lost}, page_size=1).mistakes() == [
        "one is its own parent: one of two of one",
        "two is its own parent: two of one of two",
        "lost has the parent 'nobody', which has no endpoint",
    ]
