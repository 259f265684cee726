"""The specification's wire format.

Three listings have pages by offset: `after` is the number of rows to skip, `limit` the number of rows to return (20 by
default, at most 1000). The body holds the rows under `data`, those of activities under `activities`. Points in time are
ISO 8601. The credential is a bearer token.
"""

from collections.abc import Mapping
from datetime import datetime
from http import HTTPStatus
from typing import Any

from analytics_assets.api.dialects.analytics import ANALYTICS
from analytics_assets.demo.data import ACTIVITIES
from analytics_assets.demo.exchange import Reply, Request, Row, Rows, whole_number

PAGED = {endpoint.path for endpoint in ANALYTICS.endpoints.values() if endpoint.pagination}
PAGE_SIZE = 20
LARGEST_PAGE = 1000


class Analytics:
    """Responds as the specification says, to requests with the bearer token."""

    def __init__(self, token: str, rows: Rows) -> None:
        self._token = token
        self._rows = rows

    def answer(self, request: Request, now: datetime) -> Reply:
        """The response to a request at the time `now`; an error status if the request is wrong."""
        if request.method != "GET":
            return Reply(HTTPStatus.METHOD_NOT_ALLOWED, {"error": "the API is read with GET"})
        if request.authorization != f"Bearer {self._token}":
            return Reply(HTTPStatus.UNAUTHORIZED, {"error": f"the API wants the bearer token {self._token!r}"})
        rows = self._rows(request.path, now)
        if rows is None:
            return Reply(HTTPStatus.NOT_FOUND, {"error": f"no endpoint {request.path}"})
        try:
            page = rows[requested_rows(request.path, request.query)]
        except ValueError as error:
            return Reply(HTTPStatus.BAD_REQUEST, {"error": str(error)})
        return Reply(HTTPStatus.OK, {selector(request.path): list(map(_spell, page))})


def requested_rows(path: str, query: Mapping[str, str]) -> slice:
    """Which rows of a listing a request gets.

    Raises:
        ValueError: A parameter is no whole number, or too small.
    """
    if path not in PAGED:
        return slice(None)
    after = whole_number(query, "after", 0, default=0)
    limit = whole_number(query, "limit", 1, default=PAGE_SIZE)
    return slice(after, after + min(limit, LARGEST_PAGE))


def selector(path: str) -> str:
    """The key under which the rows of a listing stand."""
    return "activities" if path == ACTIVITIES else "data"


def _spell(row: Row) -> dict[str, Any]:
    return {name: _iso(value) if isinstance(value, datetime) else value for name, value in row.items()}


def _iso(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")
