"""The wire format of any dialect without rules of its own, such as the specification's: what its endpoints declare.

Pages by offset or by id have 20 rows by default; a listing with any other pagination comes in one response. Points in
time are ISO 8601. The credential is a bearer token; a dialect with an auth class of dlt needs none. Filters by time are
ignored. What is not spoken (POST, listings of a parent, selectors with brackets) is answered by 404, with the reason.
"""

from datetime import datetime
from http import HTTPStatus
from typing import Any

from analytics_assets.api.connector import Connector
from analytics_assets.api.dialects.base import Dialect, Endpoint
from analytics_assets.demo.exchange import Reply, Request, Row, Rows
from analytics_assets.demo.paging import hold, keys_of, page_of


class Declared:
    """Responds as the endpoints of a dialect declare it, to requests with the bearer token."""

    def __init__(self, connector: Connector, dialect: Dialect, token: str, rows: Rows) -> None:
        self._endpoints = {endpoint.path: endpoint for endpoint in dialect.endpoints.values()}
        self._keys = keys_of(connector, dialect)
        self._demanded = None if dialect.auth else f"Bearer {token}"
        self._rows = rows

    def answer(self, request: Request, now: datetime) -> Reply:
        """The response to a request at the time `now`; an error status if the request is wrong."""
        endpoint = self._endpoints.get(request.path)
        if endpoint and (reason := _unspoken(endpoint)):
            return Reply(HTTPStatus.NOT_FOUND, {"error": f"the demo API does not speak {reason}"})
        if request.method != "GET":
            return Reply(HTTPStatus.METHOD_NOT_ALLOWED, {"error": "the API is read with GET"})
        if self._demanded and request.authorization != self._demanded:
            return Reply(HTTPStatus.UNAUTHORIZED, {"error": f"the API wants the credentials {self._demanded!r}"})
        rows = self._rows(request.path, now) if endpoint else None
        if endpoint is None or rows is None:
            return Reply(HTTPStatus.NOT_FOUND, {"error": f"no endpoint {request.path}"})
        try:
            page = page_of(endpoint.pagination, request.query, rows, key=self._keys[request.path])
        except ValueError as error:
            return Reply(HTTPStatus.BAD_REQUEST, {"error": str(error)})
        return Reply(HTTPStatus.OK, hold(endpoint.selector, list(map(_spell, page))))


def _unspoken(endpoint: Endpoint) -> str | None:
    """What of an endpoint the demo has no answer to; `None` if there is no such thing."""
    if endpoint.method != "GET":
        return f"{endpoint.method} requests"
    return f"the selector {endpoint.selector}" if "[" in (endpoint.selector or "") else None


def _spell(row: Row) -> dict[str, Any]:
    return {name: _iso(value) if isinstance(value, datetime) else value for name, value in row.items()}


def _iso(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")
