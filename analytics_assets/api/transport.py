"""The wire: requests in flight, retries with backoff, a rate limit, and counts of what went over it.

dlt reads one page after another through `requests`. Here the pages are fetched ahead of it by aiohttp, on an event loop
that runs in a thread of its own, and that is where retries and limits belong: they are per request on the wire.
"""

import asyncio
import atexit
import os
import ssl
import sys
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from functools import cache
from time import monotonic
from typing import Any, TypeVar

import aiohttp
import certifi
import dlt
from requests.utils import get_environ_proxies, select_proxy
from yarl import URL

from analytics_assets.api.report import Report
from analytics_assets.api.settings import Settings
from analytics_assets.demo.server import DEMO_TOKEN, embedded_url

T = TypeVar("T")

RETRIED_STATUSES = frozenset({429, 500, 502, 503, 504})
"""The specification's list; dlt's own default retries every 5xx."""

ATTEMPTS = 4
"""The specification's three retries, as dlt counts."""

BACKOFF_FACTOR = 2.0
"""The specification's factor, as dlt reads it: waits of 2, 4 and 8 seconds."""

LONGEST_WAIT = 300.0
"""Seconds that a Retry-After is honoured for at most."""

TIMEOUT = 60.0
"""Seconds to wait for a connection, and for each piece of an answer."""


class NoAnswerError(ConnectionError):
    """The API gave no whole answer, in every attempt."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer of the API. `where` is the request, without the host; `token` the secret that was sent with it."""

    where: str
    token: str
    status: int
    reason: str
    content_type: str
    retry_after: str | None
    body: bytes


