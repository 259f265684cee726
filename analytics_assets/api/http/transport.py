"""The transport: limits the requests in flight and their rate, retries them with backoff, and counts them.

dlt would read one page after another through `requests`, with its own retries. Here pages are fetched ahead in the
background instead, so retries and limits apply to each of these requests.
"""

import asyncio
import math
import os
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from time import monotonic
from typing import TYPE_CHECKING, Any, TypeVar

import dlt

from analytics_assets.api.http.auth import Auth
from analytics_assets.api.http.dlt_auth import DltAuth
from analytics_assets.api.http.event_loop import background
from analytics_assets.api.http.request import ApiRequest, Credentials
from analytics_assets.api.http.response import ApiResponse, NoResponseError
from analytics_assets.api.settings import HEADROOM, Settings, SettingsError
from analytics_assets.api.stats import SyncStats

if TYPE_CHECKING:
    from analytics_assets.api.http.shared_rate import SharedRate

T = TypeVar("T")

RETRIED_STATUSES = frozenset({429, 500, 502, 503, 504})
"""Statuses that the specification says to retry. dlt's default would retry every 5xx."""

ATTEMPTS = 4
"""Attempts of a request: the first one and the specification's three retries. dlt's key counts attempts, too."""

BACKOFF_FACTOR = 2.0
"""Seconds before the first retry, from the specification; doubled for each further one: 2, 4 and 8 seconds."""

LONGEST_WAIT = 300.0
"""Most seconds before a retry, even if `Retry-After` asks for more."""

TIMEOUT = 60.0
"""Seconds to wait for a connection, and for each piece of a response."""


