"""The wire format of any dialect without rules of its own, such as the specification's: what its endpoints declare.

Pages by offset or by id have 20 rows by default; a listing with any other pagination comes in one response. Points in
time are ISO 8601. The credential is a bearer token. Filters by time are ignored.
"""

from datetime import datetime
from http import HTTPStatus
from typing import Any

from analytics_assets.api.dialects.base import Dialect
from analytics_assets.demo.exchange import Reply, Request, Row, Rows
from analytics_assets.demo.paging import hold, page_of


class Declared:
    """Responds as the endpoints of a dialect declare it, to requests with the bearer token."""

    def __init__(self, dialect: Dialect, token: str, rows: Rows) -> None:
        self._endpoints = {endpoint.path: endpoint for endpoint in dialect.endpoints.values()}
        self._token = token
        self._rows = rows

    def answer(self, request: Request, now: datetime) -> Reply:
        """The response to a request at the time `now`; an error status if the request is wrong."""
        if request.method != "GET":
            return Reply(HTTPStatus.METHOD_NOT_ALLOWED, {"error": "the API is read with GET"})
        if request.authorization != f"Bearer {self._token}":
            return Reply(HTTPStatus.UNAUTHORIZED, {"error": f"the API wants the bearer token {self._token!r}"})
        endpoint = self._endpoints.get(request.path)
        rows = self._rows(request.path, now)
        if endpoint is None or rows is None:
            return Reply(HTTPStatus.NOT_FOUND, {"error": f"no endpoint {request.path}"})
        try:
            page = page_of(endpoint.pagination, request.query, rows)
        except ValueError as error:
            return Reply(HTTPStatus.BAD_REQUEST, {"error": str(error)})
        return Reply(HTTPStatus.OK, hold(endpoint.selector, list(map(_spell, page))))


def _spell(row: Row) -> dict[str, Any]:
    return {name: _iso(value) if isinstance(value, datetime) else value for name, value in row.items()}


def _iso(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")
