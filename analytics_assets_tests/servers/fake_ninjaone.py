"""A server of the public API's wire format, with its quirks: what `after` means depends on the path."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from analytics_assets.api.catalog import BY_NAME
from analytics_assets_tests.servers.fake_api import PATHS, TOKEN, Answer, FakeApi, Request, Row, serve_kind

TOKEN_PATH = "/ws/oauth/token"
CLIENT_ID = "client-4b1d-canary"
CLIENT_SECRET = "secret-9c2e-canary"
MOST = 1000


class FakeNinjaOne(FakeApi):
    """Serves rows with times in epoch seconds, organizations and locations by id, activities by descending id.

    Tokens are issued to one client; `expire` ends the life of those issued so far. A pasted one is `TOKEN`.
    """

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.scopes = {"monitoring"}
        self.lifetime: int | None = 3600
        self.token_faults: list[Answer] = []
        self.issued: list[str] = []
        self.expired: set[str] = set()
        self._lock = threading.Lock()

    def expire(self) -> None:
        self.expired.update([TOKEN, *self.issued])

    def token_requests(self) -> list[Request]:
        return [request for request in self.requests if request.path == TOKEN_PATH]

    def answer(self, request: Request) -> Answer:
        if request.path == TOKEN_PATH:
            self.requests.append(request)
            with self._lock:
                return self.token_faults.pop(0) if self.token_faults else self._issue(request.form)
        return super().answer(request)

    def _issue(self, form: dict[str, str]) -> Answer:
        if form.get("grant_type") != "client_credentials":
            return Answer(400, {"error": "unsupported_grant_type"})
        if form.get("client_id") != CLIENT_ID:
            return Answer(404, {"resultCode": "FAILURE", "errorMessage": f"no client {form.get('client_id')}"})
        if form.get("client_secret") != CLIENT_SECRET:
            return Answer(401, {"error": "invalid_client"})
        if form.get("scope") not in self.scopes:
            return Answer(400, {"error": "invalid_scope"})
        token = f"issued-{len(self.issued)}-canary"
        self.issued.append(token)
        lifetime = {} if self.lifetime is None else {"expires_in": self.lifetime}
        return Answer(body={"access_token": token, "token_type": "Bearer", "scope": form["scope"], **lifetime})

    def refusal(self, request: Request) -> Answer | None:
        kind, _, token = request.headers.get("Authorization", "").partition(" ")
        if kind != "Bearer" or not token:
            return Answer(400, {"error": "bad_request"})
        if token in self.expired:
            return Answer(401, {"error": "Unauthorized", "error_code": 10})
        if token not in {TOKEN, *self.issued}:
            return Answer(401, {"error": "Unauthorized", "error_code": 1})
        return None

    def listing(self, resource: str, request: Request) -> Answer:
        rows, query = self.rows[resource], request.query
        if resource == "activities":
            return self._activities(rows, query)
        if resource in {"organizations", "locations"}:
            after = int(query.get("after", 0))
            found = sorted((row for row in rows if row["id"] > after), key=lambda row: row["id"])
            return Answer(body=found[: int(query.get("pageSize", MOST))])
        return Answer(body=rows)

    def _activities(self, rows: list[Row], query: dict[str, str]) -> Answer:
        size = int(query.get("pageSize", 200))
        if not 10 <= size <= MOST or {"olderThan", "newerThan"} <= query.keys():
            return Answer(400, {"error": f"wrong parameters: {query}"})
        below = int(query.get("olderThan", 2**62))
        # Neither bound is included: whether the API does so is not documented, and a client must not rely on it.
        after, before = float(query.get("after", -1)), float(query.get("before", 2**40))
        found = [row for row in rows if row["id"] < below and after < row.get("activityTime", 2**39) < before]
        page = sorted(found, key=self.order, reverse=True)[:size]
        # The newest of the account: paging on it gives nothing.
        newest = 96 + max((row["id"] for row in rows), default=0)
        return Answer(body={"lastActivityId": newest, "activities": page})

    @staticmethod
    def order(row: Row) -> Any:
        """What activities descend by."""
        return row["id"]


@contextmanager
def serve_ninjaone() -> Iterator[FakeNinjaOne]:
    with serve_kind(FakeNinjaOne) as api:
        yield api


def as_sent(resource: str, row: Row) -> Row:
    """A row of the specification's format as this API sends it: epoch seconds, and no key for a null."""
    instants = {column.name for column in BY_NAME[resource].columns if column.type == "timestamp"}
    return {name: epoch(value) if name in instants else value for name, value in row.items() if value is not None}


def epoch(iso: str) -> float:
    """Epoch seconds of an ISO 8601 instant."""
    return datetime.fromisoformat(iso).astimezone(UTC).timestamp()


def fill_from(api: FakeNinjaOne, rows: dict[str, list[Row]]) -> None:
    """Gives it the rows of another fake, as this API sends them."""
    for resource in PATHS:
        api.rows[resource] = [as_sent(resource, row) for row in rows[resource]]