class Transport:
    """The way to the API that all listings of a run share: credentials, retries and limits.

    The limits hold for the API, whatever the number of resources and of workers. This worker has its part of
    `requests_in_flight`, and of `requests_per_second` unless a server shares it out, and sends no request at all while
    a `Retry-After` lasts. dlt's keys in `[runtime]` (`request_max_attempts`, ...) win over the constants of this
    module. The constructor sends nothing.

    Raises:
        SettingsError: The environment names certificate authorities that cannot be read, a key of `[runtime]` is no
            number that makes sense, or a credential is missing.
    """

    def __init__(self, settings: Settings) -> None:
        from analytics_assets.api.http import client  # noqa: PLC0415 - definitions need no HTTP

        client.check_authorities()
        self.settings = settings
        self._attempts = int(_runtime("request_max_attempts", ATTEMPTS, least=1))
        self._backoff_factor = _runtime("request_backoff_factor", BACKOFF_FACTOR)
        self._longest_wait = _runtime("request_max_retry_delay", LONGEST_WAIT)
        self._timeout = _runtime("request_timeout", TIMEOUT, least=0.001)
        workers, rate = settings.workers or 1, settings.requests_per_second
        self._shared_rate = _shared_rate(settings) if settings.rate_limit_url else None
        self._interval = HEADROOM * workers / rate if rate and not self._shared_rate else 0.0
        self._in_flight = asyncio.Semaphore(max(1, settings.requests_in_flight // workers))
        self._next_start = 0.0
        self._auth = DltAuth(settings, self._post) if settings.wire_format.auth else Auth(settings, self._post)

    async def send(self, request: ApiRequest, stats: SyncStats, max_bytes: int) -> ApiResponse:
        """Sends a request. Retries it as often as `[runtime]` allows, and once more with a new token after a 401.

        A response with any other error status is returned, not raised.

        Args:
            request: The request, without credentials.
            stats: Stats in which the attempts are counted.
            max_bytes: Most bytes of the decoded body.

        Raises:
            NoResponseError: The API cannot be reached, or its response breaks off.
            RefusedResponseError: The response leads to another origin, or exceeds `max_bytes`.
            TokenStatusError: The token endpoint refuses the client.
            PayloadError: The token endpoint sends no token.
        """
        from analytics_assets.api.http import client  # noqa: PLC0415 - definitions need no HTTP

        async def attempt(credentials: Credentials) -> ApiResponse:
            base_url, timeout = self.settings.base_url, self._timeout
            return await self._retry(lambda: client.send(base_url, request, credentials, timeout, max_bytes), stats)

        credentials = await self._auth.sign(request)
        response = await attempt(credentials)
        if response.status == 401 and self._auth.forget(credentials):
            renewed = await self._auth.sign(request)
            stats.retries += 1
            response = await attempt(renewed)
        return response

    def secrets(self) -> list[str | None]:
        """Values that no message may show: secret settings, and the tokens that were issued."""
        return [*self.settings.secrets(), *self._auth.issued]

    async def _post(self, url: str, body: bytes, headers: Mapping[str, str]) -> ApiResponse:
        from analytics_assets.api.http import client  # noqa: PLC0415 - definitions need no HTTP

        # Stats of their own: the token serves the whole run, so no resource counts its requests.
        return await self._retry(lambda: client.post_for_token(url, body, headers, self._timeout), SyncStats())

    async def _retry(self, send: Callable[[], Awaitable[ApiResponse]], stats: SyncStats) -> ApiResponse:
        began = monotonic()
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
            return replace(outcome, attempts=self._attempts, seconds=monotonic() - began)
        raise outcome

    async def _attempt(
        self, send: Callable[[], Awaitable[ApiResponse]], stats: SyncStats
    ) -> ApiResponse | NoResponseError:
        await self._in_flight.acquire()
        try:
            await self._wait_for_turn(stats)
        except NoResponseError as error:
            self._in_flight.release()
            return error
        except BaseException:
            self._in_flight.release()
            raise
        self._next_start = monotonic() + self._interval
        stats.requests += 1
        began = monotonic()
        # The API works on a request that was sent even if nobody needs the response any more. So the request counts as
        # in flight until its response has come, and a cancellation does not end it.
        sent = asyncio.ensure_future(send())
        sent.add_done_callback(self._land)
        try:
            response = await asyncio.shield(sent)
        except NoResponseError as error:
            return error
        stats.count_response(response.status, monotonic() - began)
        return response

    async def _wait_for_turn(self, stats: SyncStats) -> None:
        why = "its turn (requests_per_second, or Retry-After of another request)"
        while True:
            while (wait := self._next_start - monotonic()) > 0:
                with stats.waiting(why, wait):
                    await pause(wait)
            if self._shared_rate is None:
                return
            with stats.waiting(why, 0):
                await self._shared_rate.acquire()
            # A `Retry-After` that came meanwhile is heeded, and then this turn is over.
            if self._next_start <= monotonic():
                return

    def _land(self, sent: "asyncio.Future[ApiResponse]") -> None:
        self._in_flight.release()
        # Marks the error as retrieved: `_attempt` raises it, unless it was cancelled.
        _ = sent.cancelled() or sent.exception()

    async def _wait_after(self, outcome: ApiResponse | NoResponseError, attempt: int, stats: SyncStats) -> None:
        retry_after = _read_retry_after(outcome.retry_after) if isinstance(outcome, ApiResponse) else None
        backoff = self._backoff_factor * 2 ** (attempt - 1)
        wait = min(backoff if retry_after is None else retry_after, self._longest_wait)
        if retry_after is not None:
            # The API limits the client, not this one request, so all requests wait.
            self._next_start = max(self._next_start, monotonic() + wait)
        why = f"{outcome.status} {outcome.reason}" if isinstance(outcome, ApiResponse) else "no answer"
        hint = "" if retry_after is None else ", as Retry-After asks"
        with stats.waiting(f"retry {attempt} of {self._attempts - 1} after {why}{hint}", wait):
            await pause(wait)


async def pause(seconds: float) -> None:
    """Waits before a retry, or for the rate limit. A function of its own, so that tests can skip the wait."""
    await asyncio.sleep(seconds)


def _shared_rate(settings: Settings) -> "SharedRate":
    from analytics_assets.api.http.shared_rate import SharedRate  # noqa: PLC0415 - its packages are optional

    found = background(os.getpid()).shared_rates
    return found.setdefault(
        (settings.rate_limit_url, settings.base_url, settings.requests_per_second), SharedRate(settings)
    )


def _runtime(key: str, default: float, least: float = 0.0) -> float:
    """Returns a number of dlt's section `[runtime]`."""
    configured: Any = dlt.config.get(f"runtime.{key}")
    try:
        value = default if configured is None else float(configured)
    except (TypeError, ValueError):
        value = math.nan
    if not least <= value < math.inf:
        raise SettingsError(
            ("runtime",),
            key,
            f"is not a number from {least:g}",
            configured,
            f"Correct it in [runtime] of .dlt/config.toml, or as RUNTIME__{key.upper()} in the environment.",
        )
    return value


def _read_retry_after(header: str | None) -> float | None:
    """Returns the seconds of a `Retry-After`, which holds whole seconds or an HTTP date; `None` if it is no use."""
    if header is None:
        return None
    text = header.strip()
    if text.isascii() and text.isdigit():
        seconds = float(text)
    else:
        try:
            seconds = (parsedate_to_datetime(text) - datetime.now(UTC)).total_seconds()
        except (TypeError, ValueError, OverflowError):
            return None
    return seconds if seconds > 0 else None
