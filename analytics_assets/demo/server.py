"""The demo API: a loopback HTTP server that speaks the specification's wire format."""

import sys
import threading
from collections.abc import Callable
from datetime import datetime, timezone
from functools import cache
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from dlt.common.json import json

from analytics_assets.demo.data import LISTINGS, read_rows

LOOPBACK = "127.0.0.1"

DEMO_TOKEN = "demo"  # noqa: S105 - made up, and all it opens is made-up data
"""The bearer token that the demo API wants."""

PAGED = ("/v2/organizations", "/v2/activities", "/v2/locations")
PAGE_SIZE = 20
LARGEST_PAGE = 1000


def utc_now() -> datetime:
    """The time that the demo's rows follow."""
    return datetime.now(timezone.utc)


class DemoServer(ThreadingHTTPServer):
    """Serves the demo API on a loopback port, until `shutdown`.

    Args:
        port: Port to listen on; 0 picks a free one.
        clock: Says what time it is.

    Raises:
        OSError: The port is taken.
    """

    daemon_threads = True

    def __init__(self, port: int = 0, clock: Callable[[], datetime] = utc_now) -> None:
        super().__init__((LOOPBACK, port), _Handler)
        self.clock = clock

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - as socketserver has it
        """Keeps quiet about clients that hang up, as they do when they no longer need a page they asked for ahead."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)

    @property
    def url(self) -> str:
        """Base URL of the API."""
        return f"http://{LOOPBACK}:{self.server_address[1]}"


@cache
def embedded_url() -> str:
    """Base URL of a demo API inside this process; started by the first call, it ends with the process."""
    server = DemoServer()
    threading.Thread(target=server.serve_forever, name="demo-api", daemon=True).start()
    return server.url


class _Handler(BaseHTTPRequestHandler):
    server: DemoServer
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        if url.path == "/":
            self._answer(HTTPStatus.OK, {"endpoints": sorted([*LISTINGS, "/v2/activities"])})
            return
        if self.headers.get("Authorization") != f"Bearer {DEMO_TOKEN}":
            self._answer(HTTPStatus.UNAUTHORIZED, {"error": f"the demo API wants the bearer token {DEMO_TOKEN!r}"})
            return
        query = {name: values[-1] for name, values in parse_qs(url.query).items()}
        try:
            after, limit = _paging(url.path, query)
        except ValueError:
            self._answer(HTTPStatus.BAD_REQUEST, {"error": "after and limit are whole numbers, limit from 1"})
            return
        rows = read_rows(url.path, self.server.clock(), after, limit)
        if rows is None:
            self._answer(HTTPStatus.NOT_FOUND, {"error": f"no endpoint {url.path}"})
            return
        self._answer(HTTPStatus.OK, {"activities" if url.path == "/v2/activities" else "data": rows})

    def _answer(self, status: HTTPStatus, body: object) -> None:
        payload = json.dumpb(body)
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload)

    def log_message(self, *_: object) -> None:
        """Keeps quiet: the sync reports its requests itself."""


def _paging(path: str, query: dict[str, str]) -> tuple[int, int | None]:
    if path not in PAGED:
        return 0, None
    after = int(query.get("after", "0"))
    limit = int(query.get("limit", PAGE_SIZE))
    if after < 0 or limit < 1:
        raise ValueError
    return after, min(limit, LARGEST_PAGE)
