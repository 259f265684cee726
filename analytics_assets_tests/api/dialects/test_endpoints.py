"""Endpoints as data: selectors, filters, and the mistakes that are found before any request."""

from typing import Any

import pytest
from dlt.sources.helpers.rest_client.paginators import JSONLinkPaginator, JSONResponseCursorPaginator

from analytics_assets.api.catalog import Column, Resource
from analytics_assets.api.dialects.base import ByOffset, Endpoint, Parent
from analytics_assets_tests.servers.fake_api import Answer
from analytics_assets_tests.servers.vendor import Asked, serve_vendor
from analytics_assets_tests.support.specification import as_epoch_seconds
from analytics_assets_tests.support.vendors import Connect, things

ROWS = things(1, 3)

EDGES = {"edges": [{"node": row} for row in ROWS]}

FOUND = [
    (None, ROWS),
    ("$", ROWS),
    ("$[*]", ROWS),
    ("[*]", ROWS),
    ("data", {"data": ROWS}),
    ("$.data", {"data": ROWS}),
    ("data[*]", {"data": ROWS}),
    ("data.items", {"data": {"items": ROWS, "other": [1]}}),
    ("a-b", {"a-b": ROWS}),
    ("'a.b'.c", {"a.b": {"c": ROWS}}),
    ("edges[*].node", EDGES),
    ("data.things.edges[*].node", {"data": {"things": EDGES}}),
    ("pages[1].rows", {"pages": [{"rows": []}, {"rows": ROWS}]}),
    ("groups[*].rows[*]", {"groups": [{"rows": ROWS[:1]}, {"rows": []}, {"rows": ROWS[1:]}]}),
]


@pytest.mark.parametrize(("selector", "body"), FOUND)
def test_rows_are_found_by_a_json_path(connect: Connect, selector: str | None, body: object) -> None:
    with serve_vendor(lambda _: Answer(body=body)) as vendor:
        assert [(row["id"], row["name"]) for row in connect(vendor.url, Endpoint("/things", selector)).rows()] == [
            (row["id"], row["name"]) for row in ROWS
        ]


@pytest.mark.parametrize(
    ("selector", "body"),
    [("data[*]", {"data": []}), ("edges[*].node", {"edges": []}), ("data.items", {"data": {"items": []}})],
)
def test_an_empty_list_is_no_row(connect: Connect, selector: str, body: object) -> None:
    with serve_vendor(lambda _: Answer(body=body)) as vendor:
        assert connect(vendor.url, Endpoint("/things", selector)).rows() == []


@pytest.mark.parametrize(
    ("selector", "body", "said"),
    [
        (
            "data.items",
            {"data": {"rows": ROWS}},
            "leads nowhere from its step 2, 'items', on: found an object with the keys ['rows'] there",
        ),
        ("data.items", {"data": {"items": {"a": 1}}}, "what is at 'data.items' is no list"),
        ("data.items", {"data": None}, "leads nowhere from its step 2, 'items', on: found null there"),
        ("data.items", {}, "leads nowhere from its step 1, 'data', on"),
        ("data.items", ROWS, "leads nowhere from its step 1, 'data', on: found a list there"),
        ("edges[*].node", {"edges": None}, "leads nowhere from its step 2, [*], on"),
        (
            "edges[*].node",
            {"edges": [*EDGES["edges"], {"cursor": 1}]},
            "step 3, 'node', on: found an object with the keys ['cursor'] there",
        ),
        ("edges[*].node", {"edges": [*EDGES["edges"], {"node": None}]}, "row 4 of 4 is not an object but null"),
        ("pages[1]", {"pages": [ROWS]}, "leads nowhere from its step 2, 1, on"),
        ("$[*]", {"data": ROWS}, "leads nowhere from its step 1, [*], on"),
    ],
)
def test_a_path_that_leads_nowhere_is_an_error(connect: Connect, selector: str, body: object, said: str) -> None:
    with serve_vendor(lambda _: Answer(body=body)) as vendor:
        assert said in connect(vendor.url, Endpoint("/things", selector)).refusal()


def test_a_404_names_the_path_of_the_endpoint(connect: Connect) -> None:
    with serve_vendor(lambda _: Answer(status=404, body={})) as vendor:
        said = connect(vendor.url, Endpoint("/things", "data")).refusal()
    assert "There is no such path, or no such page: check " in said
    assert "base_url, its dialect, and the path of the endpoint." in said


def test_a_deep_value_of_a_wrapped_row_is_rescued_and_the_others_are_kept(connect: Connect) -> None:
    deep = "[" * 5_000 + "]" * 5_000
    body = f'{{"data": {{"edges": [{{"node": {{"id": 1, "name": "a", "deep": {deep}}}}}, {{"node": {{"id": 2}}}}]}}}}'
    with serve_vendor(lambda _: Answer(body=body.encode())) as vendor:
        rows = connect(vendor.url, Endpoint("/things", "data.edges[*].node")).rows()
    assert [(row["id"], row["name"]) for row in rows] == [(1, "a"), (2, None)]


EVENTS = Resource(
    "events",
    "One row per event.",
    (Column("id", "bigint", "Identifier", nullable=False), Column("at", "timestamp", "When")),
    cursor="at",
)


