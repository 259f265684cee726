"""An API in any wire format: a test says how it pages, and asks what it was asked."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlsplit

from analytics_assets_tests.servers.fake_api import Answer
from analytics_assets_tests.servers.running import running


@dataclass(frozen=True)
class Asked:
    """A request as it arrived."""

    method: str
    path: str
    query: Mapping[str, str]
    repeated: Mapping[str, list[str]]
    headers: Mapping[str, str]
    text: str

    @property
    def body(self) -> Any:
        """Its JSON."""
        return json.loads(self.text)

    @property
    def form(self) -> dict[str, str]:
        return dict(parse_qsl(self.text))

    @property
    def authorization(self) -> str | None:
        return self.headers.get("Authorization")


Reply = Callable[[Asked], Answer]


class Vendor:
    """`reply` answers each request."""

    def __init__(self, url: str, reply: Reply) -> None:
        self.url = url
        self.reply = reply
        self.requests: list[Asked] = []

    def asked(self, path: str) -> list[Asked]:
        return [request for request in self.requests if request.path == path]


@contextmanager
def serve_vendor(reply: Reply) -> Iterator[Vendor]:
    """Runs an API on a free loopback port."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            self._answer("")

        def do_POST(self) -> None:
            self._answer(self.rfile.read(int(self.headers["Content-Length"])).decode())

        def _answer(self, text: str) -> None:
            url = urlsplit(self.path)
            query = dict(parse_qsl(url.query))
            asked = Asked(self.command, url.path, query, parse_qs(url.query), dict(self.headers), text)
            vendor.requests.append(asked)
            answer = vendor.reply(asked)
            payload = answer.payload()
            self.send_response(answer.status)
            headers = {"Content-Type": "application/json", "Content-Length": str(len(payload)), **answer.headers}
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(payload)

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

    server = Server(("127.0.0.1", 0), Handler)
    vendor = Vendor(f"http://127.0.0.1:{server.server_address[1]}", reply)
    with running(server):
        yield vendor
