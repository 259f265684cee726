"""The event loop of this process, in a thread of its own, and the HTTP clients that run on it."""

import asyncio
import atexit
import os
import sys
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from pyreqwest.client import Client

    from analytics_assets.api.http.shared_rate import SharedRate

T = TypeVar("T")


def run_in_background(coroutine: Coroutine[Any, Any, T]) -> "Future[T]":
    """Runs a coroutine on the event loop of this process."""
    return asyncio.run_coroutine_threadsafe(coroutine, background(os.getpid()).loop)


class _Background:
    """An event loop in a thread of its own, and clients whose connections outlast a run."""

    def __init__(self) -> None:
        self.loop = _new_loop()
        self.clients: dict[tuple[float, bool], Client] = {}
        self.shared_rates: dict[tuple[str | None, str, float | None], SharedRate] = {}
        self._thread = threading.Thread(target=self.loop.run_forever, name="analytics-wire", daemon=True)
        self._thread.start()
        atexit.register(self._close)

    def _close(self) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self.loop).result()
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()

    async def _end(self) -> None:
        # An interrupted process leaves tasks behind.
        remaining = asyncio.all_tasks() - {asyncio.current_task()}
        for task in remaining:
            task.cancel()
        await asyncio.gather(*remaining, return_exceptions=True)
        for client in self.clients.values():
            await client.close()
        for rate in self.shared_rates.values():
            await rate.close()


@cache
def background(_process: int) -> _Background:
    """Returns the event loop and clients of a process; the process id is the key of the cache.

    In a fork of a process that has sent requests, pyreqwest refuses to build a client. That is better than to wait for
    a thread that the fork does not have.
    """
    return _Background()


def _new_loop() -> asyncio.AbstractEventLoop:
    if sys.platform == "win32":
        return asyncio.new_event_loop()
    import uvloop  # noqa: PLC0415 - there is none for Windows

    loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    return loop
