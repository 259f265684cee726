"""Rows that are edited while their listing is read, and so move to a page that is still to come."""

from typing import Any

import pytest
from dlt.sources.helpers.rest_client.paginators import BasePaginator, JSONResponseCursorPaginator

from analytics_assets.api.catalog import Column, Resource
from analytics_assets.api.dialects.base import ByOffset, Endpoint
from analytics_assets.warehouse.session import open_session
from analytics_assets.warehouse.sync import begin_sync, sync
from analytics_assets_tests.servers.fake_api import Answer
from analytics_assets_tests.servers.vendor import Asked, serve_vendor
from analytics_assets_tests.support.project import Project
from analytics_assets_tests.support.vendors import Connect

PARTS = Resource(
    "parts",
    "One row per part.",
    (
        Column("id", "bigint", "Identifier", nullable=False),
        Column("name", "text", "Name"),
        Column("updated", "timestamp", "When it was edited"),
    ),
    cursor="updated",
    lag_seconds=60,
)


class Parts:
    """Twenty parts in the order of their edits, ten a page. Two are edited once the first page has gone out."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = [
            {"id": n, "name": "old", "updated": f"2024-05-01T01:{n:02}:00Z"} for n in range(1, 21)
        ]
        self.asked = 0

    def __call__(self, asked: Asked) -> Answer:
        since, after = asked.query.get("since", ""), asked.query.get("cursor", "")
        listed = sorted((row for row in self.rows if row["updated"] >= since), key=_place)
        if "skip" in asked.query:
            skip = int(asked.query["skip"])
            body: dict[str, Any] = {"data": [dict(row) for row in listed[skip : skip + 10]]}
        else:
            behind = [dict(row) for row in listed if _place(row) > after]
            body = {"data": behind[:10], "next": _place(behind[9]) if len(behind) > 10 else None}
        self.asked += 1
        if self.asked == 1:
            for number, minute in ((5, 0), (15, 5)):
                self.rows[number - 1] |= {"name": "new", "updated": f"2024-05-01T12:{minute:02}:00Z"}
        return Answer(body=body)


def _place(row: dict[str, Any]) -> str:
    return f"{row['updated']} {row['id']:02}"


@pytest.mark.parametrize(
    "pagination", [JSONResponseCursorPaginator("next", "cursor"), ByOffset("skip", "top")], ids=["token", "offset"]
)
def test_a_version_that_comes_later_in_the_listing_is_loaded(
    connect: Connect, project: Project, monkeypatch: pytest.MonkeyPatch, pagination: BasePaginator | ByOffset
) -> None:
    """The cursor moves past it, so no later sync would bring it."""
    monkeypatch.setenv("SOURCES__VENDOR__PAGE_SIZE", "10")
    with serve_vendor(Parts()) as vendor:
        connected = connect(vendor.url, {"parts": Endpoint("/parts", "data", pagination, since_param="since")}, PARTS)
        with open_session(connected.settings()) as session:
            for _ in range(2):
                with begin_sync(session, [PARTS]) as [pending]:
                    done = sync(pending, session)
    assert done.rows_loaded == 0
    names = dict(project.query("SELECT id, name FROM vendor.parts"))
    assert names == dict.fromkeys(range(1, 21), "old") | {5: "new", 15: "new"}


def test_a_row_that_is_also_on_a_page_of_another_kind_is_not_taken_for_an_edited_one(
    connect: Connect, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second page begins with the last row of the first, which lacks a field, and has one that is not declared."""
    monkeypatch.setenv("SOURCES__VENDOR__PAGE_SIZE", "10")
    parts = Parts()
    parts.asked = 1
    del parts.rows[9]["name"]
    parts.rows[15] |= {"colour": "red"}
    with serve_vendor(parts) as vendor:
        connected = connect(vendor.url, {"parts": Endpoint("/parts", "data", ByOffset("skip", "top"))}, PARTS)
        with open_session(connected.settings()) as session, begin_sync(session, [PARTS]) as [pending]:
            done = sync(pending, session)
    assert (done.stats.rows_read, done.rows_loaded) == (20, 20)
