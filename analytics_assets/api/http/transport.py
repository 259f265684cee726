"""The wire: requests in flight, retries with backoff, a rate limit, and counts of what went over it.

dlt reads one page after another through `requests`. Here the pages are fetched ahead of it, in the background, and that
is where retries and limits belong: they are per request on the wire.
"""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from time import monotonic
from typing import TypeVar

import dlt

from analytics_assets.api.http.auth import Auth
from analytics_assets.api.http.response import ApiResponse, NoResponseError
from analytics_assets.api.settings import Settings
from analytics_assets.api.stats import SyncStats

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


class Transport:
    """The way to the API that all resources of a run share: its credentials, its limits.

    Limits are those of the run, whatever the number of resources: `requests_in_flight` at once,
    `requests_per_second`, and no request at all while a `Retry-After` lasts. Nothing is sent before the first request.
    dlt's keys in `[runtime]` (`request_max_attempts`, ...) win over the defaults above.

    Raises:
        SettingsError: The environment names authorities of one's own, and there are none.
    """

    def __init__(self, settings: Settings) -> None:
        from analytics_assets.api.http import client  # noqa: PLC0415 - definitions need no HTTP

        client.check_authorities()
        self.settings = settings
        self._attempts = int(_runtime("request_max_attempts", ATTEMPTS))
        self._backoff_factor = _runtime("request_backoff_factor", BACKOFF_FACTOR)
        self._longest_wait = _runtime("request_max_retry_delay", LONGEST_WAIT)
        self._timeout = _runtime("request_timeout", TIMEOUT)
        self._gap = 1 / settings.requests_per_second if settings.requests_per_second else 0.0
        self._in_flight = asyncio.Semaphore(settings.requests_in_flight)
        self._next_start = 0.0
        self._tokens = Auth(settings, self._post)

    async def get(self, path: str, query: str, stats: SyncStats, most: int) -> ApiResponse:
        """The answer to a GET request, after as many retries as are allowed, and one more with a new token on a 401.

        Args:
            path: Path under the base URL.
            query: Query string, encoded.
            stats: Where the attempts are counted.
            most: Bytes that the answer may have.

        Raises:
            NoResponseError: The API cannot be reached, or breaks off in the middle of its answer.
            RefusedAnswerError: The answer leads to another origin, or is larger than it may be.
            StatusError: There is no token to be had.
            PayloadError: Likewise.
        """
        from analytics_assets.api.http import client  # noqa: PLC0415 - definitions need no HTTP

        where = f"{path}?{query}" if query else path

        async def send(token: str) -> ApiResponse:
            base_url, timeout = self.settings.base_url, self._timeout
            return await self._retry(lambda: client.get(base_url, where, token, timeout, most), stats)

        response = await send(await self._tokens.current())
        if response.status == 401 and (token := await self._tokens.after(response.token)):
            stats.retries += 1
            response = await send(token)
        return response

    def secrets(self) -> list[str | None]:
        """Values that no message may show."""
        return [*self.settings.secrets(), *self._tokens.issued]

    async def _post(self, url: str, form: dict[str, str]) -> ApiResponse:
        from analytics_assets.api.http import client  # noqa: PLC0415 - definitions need no HTTP

        # Of the run, not of the resource that happens to need a token first.
        return await self._retry(lambda: client.post_form(url, form, self._timeout), SyncStats())

    async def _retry(self, send: Callable[[], Awaitable[ApiResponse]], stats: SyncStats) -> ApiResponse:
        for attempt in range(1, self._attempts + 1):
            outcome = await self._attempt(send, stats)
            if isinstance(outcome, ApiResponse) and outcome.status not in RETRIED_STATUSES:
                return outcome
            if attempt < self._attempts:
                ended = monotonic()
                await self._wait_after(outcome, attempt, stats)
                stats.retries += 1
                stats.seconds_waited += monotonic() - ended
        if isinstance(outcome, ApiResponse):
            return outcome
        raise outcome

    async def _attempt(
        self, send: Callable[[], Awaitable[ApiResponse]], stats: SyncStats
    ) -> ApiResponse | NoResponseError:
        await self._in_flight.acquire()
        try:
            while (wait := self._next_start - monotonic()) > 0:
                with stats.waiting("its turn (requests_per_second, or Retry-After of another request)", wait):
                    await pause(wait)
        except asyncio.CancelledError:
            self._in_flight.release()
            raise
        self._next_start = monotonic() + self._gap
        stats.requests += 1
        # Also when nobody needs its answer any more, the API is at work on a request that was sent: it counts as one
        # in flight until it is answered.
        sent = asyncio.ensure_future(send())
        sent.add_done_callback(self._land)
        try:
            return await asyncio.shield(sent)
        except NoResponseError as error:
            return error

    def _land(self, sent: "asyncio.Future[ApiResponse]") -> None:
        self._in_flight.release()
        # What went wrong is raised where it was asked for, if it still is.
        _ = sent.cancelled() or sent.exception()

    async def _wait_after(self, outcome: ApiResponse | NoResponseError, attempt: int, stats: SyncStats) -> None:
        asked = _seconds(outcome.retry_after) if isinstance(outcome, ApiResponse) else None
        wait = min(self._backoff_factor * 2 ** (attempt - 1) if asked is None else asked, self._longest_wait)
        if asked is not None:
            # The API means the client, not this one request.
            self._next_start = max(self._next_start, monotonic() + wait)
        why = f"{outcome.status} {outcome.reason}" if isinstance(outcome, ApiResponse) else "no answer"
        hint = "" if asked is None else ", as Retry-After asks"
        with stats.waiting(f"retry {attempt} of {self._attempts - 1} after {why}{hint}", wait):
            await pause(wait)


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
            seconds = (parsedate_to_datetime(text) - datetime.now(UTC)).total_seconds()
        except (TypeError, ValueError, OverflowError):
            return None
    return seconds if seconds > 0 else None
