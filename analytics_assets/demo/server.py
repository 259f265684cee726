"""The server of the demo API: HTTP on a loopback port, in the wire format of one dialect."""

import sys
from collections.abc import Callable
from datetime import UTC, datetime
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from dlt.common.json import json

from analytics_assets.api.connector import SHIPPED, Connector
from analytics_assets.api.dialects.base import Dialect
from analytics_assets.demo.data import ACTIVITY_LATE
from analytics_assets.demo.declared import Declared
from analytics_assets.demo.exchange import Reply, Request, WireFormat
from analytics_assets.demo.made_up import rows_of
from analytics_assets.demo.ninjaone import NinjaOne

LOOPBACK = "127.0.0.1"

DEMO_TOKEN = "demo"  # noqa: S105 - made up, and all it opens is made-up data
"""The bearer token that the demo API demands in all dialects but `ninjaone`."""

DEMO_CLIENT_ID = "demo"
DEMO_CLIENT_SECRET = "demo-secret"  # noqa: S105 - made up, too
"""The secret of the client `DEMO_CLIENT_ID`, to which the demo API issues tokens in the dialect `ninjaone`."""

FORM = "application/x-www-form-urlencoded"


def credentials(dialect: Dialect) -> dict[str, str]:
    """The settings with which the assets read the demo API in a dialect."""
    client = {"client_id": DEMO_CLIENT_ID, "client_secret": DEMO_CLIENT_SECRET}
    if dialect.name == "ninjaone":
        return client
    return {"api_key": DEMO_TOKEN} | (client if dialect.auth else {})


def speak(connector: Connector, dialect: Dialect) -> WireFormat:
    """The wire format of a dialect, over the demo's rows: NinjaOne's has rules that no endpoint declares."""
    rows = rows_of(connector, dialect)
    if dialect.name == "ninjaone":
        return NinjaOne(connector, dialect, DEMO_CLIENT_ID, DEMO_CLIENT_SECRET, rows, latest=ACTIVITY_LATE)
    return Declared(connector, dialect, DEMO_TOKEN, rows)


def utc_now() -> datetime:
    """The present time in UTC, the clock of the demo unless a test passes another."""
    return datetime.now(UTC)


class LoopbackServer(ThreadingHTTPServer):
    """Serves on a loopback port, until `shutdown`.

    Args:
        port: Port to listen on; 0 picks a free one.
        handler: Answers the requests.

    Raises:
        OSError: The port is taken.
    """

    daemon_threads = True

    def __init__(self, port: int, handler: type["Handler"]) -> None:
        super().__init__((LOOPBACK, port), handler)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - as socketserver has it
        """Ignores clients that hang up. They do so when they no longer need a page that they requested ahead."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)

    @property
    def url(self) -> str:
        """Base URL of the API."""
        return f"http://{LOOPBACK}:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    """Reads the requests of a connection, each of which `respond` answers."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def respond(self, request: Request) -> None:
        """Sends the answer to a request."""
        raise NotImplementedError

    def do_GET(self) -> None:
        """Reads a request without a body."""
        self._read({})

    def do_POST(self) -> None:
        """Reads a request with a body, of which a form is of interest."""
        length = self.headers.get("Content-Length", "")
        if not (length.isascii() and length.isdigit()):
            self.close_connection = True
            self.send(HTTPStatus.LENGTH_REQUIRED, json.dumpb({"error": "the body needs a Content-Length"}))
            return
        body = self.rfile.read(int(length)).decode("utf-8", "replace")
        self._read(dict(parse_qsl(body)) if self.headers.get_content_type() == FORM else {})

    def _read(self, form: dict[str, str]) -> None:
        url = urlsplit(self.path)
        self.respond(Request(self.command, url.path, dict(parse_qsl(url.query)), form, dict(self.headers)))

    def send(self, status: int, payload: bytes) -> None:
        """Sends a response of JSON."""
        self.begin(status, len(payload))
        self.wfile.write(payload)

    def begin(self, status: int, length: int, **headers: str) -> None:
        """Sends status and headers, of which `headers` win over the usual ones."""
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", "Content-Length": str(length), **headers}.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Logs nothing, because the sync counts its requests itself."""


class DemoServer(LoopbackServer):
    """Serves the demo API on a loopback port, until `shutdown`.

    Args:
        port: Port to listen on; 0 picks a free one.
        clock: Returns the time of which the rows are served, in UTC.
        dialect: Name of a dialect, by default the first. A server speaks one, because two dialects use the same paths.
        connector: The API that it stands for.

    Raises:
        KeyError: The connector has no such dialect.
        OSError: The port is taken.
    """

    def __init__(
        self,
        port: int = 0,
        clock: Callable[[], datetime] = utc_now,
        dialect: str | None = None,
        connector: Connector = SHIPPED,
    ) -> None:
        self.clock = clock
        spoken = connector.dialects_by_name[dialect] if dialect else connector.dialects[0]
        self.paths = sorted(endpoint.path for endpoint in spoken.endpoints.values())
        self.dialect = speak(connector, spoken)
        super().__init__(port, _DemoHandler)


class _DemoHandler(Handler):
    server: DemoServer

    def respond(self, request: Request) -> None:
        if request.path == "/":
            reply = Reply(HTTPStatus.OK, {"endpoints": self.server.paths})
        else:
            reply = self.server.dialect.answer(request, self.server.clock())
        self.send(reply.status, json.dumpb(reply.body))
