"""An API of as many activities as a test wants, each made from its id when it is asked for; it keeps none of them.

It speaks the dialect `ninjaone`: activities by descending id, bounded by the dates `after` and `before`. All its other
listings are empty.
"""

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import ThreadingHTTPServer
from math import ceil, floor
from typing import Any

from analytics_assets.api.connector import SHIPPED
from analytics_assets.demo.exchange import Request
from analytics_assets.demo.server import Handler
from analytics_assets_tests.servers.fake_api import TOKEN
from analytics_assets_tests.servers.running import running

ACTIVITIES = SHIPPED.dialects_by_name["ninjaone"].endpoints["activities"]

SECOND = 1_000_000
"""Microseconds."""

START = datetime(2026, 1, 1, tzinfo=UTC)
"""When the first activity happens."""

ROW = (
    b'{"id": %(id)d, "activityTime": %(time)d.%(fraction)06d, "deviceId": %(device)d, "activityType": "SOFTWARE",'
    b' "statusCode": "SOFTWARE_ADDED", "status": "Software added", "severity": "NONE", "priority": "NONE",'
    b' "subject": "Workstation %(device)d", "message": "Activity %(id)d", "type": "Software",'
    b' "data": {"message": {"code": "software_added", "params": {"name": "Package %(device)d"}}}}'
)


class BulkApi(ThreadingHTTPServer):
    """Serves `count` activities, one every `every` microseconds from `START` on, with ids from 1 on.

    Args:
        address: Address that it listens on.
        count: How many activities there are.
        every: Microseconds from one to the next.
        latency: Seconds before each answer.
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address: str, count: int, every: int = SECOND, latency: float = 0) -> None:
        super().__init__((address, 0), _Handler)
        self.count, self.every, self.latency = count, every, latency
        self.requests: list[Request] = []
        """Those for activities."""
        self.sent = 0
        """Bytes of the answers to them."""
        self.before_answer: Callable[[Request], object] = lambda _: None
        """Called with each of them. Tests break the API here."""

    @property
    def url(self) -> str:
        return "http://{}:{}".format(*self.server_address)

    @property
    def end(self) -> datetime:
        """When the activity after the last would happen."""
        return START + timedelta(microseconds=self.count * self.every)

    def page(self, query: Any) -> bytes:
        """The body that answers a query."""
        # Both dates are exclusive.
        first = max(1, floor(self._number(query["after"])) + 1) if "after" in query else 1
        last = min(self.count, ceil(self._number(query["before"])) - 1) if "before" in query else self.count
        last = min(last, int(query.get("olderThan", last + 1)) - 1)
        ids = range(last, max(first - 1, last - int(query["pageSize"])), -1)
        return b'{"lastActivityId": %d, "activities": [%s]}' % (self.count, self.rows(ids))

    def rows(self, ids: Iterable[int], later: int = 0) -> bytes:
        """The activities with these ids, with commas between them, so many microseconds later than usual."""
        start = int(START.timestamp()) * SECOND + later
        return b",".join(
            ROW % {b"id": n, b"time": at // SECOND, b"fraction": at % SECOND, b"device": n % 9973}
            for n, at in ((n, start + (n - 1) * self.every) for n in ids)
        )

    def _number(self, epoch: str) -> float:
        """The id, with a fraction, of the activity at a point in time."""
        return (float(epoch) - START.timestamp()) * SECOND / self.every + 1

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients may hang up: one that is killed does."""


class _Handler(Handler):
    server: BulkApi

    def respond(self, request: Request) -> None:
        if request.authorization != f"Bearer {TOKEN}":
            self.send(401, b"{}")
            return
        if request.path != ACTIVITIES.path:
            self.send(200, b"[]")
            return
        self.server.requests.append(request)
        self.server.before_answer(request)
        if self.server.latency:
            threading.Event().wait(self.server.latency)
        body = self.server.page(request.query)
        self.server.sent += len(body)
        self.send(200, body)


@contextmanager
def serve_bulk(address: str, count: int, every: int = SECOND, latency: float = 0) -> Iterator[BulkApi]:
    """Runs such an API on a free port."""
    with running(server := BulkApi(address, count, every, latency)):
        yield server


def find_wrong(table: str, every: int = SECOND) -> str:
    """SQL of Postgres for rows, distinct ids, and rows of a table of activities that are not those of the API."""
    time = f"timestamptz '{START.isoformat()}' + (id - 1) * interval '{every} microseconds'"
    return (
        f"SELECT count(*), count(DISTINCT id), count(*) FILTER (WHERE message <> 'Activity ' || id OR"
        f" activity_time <> {time} OR device_id <> id % 9973 OR _rescued_data IS NOT NULL OR"
        f" data -> 'message' -> 'params' ->> 'name' <> 'Package ' || id % 9973) FROM {table}"
    )
