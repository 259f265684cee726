"""A server that sends whatever it is told to, byte by byte."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from analytics_assets_tests.servers.running import running


class Hostile:
    """A server that is told what to send, byte by byte."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.asked = 0


@contextmanager
def hostile(answer: Callable[[Callable[[bytes], None], threading.Event], None]) -> Iterator[Hostile]:
    """Serves whatever `answer` sends, until it returns or the test is over."""
    over = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            server.asked += 1
            self.close_connection = True
            answer(self.connection.sendall, over)

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: Any) -> None:
            """The client hangs up, as it should."""

    listener = Server(("127.0.0.1", 0), Handler)
    server = Hostile(listener.server_address[1])
    with running(listener):
        try:
            yield server
        finally:
            over.set()
