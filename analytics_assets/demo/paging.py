"""Which rows of a listing a request gets, and where the body holds them, as an endpoint declares it."""

import sys
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from operator import itemgetter
from typing import Any

from analytics_assets.api.connector import Connector
from analytics_assets.api.dialects.base import ById, ByOffset, Dialect
from analytics_assets.demo.exchange import Row, whole_number

PAGE_SIZE = 20
"""Rows of a page, unless the request names another number."""

LARGEST_PAGE = 1000
"""Most rows of a page by offset."""


def keys_of(connector: Connector, dialect: Dialect) -> dict[str, str]:
    """The field by which the rows of each listing are told apart, by path. Only a single one can be paged by."""
    return {
        endpoint.path: connector.by_name[name].key_label
        for name, endpoint in dialect.endpoints.items()
        if name in connector.by_name
    }


def page_of(
    pagination: object, query: Mapping[str, str], rows: Sequence[Row], *, key: str, size: int = PAGE_SIZE
) -> Sequence[Row]:
    """The page that a request gets. It is the whole listing if the pagination is none, or one that is unknown here.

    Args:
        pagination: What the endpoint declares.
        query: The parameters of the request.
        rows: The listing; its ids ascend if it is paged by id.
        key: Field that pages by id go by.
        size: Rows of a page, unless the request says otherwise.

    Raises:
        ValueError: A parameter is no whole number, or too small.
    """
    if isinstance(pagination, ByOffset):
        return rows[requested_rows(pagination, query, size)]
    if not isinstance(pagination, ById):
        return rows
    size = whole_number(query, pagination.size_param, 1, default=size)
    last = whole_number(query, pagination.param, 0, default=sys.maxsize if pagination.descending else 0)
    if pagination.descending:
        end = bisect_left(rows, last, key=itemgetter(key))
        return rows[max(0, end - size) : end][::-1]
    start = bisect_right(rows, last, key=itemgetter(key))
    return rows[start : start + size]


def requested_rows(pagination: object, query: Mapping[str, str], size: int = PAGE_SIZE) -> slice:
    """Which rows of a listing by offset a request gets: all, if its pagination is another one.

    Raises:
        ValueError: A parameter is no whole number, or too small.
    """
    if not isinstance(pagination, ByOffset):
        return slice(None)
    after = whole_number(query, pagination.param, 0, default=0)
    limit = whole_number(query, pagination.size_param, 1, default=size)
    return slice(after, after + min(limit, LARGEST_PAGE))


def hold(selector: str | None, rows: Any) -> Any:  # noqa: ANN401 - whatever JSON holds
    """A body that holds rows, or whatever stands for them, where a selector of keys (`data.items`) finds them."""
    keys = [] if selector in {None, "$"} else str(selector).split(".")
    for key in reversed(keys):
        rows = {key: rows}
    return rows