class Wire:
    """The way to the API that all resources of a run share: its credentials, its limits.

    Limits are those of the run, whatever the number of resources: `requests_in_flight` at once,
    `requests_per_second`, and no request at all while a `Retry-After` lasts. Nothing happens before the first request.
    dlt's keys in `[runtime]` (`request_max_attempts`, ...) win over the defaults above.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._attempts = int(_runtime("request_max_attempts", ATTEMPTS))
        self._backoff_factor = _runtime("request_backoff_factor", BACKOFF_FACTOR)
        self._longest_wait = _runtime("request_max_retry_delay", LONGEST_WAIT)
        patience = _runtime("request_timeout", TIMEOUT)
        self._timeout = aiohttp.ClientTimeout(total=None, sock_connect=patience, sock_read=patience)
        self._gap = 1 / settings.requests_per_second if settings.requests_per_second else 0.0
        self._in_flight = asyncio.Semaphore(settings.requests_in_flight)
        self._next_start = 0.0

    async def get(self, path: str, query: str, report: Report) -> Answer:
        """The answer to a GET request, after as many retries as are allowed.

        Args:
            path: Path under the base URL.
            query: Query string, encoded.
            report: Where the attempts are counted.

        Raises:
            NoAnswerError: The API cannot be reached, or breaks off in the middle of its answer.
        """
        base_url, token = self._target()
        where = f"{path}?{query}" if query else path
        for attempt in range(1, self._attempts + 1):
            outcome = await self._attempt(base_url, where, token, report)
            if isinstance(outcome, Answer) and outcome.status not in RETRIED_STATUSES:
                return outcome
            if attempt < self._attempts:
                ended = monotonic()
                await self._wait_after(outcome, attempt)
                report.retries += 1
                report.seconds_waited += monotonic() - ended
        if isinstance(outcome, Answer):
            return outcome
        raise outcome

    async def _attempt(self, base_url: str, where: str, token: str, report: Report) -> Answer | NoAnswerError:
        async with self._in_flight:
            while (wait := self._next_start - monotonic()) > 0:
                await pause(wait)
            self._next_start = monotonic() + self._gap
            report.requests += 1
            try:
                return await self._send(base_url, where, token)
            except (aiohttp.ClientError, OSError, TimeoutError, asyncio.TimeoutError) as error:
                return _no_answer(error, f"{base_url}{where}")

    async def _send(self, base_url: str, where: str, token: str) -> Answer:
        async with _client(os.getpid()).session.get(
            URL(base_url + where, encoded=True),
            headers={"Authorization": f"Bearer {token}"},
            proxy=_proxy(base_url),
            timeout=self._timeout,
        ) as response:
            headers = response.headers
            return Answer(
                where=where,
                token=token,
                status=response.status,
                reason=response.reason or "",
                content_type=headers.get("Content-Type", "no content type"),
                retry_after=headers.get("Retry-After"),
                body=await response.read(),
            )

    async def _wait_after(self, outcome: Answer | NoAnswerError, attempt: int) -> None:
        asked = _seconds(outcome.retry_after) if isinstance(outcome, Answer) else None
        if asked is None:
            await pause(min(self._backoff_factor * 2 ** (attempt - 1), self._longest_wait))
        else:
            # The API means the client, not this one request.
            wait = min(asked, self._longest_wait)
            self._next_start = max(self._next_start, monotonic() + wait)
            await pause(wait)

    def _target(self) -> tuple[str, str]:
        if self.settings.is_demo:
            return embedded_url(), DEMO_TOKEN
        return self.settings.base_url, self.settings.token


def in_background(coroutine: Coroutine[Any, Any, T]) -> "Future[T]":
    """Runs a coroutine on the event loop of the wire."""
    return asyncio.run_coroutine_threadsafe(coroutine, _client(os.getpid()).loop)


async def post(url: str, body: dict[str, str], patience: float) -> int:
    """Sends JSON to another service than the API, once; returns the status of the answer.

    Args:
        url: Where to. It is a secret, and in no error.
        body: What to send.
        patience: Seconds that the answer may take.

    Raises:
        NoAnswerError: There was none.
    """
    try:
        async with _client(os.getpid()).session.post(
            url,
            json=body,
            proxy=_proxy(url),
            allow_redirects=False,
            timeout=aiohttp.ClientTimeout(total=patience),
        ) as response:
            return response.status
    except (aiohttp.ClientError, OSError, TimeoutError, asyncio.TimeoutError) as error:
        problem = f"no answer ({type(error).__name__})"
    raise NoAnswerError(problem)


async def pause(seconds: float) -> None:
    """Waits, between attempts and for the rate limit."""
    await asyncio.sleep(seconds)


def _runtime(key: str, default: float) -> float:
    configured = dlt.config.get(f"runtime.{key}", float)
    return default if configured is None else float(configured)


def _seconds(retry_after: str | None) -> float | None:
    """What a Retry-After asks for: whole seconds or an HTTP date; `None` if it asks for nothing or makes no sense."""
    if retry_after is None:
        return None
    text = retry_after.strip()
    if text.isascii() and text.isdigit():
        seconds = float(text)
    else:
        try:
            seconds = (parsedate_to_datetime(text) - datetime.now(timezone.utc)).total_seconds()
        except (TypeError, ValueError):
            return None
    return seconds if seconds > 0 else None


def _no_answer(error: Exception, url: str) -> NoAnswerError:
    text = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, aiohttp.ClientPayloadError):
        if "content-encoding" in text:
            problem = f"The answer of {url} cannot be decoded: its Content-Encoding does not fit its body (a proxy?)."
        else:
            problem = f"The connection broke in the middle of an answer of {url}, in every attempt: {text}."
    else:
        problem = f"No answer from {url}: {text}. Check sources.analytics.base_url and the network."
    return NoAnswerError(problem)


@cache
def _proxy(base_url: str) -> str | None:
    """The proxy that the environment names for an URL, as `requests` reads it."""
    proxy: str | None = select_proxy(base_url, get_environ_proxies(base_url))
    return proxy


class _Client:
    """An event loop in a thread of its own, and connections that outlast a run."""

    def __init__(self) -> None:
        self.loop = _new_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, name="analytics-wire", daemon=True)
        self._thread.start()
        self.session = asyncio.run_coroutine_threadsafe(_open_session(), self.loop).result()
        atexit.register(self._close)

    def _close(self) -> None:
        asyncio.run_coroutine_threadsafe(self.session.close(), self.loop).result()
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()


@cache
def _client(_process: int) -> _Client:
    """One for the process; a fork has to make its own."""
    return _Client()


def _new_loop() -> asyncio.AbstractEventLoop:
    if sys.platform == "win32":
        return asyncio.new_event_loop()
    import uvloop  # noqa: PLC0415 - there is none for Windows

    loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    return loop


async def _open_session() -> aiohttp.ClientSession:
    # The certificates and their overriding variables are those of `requests`, which people know how to configure.
    bundle = os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("SSL_CERT_FILE") or certifi.where()
    connector = aiohttp.TCPConnector(limit=0, ssl=ssl.create_default_context(cafile=bundle))
    return aiohttp.ClientSession(
        connector=connector, cookie_jar=aiohttp.DummyCookieJar(), headers={"User-Agent": "analytics_assets"}
    )
