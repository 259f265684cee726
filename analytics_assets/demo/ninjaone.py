"""The wire format of NinjaOne's public API, version 2, from which the specification was derived.

- Organizations and locations, and whatever the dialect pages by the last id, are a bare array and ascend by id. A page
  holds the first `pageSize` rows with an id above `after`; without `pageSize` it holds all of them.
- Activities are under `activities`, the newest id first. A page holds `pageSize` rows (10 to 1000, by default 200) with
  an id below `olderThan` or above `newerThan`, and a time between the dates `after` and `before`. `lastActivityId` is
  the newest id of the account, whatever the request asked for.
- The other listings are a bare array and come whole.
- Points in time are epoch seconds with a fraction. Fields that are null are left out.
- The credential is a token of OAuth 2 (client credentials, scope `monitoring`) that lasts an hour.

Where NinjaOne's documentation is silent, this server is as strict as the wording allows, so that a client that works
here assumes little: the dates `after` and `before` are exclusive, and a page size out of bounds is refused. Unknown
parameters, and filters that are not named above, are ignored.
"""

import math
import secrets
import sys
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Any

from analytics_assets.api.connector import Connector
from analytics_assets.api.dialects.base import Dialect
from analytics_assets.demo.data import ACTIVITIES
from analytics_assets.demo.exchange import Reply, Request, Row, Rows, whole_number
from analytics_assets.demo.paging import hold, keys_of, page_of

TOKEN_PATH = "/ws/oauth/token"  # noqa: S105 - a path
TOKEN_LASTS = timedelta(hours=1)
SCOPE = "monitoring"
EXPIRED = 10
"""The `error_code` of a response to a token that has expired or was never issued."""

ACTIVITY_PAGE = 200
SMALLEST_ACTIVITY_PAGE = 10
LARGEST_ACTIVITY_PAGE = 1000


class NinjaOne:
    """Responds as NinjaOne does. Issues tokens to one client, and demands one of them.

    Args:
        connector: Names the resources and their keys.
        dialect: Names the endpoints, and how each is paged.
        client_id: Identifier of the only client.
        client_secret: Its secret.
        rows: The rows of each listing. Points in time are date-times, or epoch seconds already.
        latest: How long after it has happened an activity is listed at the latest; unknown by default, and then all
            activities are looked at in search of those after a date.
        new_token: Makes a token.
    """

    def __init__(  # noqa: PLR0913 - what an account has
        self,
        connector: Connector,
        dialect: Dialect,
        client_id: str,
        client_secret: str,
        rows: Rows,
        *,
        latest: timedelta | None = None,
        new_token: Callable[[], str] = secrets.token_urlsafe,
    ) -> None:
        self._endpoints = {endpoint.path: endpoint for endpoint in dialect.endpoints.values()}
        self._keys = keys_of(connector, dialect)
        self._client_id = client_id
        self._client_secret = client_secret
        self._rows = rows
        self._latest = latest
        self._new_token = new_token
        self.scope = SCOPE
        self.expiry: dict[str, datetime] = {}
        """Until when each token lasts."""

    def answer(self, request: Request, now: datetime) -> Reply:
        """The reply to a request at the time `now`: a token, a page, or an error status."""
        if request.path == TOKEN_PATH:
            return self._issue(request, now)
        if request.method != "GET":
            return _error(HTTPStatus.METHOD_NOT_ALLOWED, "the API is read with GET")
        if refusal := self._refuse(request.authorization, now):
            return refusal
        rows = self._rows(request.path, now) if request.path in self._endpoints else None
        if rows is None:
            return _error(HTTPStatus.NOT_FOUND, f"no endpoint {request.path}")
        try:
            return Reply(HTTPStatus.OK, self._body(request, rows))
        except ValueError as error:
            return _error(HTTPStatus.BAD_REQUEST, str(error))

    def _issue(self, request: Request, now: datetime) -> Reply:
        """A reply with a new token, or the reason why there is none."""
        if request.method != "POST":
            return _error(HTTPStatus.METHOD_NOT_ALLOWED, "a token is asked for with POST")
        if request.form.get("grant_type") != "client_credentials":
            return _error(HTTPStatus.BAD_REQUEST, "unsupported_grant_type")
        if request.form.get("client_id") != self._client_id:
            return _error(HTTPStatus.NOT_FOUND, "unknown client")
        if request.form.get("client_secret") != self._client_secret:
            return _error(HTTPStatus.UNAUTHORIZED, "invalid_client")
        if request.form.get("scope") != self.scope:
            return _error(HTTPStatus.BAD_REQUEST, "invalid_scope")
        token = self._new_token()
        self.expiry[token] = now + TOKEN_LASTS
        lasts = int(TOKEN_LASTS.total_seconds())
        return Reply(
            HTTPStatus.OK, {"access_token": token, "expires_in": lasts, "token_type": "Bearer", "scope": self.scope}
        )

    def _refuse(self, authorization: str | None, now: datetime) -> Reply | None:
        scheme, _, token = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            return _error(HTTPStatus.BAD_REQUEST, "the Authorization header is missing or garbled")
        if token not in self.expiry or self.expiry[token] <= now:
            return _error(HTTPStatus.UNAUTHORIZED, "the token has expired", error_code=EXPIRED)
        return None

    def _body(self, request: Request, rows: Sequence[Row]) -> Any:  # noqa: ANN401 - whatever JSON holds
        if request.path == ACTIVITIES:
            page = _activities(request.query, rows, self._latest)
            last = {"lastActivityId": rows[-1]["id"]} if rows else {}
            return {**last, "activities": list(map(_spell, page))}
        endpoint = self._endpoints[request.path]
        found = page_of(endpoint.pagination, request.query, rows, key=self._keys[request.path], size=max(1, len(rows)))
        return hold(endpoint.selector, list(map(_spell, found)))


