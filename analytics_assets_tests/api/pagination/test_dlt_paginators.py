"""dlt's paginators, each in front of a server of its wire format, and in front of hostile ones."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import pytest
from dlt.sources.helpers.rest_client.paginators import (
    BasePaginator,
    HeaderCursorPaginator,
    HeaderLinkPaginator,
    JSONLinkPaginator,
    JSONResponseCursorPaginator,
    OffsetPaginator,
    PageNumberPaginator,
    SinglePagePaginator,
)
from requests import Request, Response

from analytics_assets.api.dialects.base import Endpoint
from analytics_assets_tests.servers.fake_api import Answer
from analytics_assets_tests.servers.vendor import Asked, Vendor, serve_vendor
from analytics_assets_tests.support.vendors import TOKEN, Connect, things
from analytics_assets_tests.support.waiting import Turnstile

SIZE = 10
ROWS = things(1, 45)


def page_of(start: int) -> list[dict[str, Any]]:
    return ROWS[start : start + SIZE]


def next_of(start: int) -> int | None:
    return start + SIZE if start + SIZE < len(ROWS) else None


def start_in(asked: Asked, name: str = "cursor") -> int:
    return int(asked.query.get(name, "c0").removeprefix("c"))


def link(url: str, start: int | None) -> str | None:
    return None if start is None else f"{url}/things?cursor=c{start}"


def json_link(url: str, asked: Asked) -> Answer:
    start = start_in(asked)
    return Answer(body={"data": page_of(start), "paging": {"next": link(url, next_of(start))}})


def relative_link(url: str, asked: Asked) -> Answer:
    start = start_in(asked)
    return Answer(body={"data": page_of(start), "paging": {"next": link("", next_of(start)) or ""}})


def header_link(url: str, asked: Asked) -> Answer:
    start = start_in(asked)
    following = link(url, next_of(start))
    headers = {"Link": f'<{following}>; rel="Next", <{url}/things>; rel="first"'} if following else {}
    return Answer(body={"data": page_of(start)}, headers=headers)


def header_cursor(url: str, asked: Asked) -> Answer:
    start = start_in(asked)
    following = next_of(start)
    return Answer(body={"data": page_of(start)}, headers={"X-Next": f"c{following}"} if following else {})


def cursor(url: str, asked: Asked) -> Answer:
    start = start_in(asked)
    following = next_of(start)
    return Answer(body={"data": page_of(start), "meta": {"next": following and f"c{following}"}})


def cursor_in_body(url: str, asked: Asked) -> Answer:
    assert asked.body["query"] == {"kind": "all"}
    start = int(asked.body.get("page", {}).get("after", "c0").removeprefix("c"))
    following = next_of(start)
    return Answer(
        body={"data": page_of(start), "meta": {"next": f"c{following}" if following else "", "more": bool(following)}}
    )


def page_number(url: str, asked: Asked) -> Answer:
    start = (int(asked.query["page"]) - 1) * SIZE
    body = {"data": page_of(start), "pages": 5, "more": next_of(start) is not None}
    return Answer(body=body)


def offset(url: str, asked: Asked) -> Answer:
    assert asked.query["limit"] == str(SIZE)
    return Answer(body={"data": page_of(int(asked.query["offset"])), "total": len(ROWS)})


def single(url: str, asked: Asked) -> Answer:
    return Answer(body={"data": ROWS})


Format = Callable[[str, Asked], Answer]


@dataclass
class Case:
    """A wire format, and the endpoint that reads it."""

    format: Format
    paginator: BasePaginator
    requests: int = 5
    endpoint: dict[str, Any] = field(default_factory=dict)
    ahead: bool = False
    """Whether requests behind the end may be sent."""


def number(**options: Any) -> PageNumberPaginator:
    return PageNumberPaginator(base_page=1, page_param="page", **options)


POST: dict[str, Any] = {"method": "POST", "body": {"query": {"kind": "all"}}}
CURSOR_IN_BODY = JSONResponseCursorPaginator("meta.next", cursor_body_path="page.after", has_more_path="meta.more")

CASES = {
    "json link": Case(json_link, JSONLinkPaginator("paging.next")),
    "relative json link": Case(relative_link, JSONLinkPaginator("paging.next")),
    "header link": Case(header_link, HeaderLinkPaginator()),
    "header cursor": Case(header_cursor, HeaderCursorPaginator(cursor_key="X-Next", cursor_param="cursor")),
    "cursor": Case(cursor, JSONResponseCursorPaginator("meta.next", cursor_param="cursor")),
    "cursor in the body": Case(cursor_in_body, CURSOR_IN_BODY, endpoint=POST),
    "page number, total": Case(page_number, number(total_path="pages"), ahead=True),
    "page number, has more": Case(page_number, number(total_path=None, has_more_path="more"), ahead=True),
    "page number": Case(page_number, number(total_path=None), requests=6, ahead=True),
    "page number, maximum": Case(page_number, number(total_path=None, maximum_page=6)),
    "offset": Case(offset, OffsetPaginator(limit=SIZE, total_path="total"), ahead=True),
    "offset without total": Case(offset, OffsetPaginator(limit=SIZE, total_path=None), requests=6, ahead=True),
    "single page": Case(single, SinglePagePaginator(), requests=1),
}


@contextmanager
def serving(form: Format) -> Iterator[Vendor]:
    with serve_vendor(lambda asked: form(vendor.url, asked)) as vendor:
        yield vendor


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_every_row_is_read_once_with_the_token_and_all_that_the_endpoint_says(connect: Connect, case: Case) -> None:
    endpoint = Endpoint(
        "/things", "data", case.paginator, headers={"X-View": "full"}, params={"tag": ["a", "b"], "all": True}
    )
    if case.endpoint:
        endpoint = Endpoint("/things", "data", case.paginator, headers={"X-View": "full"}, **case.endpoint)
    with serving(case.format) as vendor:
        connected = connect(vendor.url, endpoint, headers={"X-Client": "assets"})
        # Twice: the paginator of the endpoint keeps nothing of a listing.
        for _ in range(2):
            vendor.requests.clear()
            assert connected.ids() == [row["id"] for row in ROWS]
            sent = len(vendor.requests)
            assert case.requests <= sent <= case.requests + 8 * case.ahead
    for asked in vendor.requests:
        assert asked.authorization == f"Bearer {TOKEN}"
        assert (asked.headers["X-View"], asked.headers["X-Client"]) == ("full", "assets")
    if not case.endpoint:
        assert dict(vendor.requests[0].repeated) | {"tag": ["a", "b"], "all": ["true"]} == vendor.requests[0].repeated
        follows_links = "link" in case.format.__name__
        assert ("tag" in vendor.requests[-1].query) is (len(vendor.requests) == 1 or not follows_links)


def test_numbered_pages_are_read_ahead_up_to_their_maximum(connect: Connect) -> None:
    rows, turnstile = things(1, 400), Turnstile(8)

    def long(asked: Asked) -> Answer:
        start = int(asked.query["page"]) * SIZE
        # The reader asks for more pages at once the longer a listing turns out to be.
        if start > 8 * SIZE:
            turnstile(asked)
        return Answer(body={"data": rows[start : start + SIZE]})

    with serve_vendor(long) as vendor:
        paginator = PageNumberPaginator(page_param="page", total_path=None)
        connected = connect(vendor.url, Endpoint("/things", "data", paginator))
        assert connected.ids() == [row["id"] for row in rows]
        assert turnstile.most == 8
        # 40 pages and the empty one that ends them.
        assert 41 <= len(vendor.requests) < 41 + 8
        vendor.requests.clear()
        bounded = PageNumberPaginator(page_param="page", total_path=None, maximum_page=7)
        assert len(connect(vendor.url, Endpoint("/things", "data", bounded)).ids()) == 70
        assert len(vendor.requests) == 7


def loop(form: Format) -> Format:
    """The third page leads back to the first."""

    def looping(url: str, asked: Asked) -> Answer:
        answer = form(url, asked)
        for value in (answer.body, answer.headers):
            if isinstance(value, dict):
                _replace(value, "c30", "c0")
        return answer

    return looping


def _replace(found: dict[str, Any], old: str, new: str) -> None:
    for name, value in found.items():
        if isinstance(value, dict):
            _replace(value, old, new)
        elif isinstance(value, str):
            found[name] = value.replace(old, new)


CURSORS = ["json link", "header link", "header cursor", "cursor", "cursor in the body"]


@pytest.mark.parametrize("name", CURSORS)
def test_a_loop_is_an_error(connect: Connect, name: str) -> None:
    case = CASES[name]
    with serving(loop(case.format)) as vendor:
        message = connect(vendor.url, Endpoint("/things", "data", case.paginator, **case.endpoint)).refusal()
        assert len(vendor.requests) <= 6
    assert "does not advance" in message


@pytest.mark.parametrize("name", ["page number", "offset without total"])
def test_a_server_that_ignores_the_number_of_the_page_is_an_error(connect: Connect, name: str) -> None:
    with serving(lambda *_: Answer(body={"data": ROWS[:SIZE]})) as vendor:
        message = connect(vendor.url, Endpoint("/things", "data", CASES[name].paginator)).refusal()
        assert len(vendor.requests) <= 10
    assert "page 2 repeats the page before: the listing does not advance" in message


@pytest.mark.parametrize("name", CURSORS)
@pytest.mark.parametrize("rows", [[], ROWS[:1]], ids=["no rows", "known rows"])
def test_a_token_that_never_ends_is_an_error(connect: Connect, name: str, rows: list[dict[str, Any]]) -> None:
    numbers = count(1)

    def endless(url: str, asked: Asked) -> Answer:
        token = f"c{next(numbers)}"
        following = f"{url}/things?cursor={token}"
        body = {"data": rows, "meta": {"next": token, "more": True}, "paging": {"next": following}}
        return Answer(body=body, headers={"X-Next": token, "Link": f'<{following}>; rel="next"'})

    case = CASES[name]
    with serving(endless) as vendor:
        message = connect(vendor.url, Endpoint("/things", "data", case.paginator, **case.endpoint)).refusal()
        assert len(vendor.requests) <= 101
    assert "is the last of 100 without a new row" in message


@pytest.mark.parametrize("name", ["json link", "header link"])
@pytest.mark.parametrize(
    "spelled", ["{foreign}/things?cursor=c10", "//{host}/things", "{foreign}\\@{own}/", "http://u:p@{own}/things"]
)
def test_a_link_to_another_origin_is_an_error_and_gets_no_token(connect: Connect, name: str, spelled: str) -> None:
    case = CASES[name]
    with serving(case.format) as elsewhere:
        host = elsewhere.url.removeprefix("http://")

        def leading_away(url: str, asked: Asked) -> Answer:
            target = spelled.format(foreign=elsewhere.url, host=host, own=url.removeprefix("http://"))
            body = {"data": ROWS[:SIZE], "paging": {"next": target}}
            return Answer(body=body, headers={"Link": f'<{target}>; rel="next"'})

        with serving(leading_away) as vendor:
            message = connect(vendor.url, Endpoint("/things", "data", case.paginator)).refusal()
            assert len(vendor.requests) == 1
    assert elsewhere.requests == []
    assert "page 1 leads to another origin" in message
    if "u:p" not in spelled and "\\" not in spelled:
        assert elsewhere.url in message


def test_a_link_outside_of_the_base_url_is_an_error(connect: Connect) -> None:
    with serving(json_link) as vendor:
        endpoint = Endpoint("/things", "data", JSONLinkPaginator("paging.next"))
        assert "leads outside of sources.vendor.base_url" in connect(f"{vendor.url}/api", endpoint).refusal()
        assert len(vendor.requests) == 1


@pytest.mark.parametrize("prefix", ["", "/api", "/a%20b"])
def test_links_below_a_base_url_with_a_path_are_followed_as_they_are(connect: Connect, prefix: str) -> None:
    def spelled(url: str, asked: Asked) -> Answer:
        start = start_in(asked)
        following = f"{url}{prefix}/pages/{start + SIZE}?cursor=c{start + SIZE}&sig=a%2Bb%20c&flag"
        return Answer(body={"data": page_of(start), "next": following if next_of(start) else None})

    with serving(spelled) as vendor:
        endpoint = Endpoint("/things", "data", JSONLinkPaginator("next"), params={"limit": 10})
        assert len(connect(f"{vendor.url}{prefix}", endpoint).ids()) == 45
        assert [asked.path for asked in vendor.requests][:2] == [f"{prefix}/things", f"{prefix}/pages/10"]
        assert vendor.requests[1].query["sig"] == "a+b c"


LACKS = {
    "json link": "there is no 'paging.next' in the body, only the keys ['data', 'other']",
    "cursor": "there is no 'meta.next' in the body, only the keys ['data', 'other']",
    "cursor in the body": "there is no 'meta.more' in the body, only the keys ['data', 'other']",
    "page number, total": "there is no 'pages' in the body, only the keys ['data', 'other']",
    "page number, has more": "there is no 'more' in the body, only the keys ['data', 'other']",
    "offset": "there is no 'total' in the body, only the keys ['data', 'other']",
}


@pytest.mark.parametrize(("name", "said"), LACKS.items(), ids=LACKS)
def test_an_absent_key_is_an_error_that_names_the_keys_and_shows_no_row(connect: Connect, name: str, said: str) -> None:
    case = CASES[name]
    with serving(lambda *_: Answer(body={"data": ROWS[:SIZE], "other": "body-canary"})) as vendor:
        message = connect(vendor.url, Endpoint("/things", "data", case.paginator, **case.endpoint)).refusal()
    assert said in message
    assert "canary" not in message.replace(TOKEN, "")
    assert "Thing 1" not in message


def test_an_endpoint_may_say_that_its_last_page_lacks_the_key(connect: Connect) -> None:
    def lacking(url: str, asked: Asked) -> Answer:
        answer = cursor(url, asked)
        if answer.body["meta"]["next"] is None:
            del answer.body["meta"]
        return answer

    paginator = JSONResponseCursorPaginator("meta.next", cursor_param="cursor")
    with serving(lacking) as vendor:
        assert "set ends_without_cursor=True" in connect(vendor.url, Endpoint("/things", "data", paginator)).refusal()
        endpoint = Endpoint("/things", "data", paginator, ends_without_cursor=True)
        assert len(connect(vendor.url, endpoint).ids()) == 45


@pytest.mark.parametrize(
    ("more", "following", "outcome"),
    [
        (False, None, "end"),
        (False, "c9", "end"),
        (True, None, "rows would be missing"),
        (True, "", "rows would be missing"),
        (True, {"a": "value-canary"}, "has an object at 'meta.next'"),
        (True, ["a"], "has a list at 'meta.next'"),
        ("maybe", "c9", "has 'maybe' at 'meta.more', which is no true or false"),
        (None, "c9", "there is no 'meta.more' in the body"),
    ],
)
def test_what_a_cursor_and_has_more_say_together(
    connect: Connect, more: object, following: object, outcome: str
) -> None:
    paginator = JSONResponseCursorPaginator("meta.next", cursor_param="cursor", has_more_path="meta.more")
    body = {"data": ROWS[:SIZE], "meta": {"next": following, "more": more}}
    with serving(lambda *_: Answer(body=body)) as vendor:
        connected = connect(vendor.url, Endpoint("/things", "data", paginator))
        if outcome == "end":
            assert len(connected.ids()) == SIZE
        else:
            message = connected.refusal()
            assert outcome in message
            assert "value-canary" not in message


def test_an_offset_that_skips_rows_is_an_error(connect: Connect) -> None:
    """The server sends 5 rows at most, and dlt asks for the eleventh row next."""

    def capped(url: str, asked: Asked) -> Answer:
        start = int(asked.query["offset"])
        return Answer(body={"data": ROWS[start : start + 5]})

    with serving(capped) as vendor:
        endpoint = Endpoint("/things", "data", OffsetPaginator(limit=SIZE, total_path=None))
        assert "rows between them may be missing" in connect(vendor.url, endpoint).refusal()


def test_rows_that_come_again_are_dropped(connect: Connect) -> None:
    def overlapping(url: str, asked: Asked) -> Answer:
        start = start_in(asked)
        following = next_of(start)
        return Answer(body={"data": ROWS[max(0, start - 3) : start + SIZE], "meta": {"next": following}})

    with serving(overlapping) as vendor:
        paginator = JSONResponseCursorPaginator("meta.next", cursor_param="cursor")
        assert connect(vendor.url, Endpoint("/things", "data", paginator)).ids() == [row["id"] for row in ROWS]


def test_a_listing_that_is_too_long_is_an_error(connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCES__VENDOR__MAX_PAGES", "3")
    with serving(cursor) as vendor:
        paginator = JSONResponseCursorPaginator("meta.next", cursor_param="cursor")
        assert "goes on after 3 pages" in connect(vendor.url, Endpoint("/things", "data", paginator)).refusal()
        assert len(vendor.requests) == 3


class AfterLastRow(BasePaginator):
    """A paginator of the user, as Stripe's paging has it: the cursor is in the last row."""

    def update_state(self, response: Response, data: list[Any] | None = None) -> None:
        assert response.status_code == 200
        self._has_next_page = bool(data and response.json()["more"])
        self._last = data[-1]["ref"]["code"] if data else None

    def update_request(self, request: Request) -> None:
        request.params["after"] = self._last


