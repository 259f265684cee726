"""The specification's API, which a test fills with rows, breaks, and asks what it was asked."""

import json
import ssl
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any, TypeVar

from analytics_assets.api.catalog import load_order
from analytics_assets.api.connector import Connector
from analytics_assets.demo.declared import Declared
from analytics_assets.demo.exchange import Request, Row, WireFormat
from analytics_assets.demo.server import Handler, LoopbackServer
from analytics_assets_tests.servers.running import running
from analytics_assets_tests.support.eight import EIGHT

ENDPOINTS = EIGHT.dialects[0].endpoints
PATHS = {name: endpoint.path for name, endpoint in ENDPOINTS.items()}
IN_TURN = [resource.name for resource in load_order(EIGHT.resources)]
"""As a run loads them."""
PAGED = {name for name, endpoint in ENDPOINTS.items() if endpoint.pagination}
TOKEN = "token-7f3a-canary"


@dataclass(frozen=True)
class Answer:
    """An answer as it is sent.

    `cut` sends only so many bytes of the body and closes the connection; `stall` waits in the middle of the body.
    """

    status: int = 200
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    cut: int | None = None
    stall: threading.Event | None = None

    def payload(self) -> bytes:
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()


Api = TypeVar("Api", bound="FakeApi")
Fault = Callable[[Request], Answer | None]


class FakeApi:
    """Speaks the first dialect of a connector.

    The rows it serves are `rows[resource]`; `faults[resource]` are asked first, in order, until one answers.

    Which rows a request gets, and who gets none, is up to the wire format, which is that of the demo API.
    """

    def __init__(self, url: str, connector: Connector = EIGHT) -> None:
        self.url = url
        self.resources = {endpoint.path: name for name, endpoint in connector.dialects[0].endpoints.items()}
        """By path."""
        self.rows: dict[str, list[Row]] = {name: [] for name in self.resources.values()}
        self.requests: list[Request] = []
        self.faults: dict[str, list[Fault]] = {name: [] for name in self.rows}
        self.wire_format: WireFormat = Declared(connector, connector.dialects[0], TOKEN, self.listing)

    def listing(self, path: str, _: datetime) -> list[Row] | None:
        """The rows at a path."""
        return self.rows.get(self.resources[path], []) if path in self.resources else None

    def asked(self, resource: str) -> list[Request]:
        return [request for request in self.requests if self.resources.get(request.path) == resource]

    def paths(self) -> Counter[str]:
        return Counter(request.path for request in self.requests)

    def answer_with(self, resource: str, *answers: Answer) -> None:
        """Serves these answers first, one a request, and then the rows again."""
        left = list(answers)
        self.faults[resource].append(lambda _: left.pop(0) if left else None)

    def answer_always(self, resource: str, answer: Answer) -> None:
        self.faults[resource].append(lambda _: answer)

    def answer(self, request: Request) -> Answer:
        self.requests.append(request)
        for fault in self.faults.get(self.resources.get(request.path, ""), ()):
            if (answer := fault(request)) is not None:
                return answer
        reply = self.wire_format.answer(request, datetime.now(UTC))
        return Answer(reply.status, reply.body)


@contextmanager
def serve(tls: ssl.SSLContext | None = None, connector: Connector = EIGHT, port: int = 0) -> Iterator[FakeApi]:
    """Runs a fake API on a loopback port, by default a free one."""
    with serve_kind(partial(FakeApi, connector=connector), tls, port) as api:
        yield api


@contextmanager
def serve_kind(kind: Callable[[str], Api], tls: ssl.SSLContext | None = None, port: int = 0) -> Iterator[Api]:
    """Runs a fake API of some kind on a loopback port, by default a free one."""

    class FakeHandler(Handler):
        def respond(self, request: Request) -> None:
            answer = api.answer(request)
            payload = answer.payload()
            self.begin(answer.status, len(payload), **answer.headers)
            if answer.stall:
                self.wfile.write(payload[:1])
                answer.stall.wait()
                payload = payload[1:]
            self.wfile.write(payload[: answer.cut])
            if answer.cut is not None:
                self.close_connection = True

    server = LoopbackServer(port, FakeHandler)
    if tls:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    api = kind(server.url.replace("http:", "https:") if tls else server.url)
    with running(server):
        yield api
