"""What a server may send: so many bytes, for so long, and never more memory than there is."""

import gzip
import json
import os
import sys
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from analytics_assets_tests.conftest import Project, failure_message, metadata
from analytics_assets_tests.fake_api import PATHS, TOKEN, Answer, FakeApi
from analytics_assets_tests.rows import location, role
from analytics_assets_tests.test_cli import run

LAUNCH = Path(__file__).resolve().parents[1] / "benchmarks" / "launch.py"

SIZE = "SOURCES__ANALYTICS__MAX_RESPONSE_MB"


def body_of(megabytes: float) -> bytes:
    """An honest page of roles of about that size."""
    text = "".join(map(chr, range(32, 127))) * 10
    count = int(megabytes * 1e6 / len(json.dumps(role(1, description=text))))
    return json.dumps({"data": [role(n, description=f"{n} {text}") for n in range(1, count + 1)]}).encode()


def test_a_page_of_fifty_megabytes_is_loaded(api: FakeApi, project: Project) -> None:
    body = body_of(50)
    assert len(body) > 50e6
    api.answer_always("roles", Answer(body=body))
    said = metadata(project.sync("roles"), "roles")
    assert said["rows_loaded"] == said["dagster/row_count"] > 40_000
    assert said["bytes"] == len(body)


def test_pages_too_large_to_be_read_ahead_are_read_one_by_one_and_whole(api: FakeApi, project: Project) -> None:
    api.rows["locations"] = [location(n, description=f"{n:06}" * 50_000) for n in range(1, 60)]
    said = metadata(project.sync("locations"), "locations")
    assert project.ids("locations") == list(range(1, 60))
    # The first was asked for ahead, in vain.
    assert [request.query["after"] for request in api.asked("locations")] == ["0", "0", "19", "38", "57", "59"]
    assert (said["requests"], said["retries"]) == (6, 0)


@pytest.mark.parametrize("encoding", ["identity", "gzip", "deflate", "chunked"])
@pytest.mark.parametrize("megabytes", [0.9, 1.1, 8])
def test_an_answer_over_the_limit_is_an_error_and_one_below_it_is_loaded(
    api: FakeApi, project: Project, monkeypatch: pytest.MonkeyPatch, encoding: str, megabytes: float
) -> None:
    monkeypatch.setenv(SIZE, "1")
    body = body_of(megabytes)
    packed = gzip.compress(body) if encoding == "gzip" else zlib.compress(body) if encoding == "deflate" else body
    headers = {"Content-Encoding": encoding} if encoding in {"gzip", "deflate"} else {}
    if encoding == "chunked":
        half = len(packed) // 2
        parts = [b"%x\r\n%s\r\n" % (len(part), part) for part in (packed[:half], packed[half:], b"")]
        packed, headers = b"".join(parts), {"Transfer-Encoding": "chunked", "Content-Length": ""}
    api.answer_always("roles", Answer(body=packed, headers=headers))
    result = project.run("roles")
    assert len(api.asked("roles")) == 1
    if megabytes < 1:
        assert result.success, failure_message(result)
        assert metadata(result, "roles")["bytes"] == len(body)
    else:
        assert "GET /v2/roles" in failure_message(result) or "/v2/roles answered" in failure_message(result)
        assert "more than 1 MB. If the API's pages are really so large" in failure_message(result)
        assert "max_response_mb" in failure_message(result)


def test_deflate_without_a_header_is_read_too(api: FakeApi, project: Project) -> None:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    packed = packer.compress(json.dumps({"data": api.rows["roles"]}).encode()) + packer.flush()
    api.answer_always("roles", Answer(body=packed, headers={"Content-Encoding": "deflate"}))
    assert metadata(project.sync("roles"), "roles")["rows_loaded"] == len(api.rows["roles"])


def test_a_compression_that_no_rows_have_is_an_error(api: FakeApi, project: Project) -> None:
    bomb = gzip.compress(b'{"data": [' + b" " * 20_000_000 + b"]}")
    assert len(bomb) < 40_000
    api.answer_always("roles", Answer(body=bomb, headers={"Content-Encoding": "gzip"}))
    message = failure_message(project.run("roles"))
    assert "that unpack to more than 500 times as many" in message


def test_gzip_in_several_members_and_several_times_is_read(api: FakeApi, project: Project) -> None:
    body = json.dumps({"data": api.rows["roles"]}).encode()
    packed = gzip.compress(gzip.compress(body[:20]) + gzip.compress(body[20:]))
    api.answer_always("roles", Answer(body=packed, headers={"Content-Encoding": "gzip, identity, gzip"}))
    assert metadata(project.sync("roles"), "roles")["rows_loaded"] == len(api.rows["roles"])


@pytest.mark.parametrize(
    "headers",
    [
        {"Retry-After": "Mon, 01 Jan 2035 00:00:00 +99999999999999999999"},
        {"Retry-After": "Mon, 01 Jan 99999999999999999999 00:00:00 GMT"},
        {"Retry-After": "\xff"},
    ],
    ids=str,
)
def test_a_header_that_makes_no_sense_counts_as_absent(api: FakeApi, project: Project, headers: dict[str, str]) -> None:
    api.answer_with("roles", Answer(503, headers=headers))
    assert metadata(project.sync("roles"), "roles")["retries"] == 1


