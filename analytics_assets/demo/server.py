"""The demo API: a loopback HTTP server that speaks one of the dialects of the assets."""

import sys
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from dlt.common.json import json

from analytics_assets.demo.analytics import Analytics
from analytics_assets.demo.data import LISTINGS
from analytics_assets.demo.exchange import Reply, Request, WireFormat
from analytics_assets.demo.ninjaone import NinjaOne

LOOPBACK = "127.0.0.1"

DEMO_TOKEN = "demo"  # noqa: S105 - made up, and all it opens is made-up data
"""The bearer token that the demo API wants in the dialect `analytics`."""

DEMO_CLIENT_ID = "demo"
DEMO_CLIENT_SECRET = "demo-secret"  # noqa: S105 - made up, too
"""With the id above, what the demo API issues a token for in the dialect `ninjaone`."""

DIALECTS: dict[str, Callable[[], WireFormat]] = {
    "analytics": partial(Analytics, DEMO_TOKEN),
    "ninjaone": partial(NinjaOne, DEMO_CLIENT_ID, DEMO_CLIENT_SECRET),
}
"""By the name that the setting `dialect` has."""

CREDENTIALS = {
    "analytics": {"api_key": DEMO_TOKEN},
    "ninjaone": {"client_id": DEMO_CLIENT_ID, "client_secret": DEMO_CLIENT_SECRET},
}
"""By dialect, the settings with which the assets get in."""

DEFAULT_DIALECT = "analytics"

FORM = "application/x-www-form-urlencoded"


def utc_now() -> datetime:
    """The time that the demo's rows follow."""
    return datetime.now(UTC)


class DemoServer(ThreadingHTTPServer):
    """Serves the demo API on a loopback port, until `shutdown`.

    Args:
        port: Port to listen on; 0 picks a free one.
        clock: Says what time it is.
        dialect: One of `DIALECTS`. The paths of two clash, so that a server has but one.

    Raises:
        KeyError: There is no such dialect.
        OSError: The port is taken.
    """

    daemon_threads = True

    def __init__(self, port: int = 0, clock: Callable[[], datetime] = utc_now, dialect: str = DEFAULT_DIALECT) -> None:
        self.clock = clock
        self.dialect = DIALECTS[dialect]()
        super().__init__((LOOPBACK, port), _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - as socketserver has it
        """Keeps quiet about clients that hang up, as they do when they no longer need a page they asked for ahead."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)

    @property
    def url(self) -> str:
        """Base URL of the API."""
        return f"http://{LOOPBACK}:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: DemoServer
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        self._handle({})

    def do_POST(self) -> None:
        length = self.headers.get("Content-Length", "")
        if not (length.isascii() and length.isdigit()):
            self.close_connection = True
            self._send(Reply(HTTPStatus.LENGTH_REQUIRED, {"error": "the body needs a Content-Length"}))
            return
        body = self.rfile.read(int(length)).decode("utf-8", "replace")
        self._handle(dict(parse_qsl(body)) if self.headers.get_content_type() == FORM else {})

    def _handle(self, form: dict[str, str]) -> None:
        url = urlsplit(self.path)
        if url.path == "/":
            self._send(Reply(HTTPStatus.OK, {"endpoints": sorted(LISTINGS)}))
            return
        request = Request(self.command, url.path, dict(parse_qsl(url.query)), form, self.headers.get("Authorization"))
        self._send(self.server.dialect.answer(request, self.server.clock()))

    def _send(self, reply: Reply) -> None:
        payload = json.dumpb(reply.body)
        self.send_response(reply.status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload)

    def log_message(self, *_: object) -> None:
        """Keeps quiet: the sync reports its requests itself."""
