"""A hostile server never takes more memory than there is."""

import gzip
import json
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from analytics_assets_tests.servers.fake_api import PATHS, TOKEN
from analytics_assets_tests.servers.hostile import hostile
from analytics_assets_tests.support.commands import COMMANDS_OF_EIGHT, LAUNCH, run
from analytics_assets_tests.support.rows import location

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
        result = run(tmp_path, *LAUNCH, str(taken), *COMMANDS_OF_EIGHT, "sync")
    assert server.asked >= len(PATHS), result.stdout + result.stderr
    assert json.loads(taken.read_text(encoding="utf-8"))["memory"] < 1000