def after_last_row(url: str, asked: Asked) -> Answer:
    start = int(asked.query.get("after", "x0").removeprefix("x"))
    data = [{**row, "ref": {"code": f"x{row['id']}"}} for row in page_of(start)]
    return Answer(body={"data": data, "more": next_of(start) is not None})


def test_a_paginator_of_the_user_sees_rows_as_dlt_has_them(connect: Connect) -> None:
    with serving(after_last_row) as vendor:
        connected = connect(vendor.url, Endpoint("/things", "data", AfterLastRow()))
        assert connected.ids() == [row["id"] for row in ROWS]
        assert len(vendor.requests) == 5


def test_a_paginator_of_the_user_that_fails_is_an_error_without_the_body(connect: Connect) -> None:
    with serving(lambda *_: Answer(body={"data": ROWS[:1]})) as vendor:
        message = connect(vendor.url, Endpoint("/things", "data", AfterLastRow())).refusal()
    assert "things: page 1 cannot be read by AfterLastRow (KeyError)" in message


def test_a_failed_search_is_repeated_with_its_body_and_a_redirect_keeps_it_or_fails(connect: Connect) -> None:
    answers = [Answer(503), Answer(307, headers={"Location": "/moved"}), Answer(302, headers={"Location": "/moved"})]

    def failing(url: str, asked: Asked) -> Answer:
        return answers.pop(0) if answers and asked.path == "/things" else cursor_in_body(url, asked)

    with serving(failing) as vendor:
        connected = connect(vendor.url, Endpoint("/things", "data", CURSOR_IN_BODY, **POST))
        message = connected.refusal()
        assert connected.listing.stats.retries == 1
        assert "answered 302 Found, a redirect that turns it into a GET" in message
        assert len(vendor.asked("/moved")) == 1
        assert len(connected.ids()) == 45
    assert {asked.method for asked in vendor.requests} == {"POST"}
