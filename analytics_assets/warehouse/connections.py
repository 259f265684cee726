"""Connections that are kept while a session is open: dlt opens one for each thing that it does, a hundred in a sync."""

import selectors
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

Connection: TypeAlias = Any
"""A connection of psycopg2, which is imported late."""

Address = tuple[str, str]
"""Where a connection leads, and with which options."""

LONGEST_PAUSE = 30
"""Seconds after which a connection is not used again: a firewall may have forgotten it, and nobody would answer."""


class _Kept:
    """The connections of this process that nobody uses at the moment, with the times since when."""

    def __init__(self) -> None:
        self.guard = threading.Lock()
        self.sessions = 0
        self.idle: dict[Address, list[tuple[Connection, float]]] = {}


_kept = _Kept()


@contextmanager
def keep_connections() -> Iterator[None]:
    """Keeps connections that are put back until the end of the block."""
    with _kept.guard:
        _kept.sessions += 1
    try:
        yield
    finally:
        with _kept.guard:
            _kept.sessions -= 1
            ended = {} if _kept.sessions else _kept.idle
            if ended:
                _kept.idle = {}
        for connections in ended.values():
            for connection, _ in connections:
                connection.close()


def take(address: Address) -> Connection | None:
    """A connection that was put back, as it was opened; `None` if there is none that is alive."""
    while True:
        with _kept.guard:
            idle = _kept.idle.get(address)
            if not idle:
                return None
            connection, since = idle.pop()
        if time.monotonic() - since < LONGEST_PAUSE and _is_silent(connection):
            return connection
        connection.close()


def _is_silent(connection: Connection) -> bool:
    """Whether nothing has come from the server, which says nothing unasked but that it has closed the connection."""
    with selectors.DefaultSelector() as selector:
        selector.register(connection, selectors.EVENT_READ)
        return not selector.select(0)


def put_back(address: Address, connection: Connection) -> None:
    """Keeps a connection if a session is open, and closes it otherwise, or if it is within a transaction or broken."""
    with _kept.guard:
        # A connection that is closed has another status than idle, which is 0.
        if _kept.sessions and connection.info.transaction_status == 0:
            _kept.idle.setdefault(address, []).append((connection, time.monotonic()))
            return
    connection.close()