def test_a_search_has_its_filter_in_the_body(connect: Connect) -> None:
    def search(asked: Asked) -> Answer:
        return Answer(body={"results": [{"id": 1, "at": "2024-05-01T00:00:00Z"}], "next": None})

    body = {"filters": [{"field": "at", "value": None}], "page": {"size": 10}}
    endpoint = Endpoint(
        "/events/search",
        "results",
        JSONResponseCursorPaginator("next", cursor_body_path="page.cursor"),
        since_param="filters.0.value",
        method="POST",
        params={"expand": "all"},
        body=body,
    )
    with serve_vendor(search) as vendor:
        connected = connect(vendor.url, {"events": endpoint}, EVENTS, format_datetime=as_epoch_seconds)
        connected.rows("events")
        [asked] = vendor.requests
        assert (asked.method, dict(asked.query)) == ("POST", {"expand": "all"})
        assert asked.body == {"filters": [{"field": "at", "value": "1704067199"}], "page": {"size": 10}}
        assert asked.headers["Content-Type"] == "application/json"
    # The endpoint is as it was.
    assert body["filters"] == [{"field": "at", "value": None}]


def test_static_parameters_go_along_with_our_own_paging(connect: Connect) -> None:
    def by_offset(asked: Asked) -> Answer:
        skip = int(asked.query["skip"])
        return Answer(body=things(1, 45)[skip : skip + 20])

    endpoint = Endpoint("/things", pagination=ByOffset("skip", "top"), params={"expand": "a b", "skip": 7})
    with serve_vendor(by_offset) as vendor:
        assert connect(vendor.url, endpoint).ids() == list(range(1, 46))
        assert all(asked.repeated["expand"] == ["a b"] for asked in vendor.requests)
        # The position wins over a parameter of the same name.
        assert vendor.requests[0].repeated["skip"] == ["0"]


NOTHING: Any = None

MISTAKES: list[tuple[dict[str, Any], str]] = [
    ({"path": "things"}, "has to begin with a slash"),
    ({"path": "/things?all=1"}, "parameters belong in params"),
    ({"method": "PUT"}, "has to be GET or POST"),
    ({"body": {}}, 'body needs method="POST"'),
    ({"method": "POST", "body": {"a": [{}]}, "since_param": "a.1.b"}, "filter 'a.1.b' leads nowhere in the body"),
    ({"method": "POST", "body": {"a": "b"}, "until_param": "a.b"}, "filter 'a.b' leads nowhere in the body"),
    ({"headers": {"authorization": "x"}}, "credentials belong in the dialect's auth"),
    ({"pagination": JSONLinkPaginator}, "call it, as in JSONLinkPaginator(...)"),
    (
        {"pagination": "offset"},
        "pagination is a text, and has to be a ByOffset, a ById, a BasePaginator of dlt, or None",
    ),
    ({"pagination": ByOffset(NOTHING, "n")}, "pagination.param is None, and has to be a text"),
    ({"path": None}, "path is None, and has to be a text"),
    ({"path": "/sites/{site-id}"}, "a placeholder is one word, such as {siteId}"),
    ({"selector": ["data"]}, "selector is a list, and has to be a text or None"),
    ({"params": "a=b"}, "params is a text, and has to be a mapping"),
    ({"params": {"a": None}}, "params: the value of 'a' is None, and has to be a text, a whole number"),
    ({"parent": "sites"}, "parent is a text, and has to be a Parent or None"),
    ({"parent": Parent("sites", NOTHING)}, "parent.fields is None, and has to be a mapping"),
    ({"headers": [("A", "b")]}, "headers is a list, and has to be a mapping"),
    *(
        ({"headers": {name: "5"}}, "which the client makes of the request itself")
        for name in ("Content-Length", "host")
    ),
    ({"method": "POST", "body": "{}"}, "body is a text, and has to be a mapping or None"),
    ({"method": "POST", "body": {"a": {1}}}, "body is no JSON: Object of type set"),
    ({"method": "POST", "since_param": "a.b"}, "'a.b' is a path in the body, and there is none: add body={}"),
    (
        {"method": "POST", "body": {"filter": {"a": 1}}, "since_param": "filter"},
        "filter 'filter' would replace all that is there in the body",
    ),
    ({"pagination": JSONResponseCursorPaginator(cursor_body_path="a")}, 'needs method="POST"'),
    ({"selector": "$..data"}, "supported are keys, [*], one index"),
    ({"selector": "data[1:2]"}, "supported are keys, [*], one index"),
    ({"selector": "a,b"}, "supported are keys, [*], one index"),
    ({"selector": "data[?(@.a>1)]"}, "supported are keys, [*], one index"),
    ({"selector": "data[-1]"}, "supported are keys, [*], one index"),
    ({"selector": "data["}, "is no JSON path"),
]


@pytest.mark.parametrize(("fields", "said"), MISTAKES)
def test_a_mistake_of_an_endpoint_is_found(fields: dict[str, Any], said: str) -> None:
    [mistake] = Endpoint(**{"path": "/things", **fields}).mistakes()
    assert said in mistake