def test_what_an_error_quotes_of_a_body_is_short(api: FakeApi, project: Project) -> None:
    api.answer_always("roles", Answer(body=b'{"' + b"k" * 5_000_000 + b'": 1}'))
    api.answer_always("groups", Answer(body={"data": [{"id": "i" * 1_000_000}] * 2}))
    api.answer_always("policies", Answer(body=b"no", headers={"Content-Type": "x" * 20_000}))
    api.answer_always("locations", Answer(body={"data": [{"n" * 1_000_000: 1}]}))
    result = project.run("roles", "groups", "policies", "locations")
    assert len(failure_message(result)) < 3_000
    assert sum(len(str(entry)) for entry in project.instance.all_logs(result.run_id)) < 500_000


def test_a_total_of_many_digits_is_none(api: FakeApi, project: Project) -> None:
    rows = json.dumps(api.rows["roles"])
    api.answer_always("roles", Answer(body=f'{{"data": {rows}, "total": {"9" * 5_000}}}'.encode()))
    project.sync("roles")


def test_gzip_that_ends_too_early_is_no_page(api: FakeApi, project: Project) -> None:
    packed = gzip.compress(json.dumps({"data": api.rows["roles"]}).encode())
    api.answer_always("roles", Answer(body=packed[:-8], headers={"Content-Encoding": "gzip"}))
    assert "it ends too early" in failure_message(project.run("roles"))


def test_a_page_of_nothing_but_fields_is_refused_before_it_is_made(api: FakeApi, project: Project) -> None:
    api.answer_always("roles", Answer(body=b'{"data": [{"id": 1' + b',"a":1' * 1_700_000 + b"}]}"))
    assert "that they would take about" in failure_message(project.run("roles"))


def test_an_answer_that_trickles_is_given_up(api: FakeApi, project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNTIME__REQUEST_TIMEOUT", "0.2")
    monkeypatch.setenv("RUNTIME__REQUEST_MAX_ATTEMPTS", "2")

    sent = []

    def trickle(send: Callable[[bytes], None], over: threading.Event) -> None:
        send(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
        while not over.wait(0.05):
            send(b" ")
            sent.append(" ")

    with hostile(trickle) as server:
        monkeypatch.setenv("SOURCES__ANALYTICS__BASE_URL", server.url)
        message = failure_message(project.run("roles"))
    assert "did not come whole: operation timed out. It may take 1 s, and each piece of it 0.2 s" in message
    assert server.asked == 2
    # Twenty in a second, and so some forty in two.
    assert len(sent) < 150


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
    threading.Thread(target=listener.serve_forever, daemon=True).start()
    try:
        yield server
    finally:
        over.set()
        listener.shutdown()
        listener.server_close()


BOMB = gzip.compress(b'{"data": [' + b" " * 300_000_000 + b"]}")
NESTED = ",".join(f'{{"id": {n}, "x{n}": [' + "[]," * 40_000 + "1]}" for n in range(1, 30)).encode()


def bomb(send: Callable[[bytes], None], _: threading.Event) -> None:
    send(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%s" % (len(BOMB), BOMB))


def endless(send: Callable[[bytes], None], over: threading.Event) -> None:
    send(b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nA\r\n{"data": [\r\n')
    chunk = b"10000\r\n" + b" " * 65536 + b"\r\n"
    while not over.is_set():
        send(chunk)


def endless_once(send: Callable[[bytes], None], over: threading.Event) -> None:
    """Asks for more patience, and then breaks each of four attempts at its end."""
    ENDED.append("")
    if len(ENDED) % 5 == 1:
        endless(send, over)
    else:
        body = gzip.compress(os.urandom(60_000_000), 0)[:-8]
        send(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))


ENDED: list[str] = []


def nested(send: Callable[[bytes], None], _: threading.Event) -> None:
    body = b'{"data": [%s], "activities": [%s]}' % (NESTED, NESTED)
    send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))


def large(send: Callable[[bytes], None], _: threading.Event) -> None:
    rows = json.dumps([location(n, description=f"{n} " * 300) for n in range(1, 18_000)]).encode()
    body = b'{"data": %s, "activities": []}' % rows
    send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))


@pytest.mark.skipif(sys.platform != "linux", reason="other systems count memory in other ways")
@pytest.mark.parametrize("answer", [bomb, endless, endless_once, nested, large])
def test_eight_resources_of_a_hostile_server_take_less_than_a_gigabyte(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: Callable[[Callable[[bytes], None], threading.Event], None]
) -> None:
    taken = tmp_path / "taken.json"
    with hostile(answer) as server:
        monkeypatch.setenv("SOURCES__ANALYTICS__BASE_URL", server.url)
        monkeypatch.setenv("SOURCES__ANALYTICS__API_KEY", TOKEN)
        monkeypatch.setenv("DESTINATION__DUCKDB__CREDENTIALS", str(tmp_path / "hostile.duckdb"))
        command = [sys.executable, "-m", "analytics_assets", "sync"]
        result = run(tmp_path, sys.executable, "-I", "-S", str(LAUNCH), str(taken), *command)
    assert server.asked >= len(PATHS), result.stdout + result.stderr
    assert json.loads(taken.read_text(encoding="utf-8"))["memory"] < 1000