def _error(status: HTTPStatus, what: str, **more: int) -> Reply:
    return Reply(status, {"error": what, **more})


def _activities(query: Mapping[str, str], log: Sequence[Row], latest: timedelta | None) -> list[Row]:
    if {"olderThan", "newerThan"} <= query.keys():
        raise ValueError("olderThan and newerThan exclude each other")
    older_than = whole_number(query, "olderThan", 0, default=sys.maxsize)
    newer_than = whole_number(query, "newerThan", 0, default=0)
    size = whole_number(query, "pageSize", SMALLEST_ACTIVITY_PAGE, default=ACTIVITY_PAGE)
    if size > LARGEST_ACTIVITY_PAGE:
        raise ValueError(f"pageSize = {size} is above {LARGEST_ACTIVITY_PAGE}")
    after = _date(query["after"]).timestamp() if "after" in query else -math.inf
    before = _date(query["before"]).timestamp() if "before" in query else math.inf
    # All that have a smaller id than one which happened so early are too old as well.
    all_older = -math.inf if latest is None else after - latest.total_seconds()
    page: list[Row] = []
    index = bisect_left(log, older_than, key=lambda row: row["id"])
    while index > 0 and len(page) < size:
        index -= 1
        row = log[index]
        moment = _epoch(row.get("activityTime"))
        if row["id"] <= newer_than or (moment is not None and moment <= all_older):
            break
        if moment is None or after < moment < before:
            page.append(row)
    return page


def _date(text: str) -> datetime:
    """The point in time that a text spells as epoch seconds, `yyyyMMdd` or ISO 8601, in UTC unless it has an offset.

    Raises:
        ValueError: The text is none of these.
    """
    try:
        if len(text) == len("yyyyMMdd") and text.isdigit():
            return datetime.strptime(text, "%Y%m%d").replace(tzinfo=UTC)
        if text.replace(".", "", 1).isdigit():
            return datetime.fromtimestamp(float(text), UTC)
        moment = datetime.fromisoformat(text)
    except (ValueError, OverflowError, OSError) as error:
        raise ValueError(f"{text!r} is not a date: epoch seconds, yyyyMMdd or ISO 8601") from error
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _epoch(value: Any) -> Any:  # noqa: ANN401 - whatever JSON holds
    # A double has digits to spare: it is nearer to this microsecond than to the next one until the year 2242.
    return value.timestamp() if isinstance(value, datetime) else value


def _spell(row: Row) -> dict[str, Any]:
    return {name: _epoch(value) for name, value in row.items() if value is not None}
