"""NinjaOne's API, which a test fills with rows, breaks, and asks what it was asked."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

from analytics_assets.demo.exchange import Request, Row
from analytics_assets.demo.ninjaone import TOKEN_PATH, NinjaOne
from analytics_assets_tests.servers.fake_api import PAGED, PATHS, TOKEN, Answer, FakeApi, serve_kind
from analytics_assets_tests.support.eight import BY_NAME, DIALECTS, EIGHT

CLIENT_ID = "client-4b1d-canary"
CLIENT_SECRET = "secret-9c2e-canary"


class FakeNinjaOne(FakeApi):
    """Serves rows with times in epoch seconds, organizations and locations by id, activities by descending id.

    Tokens are issued to one client; `expire` ends the life of those issued so far. A pasted one is `TOKEN`.
    """

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.token_faults: list[Answer] = []
        self.ninjaone = NinjaOne(
            EIGHT, DIALECTS["ninjaone"], CLIENT_ID, CLIENT_SECRET, self.listing, new_token=self._new_token
        )
        self.wire_format = self.ninjaone
        self.accept(TOKEN)
        self._lock = threading.Lock()

    def listing(self, path: str, now: datetime) -> list[Row] | None:
        rows = super().listing(path, now)
        return sorted(rows, key=lambda row: row["id"]) if rows and self.resources[path] in PAGED else rows

    def accept(self, token: str) -> None:
        """Takes a token for one that lasts another hour."""
        self.ninjaone.expiry[token] = datetime.now(UTC) + timedelta(hours=1)

    def expire(self) -> None:
        self.ninjaone.expiry = dict.fromkeys(self.ninjaone.expiry, datetime.min.replace(tzinfo=UTC))

    @property
    def issued(self) -> list[str]:
        return [token for token in self.ninjaone.expiry if token != TOKEN]

    def _new_token(self) -> str:
        return f"issued-{len(self.issued)}-canary"

    def token_requests(self) -> list[Request]:
        return [request for request in self.requests if request.path == TOKEN_PATH]

    def answer(self, request: Request) -> Answer:
        if request.path != TOKEN_PATH:
            return super().answer(request)
        with self._lock:
            if not self.token_faults:
                return super().answer(request)
            self.requests.append(request)
            return self.token_faults.pop(0)


@contextmanager
def serve_ninjaone() -> Iterator[FakeNinjaOne]:
    with serve_kind(FakeNinjaOne) as api:
        yield api


def as_sent(resource: str, row: Row) -> Row:
    """A row of the specification's format as this API has it: points in time are epoch seconds."""
    instants = {column.name for column in BY_NAME[resource].columns if column.type == "timestamp"}
    return {name: epoch(value) if name in instants and value else value for name, value in row.items()}


def epoch(iso: str) -> float:
    """Epoch seconds of an ISO 8601 instant."""
    return datetime.fromisoformat(iso).astimezone(UTC).timestamp()


def fill_from(api: FakeNinjaOne, rows: dict[str, list[Row]]) -> None:
    """Gives it the rows of another fake, as this API has them."""
    for resource in PATHS:
        api.rows[resource] = [as_sent(resource, row) for row in rows[resource]]
