"""A loopback API that costs next to nothing, so that the client is measured and not the server.

    python -m benchmarks.server --activities 100000 --others 500 --latency 0.02

It prints its URL and serves until it is killed. The demo API's code decides which rows a request gets. The rest differs
to make the server cheap: the encoded rows of a listing are contiguous in memory, so that any page is one slice of them,
which costs 3 microseconds instead of a millisecond. It ignores credentials, and it can filter events by time, which
the specification's API cannot. `/_stats` returns how many requests came since `/_reset`, and how many of them at once.
"""

import argparse
import asyncio
import json
import math
import time
from array import array
from collections import Counter, deque
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, cast
from urllib.parse import unquote

from analytics_assets.api.catalog import Column, Resource
from analytics_assets.api.connector import SHIPPED
from analytics_assets.api.values.timestamps import parse_timestamp
from analytics_assets.demo.paging import hold, requested_rows
from benchmarks.events import EVENTS
from benchmarks.loop import run

ENDPOINTS = SHIPPED.dialects[0].endpoints
FIRST = datetime(2024, 1, 1, tzinfo=UTC)
SEPARATOR = b", "
SAMPLES: dict[str, Any] = {
    "bool": True,
    "date": "2024-01-01",
    "decimal": 12.25,
    "double": 0.5,
    "json": {"message": {"code": "started", "params": {"attempt": 1, "user": "someone"}}},
}


class Listing:
    """The encoded rows of a resource: one buffer, and the position in it at which each row starts."""

    def __init__(self, resource: Resource, count: int) -> None:
        endpoint = ENDPOINTS[resource.name]
        self._pagination = endpoint.pagination
        self._count = count
        head, tail = json.dumps(hold(endpoint.selector, [])).split("[]")
        self._head, self._tail = f"{head}[".encode(), f"]{tail}".encode()
        rows = bytearray()
        self._starts = array("Q")
        for row in encoded_rows(resource, count):
            self._starts.append(len(rows))
            rows += row
            rows += SEPARATOR
        self._starts.append(len(rows))
        self._rows = memoryview(rows)

    def page(self, query: dict[str, str], skipped: int) -> bytes:
        """The body of an answer; `skipped` rows at the start are filtered out."""
        first, last, _ = requested_rows(self._pagination, query).indices(self._count - skipped)
        if first >= last:
            return self._head + self._tail
        first, last = first + skipped, last + skipped
        rows = self._rows[self._starts[first] : self._starts[last] - len(SEPARATOR)]
        return b"".join((self._head, rows, self._tail))


def encoded_rows(resource: Resource, count: int) -> Iterator[bytes]:
    """The rows as JSON. Ids count from 1, times are a second apart, texts are short.

    The rows are filled into one template, which takes a tenth of the time of encoding each row.
    """
    columns = (f'"{column.name}": {template(column)}' for column in resource.columns)
    row = f"{{{', '.join(columns)}}}"
    for number in range(1, count + 1):
        moment = (FIRST + timedelta(seconds=number)).isoformat()
        yield (row % {"number": number, "other": number % 977, "moment": moment.replace("+00:00", "Z")}).encode()


def template(column: Column) -> str:
    """The value of a column in the template of a row."""
    match column.type:
        case "bigint":
            return "%(number)d" if column.name == "id" else "%(other)d"
        case "timestamp":
            return '"%(moment)s"'
        case "text":
            return f'"{column.name} %(number)d"'
        case _:
            return json.dumps(SAMPLES[column.type])


@lru_cache
def rows_before(time_or_date: str) -> int:
    """How many events happened before an ISO 8601 point in time. The first happened a second after `FIRST`."""
    return max(0, math.ceil((parse_timestamp(time_or_date) - FIRST).total_seconds()) - 1)


