"""A server of the specification's wire format that a test fills with rows, breaks, and asks what it was asked."""

import json
import ssl
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, TypeVar
from urllib.parse import parse_qsl, urlsplit

Row = dict[str, Any]

PATHS = {
    "organizations": "/v2/organizations",
    "policies": "/v2/policies",
    "activities": "/v2/activities",
    "automation_scripts": "/v2/automation/scripts",
    "groups": "/v2/groups",
    "locations": "/v2/locations",
    "roles": "/v2/roles",
    "software_products": "/v2/software-products",
}
IN_TURN = [*(name for name in PATHS if name != "activities"), "activities"]
"""As a run loads them."""
PAGED = {"organizations", "activities", "locations"}
TOKEN = "token-7f3a-canary"


@dataclass(frozen=True)
class Request:
    """A request as it arrived."""

    path: str
    query: dict[str, str]
    headers: Mapping[str, str]
    form: dict[str, str] = field(default_factory=dict)


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
    """The rows it serves are `rows[resource]`; `faults[resource]` are asked first, in order, until one answers."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.rows: dict[str, list[Row]] = {name: [] for name in PATHS}
        self.requests: list[Request] = []
        self.faults: dict[str, list[Fault]] = {name: [] for name in PATHS}

    def asked(self, resource: str) -> list[Request]:
        return [request for request in self.requests if request.path == PATHS[resource]]

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
        resource = next((name for name, path in PATHS.items() if path == request.path), None)
        if resource is None:
            return Answer(404, {"error": "no such path"})
        for fault in self.faults[resource]:
            if (answer := fault(request)) is not None:
                return answer
        return self.refusal(request) or self.listing(resource, request)

    def refusal(self, request: Request) -> Answer | None:
        if request.headers.get("Authorization") == f"Bearer {TOKEN}":
            return None
        return Answer(401, {"error": "unauthorized", "you_sent": request.headers.get("Authorization")})

    def listing(self, resource: str, request: Request) -> Answer:
        rows = self.rows[resource]
        if resource in PAGED:
            after = int(request.query.get("after", "0"))
            rows = rows[after : after + int(request.query.get("limit", "20"))]
        return Answer(body={"activities" if resource == "activities" else "data": rows})


@contextmanager
def serve(tls: ssl.SSLContext | None = None) -> Iterator[FakeApi]:
    """Runs a fake API on a free loopback port."""
    with serve_kind(FakeApi, tls) as api:
        yield api


@contextmanager
def serve_kind(kind: Callable[[str], Api], tls: ssl.SSLContext | None = None) -> Iterator[Api]:
    """Runs a fake API of some kind on a free loopback port."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            self._send({})

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            self._send(dict(parse_qsl(body.decode())))

        def _send(self, form: dict[str, str]) -> None:
            url = urlsplit(self.path)
            answer = api.answer(Request(url.path, dict(parse_qsl(url.query)), dict(self.headers), form))
            payload = answer.payload()
            self.send_response(answer.status)
            headers = {"Content-Type": "application/json", "Content-Length": str(len(payload)), **answer.headers}
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            if answer.stall:
                self.wfile.write(payload[:1])
                answer.stall.wait()
                payload = payload[1:]
            self.wfile.write(payload[: answer.cut])
            if answer.cut is not None:
                self.close_connection = True

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *client: Any) -> None:
            # A client that no longer needs an answer hangs up.
            if not isinstance(sys.exc_info()[1], ConnectionError):
                super().handle_error(*client)

    server = Server(("127.0.0.1", 0), Handler)
    if tls:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    api = kind(f"{'https' if tls else 'http'}://127.0.0.1:{server.server_address[1]}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield api
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
