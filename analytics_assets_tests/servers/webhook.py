"""A webhook on a loopback port, for the tests of alerts."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from analytics_assets_tests.servers.running import running

SECRET = "T000/B000/hook-canary"


@dataclass
class Webhook:
    """What was posted. It answers with `statuses`, one a post, then with 200; not at all while `silent`."""

    url: str = ""
    posts: list[dict[str, Any]] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    silent: threading.Event = field(default_factory=threading.Event)

    @property
    def texts(self) -> list[str]:
        return [post["text"] for post in self.posts]


@contextmanager
def listening() -> Iterator[Webhook]:
    """A webhook on a free loopback port."""
    received = Webhook()
    done = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert self.path == f"/services/{SECRET}"
            assert self.headers["Content-Type"] == "application/json"
            assert "Authorization" not in self.headers
            received.posts.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            if received.silent.is_set():
                done.wait(30)
                return
            self.send_response(received.statuses.pop(0) if received.statuses else 200)
            self.send_header("Location", "/elsewhere")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

    server = Server(("127.0.0.1", 0), Handler)
    received.url = f"http://127.0.0.1:{server.server_address[1]}/services/{SECRET}"
    with running(server):
        try:
            yield received
        finally:
            done.set()