class Api:
    """The listings, and counts of the requests for them."""

    def __init__(self, counts: dict[str, int], latency: float = 0, since: str | None = None) -> None:
        self.latency = latency
        self._since = since
        self._listings = {
            ENDPOINTS[resource.name].path: Listing(resource, counts[resource.name]) for resource in SHIPPED.resources
        }
        self._filtered = ENDPOINTS[EVENTS].path
        self.reset()

    def reset(self) -> None:
        """Starts counting again."""
        self._paths: Counter[str] = Counter()
        self._in_flight = 0
        self._most_in_flight = 0
        self._cpu_before = time.process_time()

    def stats(self) -> dict[str, Any]:
        """What was counted since `reset`.

        Without latency the server responds to a request as soon as it has read it, so at most one is in flight.
        """
        return {
            "requests": self._paths.total(),
            "most_in_flight": self._most_in_flight,
            "cpu_seconds": time.process_time() - self._cpu_before,
            "paths": self._paths,
        }

    def begin(self, path: str) -> None:
        """Counts a received request."""
        self._paths[path] += 1
        self._in_flight += 1
        self._most_in_flight = max(self._most_in_flight, self._in_flight)

    def end(self) -> None:
        """Counts a sent response."""
        self._in_flight -= 1

    def answer(self, path: str, query: str) -> bytes:
        """The whole HTTP response to a GET."""
        listing = self._listings.get(path)
        if listing is None:
            return response(b"{}", "404 Not Found")
        values = dict(pair.split("=", 1) for pair in query.split("&") if "=" in pair)
        since = values.get(self._since) if self._since and path == self._filtered else None
        return response(listing.page(values, rows_before(unquote(since)) if since else 0))


def response(body: bytes, status: str = "200 OK") -> bytes:
    """The bytes of an HTTP response with a JSON body."""
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


class Connection(asyncio.Protocol):
    """Reads requests without a body, several at a time if the client sends them so, and responds in their order."""

    transport: asyncio.Transport

    def __init__(self, api: Api) -> None:
        self._api = api
        self._received = b""
        self._responses: deque[bytes] = deque()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keeps the transport, by which responses are sent."""
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Responds to each request that is complete."""
        *requests, self._received = (self._received + data).split(b"\r\n\r\n")
        for request in requests:
            self._respond(request.split(b" ", 2)[1].decode())

    def _respond(self, target: str) -> None:
        path, _, query = target.partition("?")
        if path == "/_reset":
            self._api.reset()
        if path in {"/_reset", "/_stats"}:
            self.transport.write(response(json.dumps(self._api.stats()).encode()))
            return
        self._api.begin(path)
        self._responses.append(self._api.answer(path, query))
        if self._api.latency:
            asyncio.get_running_loop().call_later(self._api.latency, self._send)
        else:
            self._send()

    def _send(self) -> None:
        self._api.end()
        oldest = self._responses.popleft()
        # A client that no longer needs the response may have hung up.
        if not self.transport.is_closing():
            self.transport.write(oldest)


async def serve(api: Api, port: int) -> None:
    """Serves until it is killed."""
    server = await asyncio.get_running_loop().create_server(lambda: Connection(api), "127.0.0.1", port)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await server.serve_forever()


def main() -> None:
    """Parses the command line, makes the rows and serves them."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.server")
    parser.add_argument("--others", type=int, default=500, help="rows of each other resource")
    for name in SHIPPED.by_name:
        parser.add_argument(f"--{name}", type=int, help="number of its rows (default: --others)")
    parser.add_argument("--latency", type=float, default=0, metavar="SECONDS", help="from request to response")
    parser.add_argument("--since", metavar="PARAM", help="parameter that filters events by time (default: none)")
    parser.add_argument("--port", type=int, default=0, help="port to listen on (default: any free one)")
    arguments = parser.parse_args()
    given = vars(arguments)
    counts = {name: arguments.others if given[name] is None else given[name] for name in SHIPPED.by_name}
    run(serve(Api(counts, arguments.latency, arguments.since), arguments.port))


if __name__ == "__main__":
    main()
