"""The demo API in the wire format of NinjaOne's public API, version 2, from which the specification was derived.

- Organizations and locations are a bare array and ascend by id. A page holds the first `pageSize` rows with an id above
  `after`; without `pageSize` it holds all of them.
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

import secrets
import sys
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Any

from analytics_assets.demo.data import ACTIVITIES, ACTIVITY_LATE, Row, read_listing
from analytics_assets.demo.exchange import Reply, Request, whole_number

TOKEN_PATH = "/ws/oauth/token"  # noqa: S105 - a path
TOKEN_LASTS = timedelta(hours=1)
SCOPE = "monitoring"
EXPIRED = 10
"""The `error_code` of a response to a token that has expired or was never issued."""

PAGED = ("/v2/organizations", "/v2/locations")
ACTIVITY_PAGE = 200
SMALLEST_ACTIVITY_PAGE = 10
LARGEST_ACTIVITY_PAGE = 1000

EARLIEST = datetime.min.replace(tzinfo=UTC)
LATEST = datetime.max.replace(tzinfo=UTC)


class NinjaOne:
    """Responds as NinjaOne does. Issues tokens to the client with the given id and secret, and demands one of them."""

    def __init__(self, client_id: str, client_secret: str) -> None:
        self._client_id = client_id
        self._client_secret = client_secret
        self._expiry: dict[str, datetime] = {}

    def answer(self, request: Request, now: datetime) -> Reply:
        """The reply to a request at the time `now`: a token, a page, or an error status."""
        if request.path == TOKEN_PATH:
            return self._issue(request, now)
        if request.method != "GET":
            return _error(HTTPStatus.METHOD_NOT_ALLOWED, "the API is read with GET")
        if refusal := self._refuse(request.authorization, now):
            return refusal
        rows = read_listing(request.path, now)
        if rows is None:
            return _error(HTTPStatus.NOT_FOUND, f"no endpoint {request.path}")
        try:
            return Reply(HTTPStatus.OK, _body(request, rows))
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
        if request.form.get("scope") != SCOPE:
            return _error(HTTPStatus.BAD_REQUEST, "invalid_scope")
        token = secrets.token_urlsafe()
        self._expiry[token] = now + TOKEN_LASTS
        lasts = int(TOKEN_LASTS.total_seconds())
        return Reply(
            HTTPStatus.OK, {"access_token": token, "expires_in": lasts, "token_type": "Bearer", "scope": SCOPE}
        )

    def _refuse(self, authorization: str | None, now: datetime) -> Reply | None:
        scheme, _, token = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            return _error(HTTPStatus.BAD_REQUEST, "the Authorization header is missing or garbled")
        if token not in self._expiry or self._expiry[token] <= now:
            return _error(HTTPStatus.UNAUTHORIZED, "the token has expired", error_code=EXPIRED)
        return None


def _error(status: HTTPStatus, what: str, **more: int) -> Reply:
    return Reply(status, {"error": what, **more})


def _body(request: Request, rows: Sequence[Row]) -> Any:  # noqa: ANN401 - whatever JSON holds
    if request.path == ACTIVITIES:
        page = _activities(request.query, rows)
        last = {"lastActivityId": rows[-1]["id"]} if rows else {}
        return {**last, "activities": list(map(_spell, page))}
    if request.path in PAGED:
        rows = _after_id(request.query, rows)
    return list(map(_spell, rows))


def _after_id(query: Mapping[str, str], rows: Sequence[Row]) -> Sequence[Row]:
    after = whole_number(query, "after", 0, default=0)
    size = whole_number(query, "pageSize", 1, default=len(rows))
    start = bisect_right(rows, after, key=lambda row: row["id"])
    return rows[start : start + size]


def _activities(query: Mapping[str, str], log: Sequence[Row]) -> list[Row]:
    if {"olderThan", "newerThan"} <= query.keys():
        raise ValueError("olderThan and newerThan exclude each other")
    older_than = whole_number(query, "olderThan", 0, default=sys.maxsize)
    newer_than = whole_number(query, "newerThan", 0, default=0)
    size = whole_number(query, "pageSize", SMALLEST_ACTIVITY_PAGE, default=ACTIVITY_PAGE)
    if size > LARGEST_ACTIVITY_PAGE:
        raise ValueError(f"pageSize = {size} is above {LARGEST_ACTIVITY_PAGE}")
    after = _date(query["after"]) if "after" in query else EARLIEST
    before = _date(query["before"]) if "before" in query else LATEST
    page: list[Row] = []
    index = bisect_left(log, older_than, key=lambda row: row["id"])
    while index > 0 and len(page) < size:
        index -= 1
        row = log[index]
        # An activity is reported late, but not later than that: all that follow are too old.
        if row["id"] <= newer_than or row["activityTime"] + ACTIVITY_LATE <= after:
            break
        if after < row["activityTime"] < before:
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


def _spell(row: Row) -> dict[str, Any]:
    return {
        # A double has digits to spare: it is nearer to this microsecond than to the next one until the year 2242.
        name: value.timestamp() if isinstance(value, datetime) else value
        for name, value in row.items()
        if value is not None
    }
