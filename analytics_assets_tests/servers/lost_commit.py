"""A way to Postgres on which the confirmation of a commit is lost."""

import re
import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from socketserver import BaseRequestHandler, ThreadingTCPServer
from urllib.parse import urlsplit

from analytics_assets_tests.servers.running import running

COMMITTED = b"C\0\0\0\x0bCOMMIT\0"


class Way(ThreadingTCPServer):
    """Forwards to Postgres. The first connection that has copied rows into a table ends when they are committed."""

    daemon_threads = True

    def __init__(self, target: tuple[str, int], table: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.target = target
        self.copies = re.compile(rb"COPY [^\0]*" + table.encode())
        self.lost = 0


class _Handler(BaseRequestHandler):
    server: Way

    def handle(self) -> None:
        with closing(socket.create_connection(self.server.target)) as upstream:
            self.copies = False
            threading.Thread(target=self._send, args=[upstream], daemon=True).start()
            with suppress(OSError):
                while data := upstream.recv(65_536):
                    if self.copies and COMMITTED in data and not self.server.lost:
                        self.server.lost += 1
                        return
                    self.request.sendall(data)

    def _send(self, upstream: socket.socket) -> None:
        with suppress(OSError):
            while data := self.request.recv(65_536):
                self.copies |= bool(self.server.copies.search(data))
                upstream.sendall(data)
            upstream.shutdown(socket.SHUT_WR)


@contextmanager
def losing_a_commit(url: str, table: str) -> Iterator[tuple[str, Way]]:
    """The URL of such a way to a database, and the way itself."""
    parts = urlsplit(url)
    with running(way := Way((str(parts.hostname), int(parts.port or 5432)), table)):
        yield url.replace(f":{parts.port}/", f":{way.server_address[1]}/"), way
