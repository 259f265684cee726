"""The wire: requests in flight, retries with backoff, a rate limit, and counts of what went over it.

dlt reads one page after another through `requests`. Here the pages are fetched ahead of it, in the background, and that
is where retries and limits belong: they are per request on the wire.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import Future
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from time import monotonic
from typing import Any, TypeVar

import dlt

from analytics_assets.api.answer import Answer, NoAnswerError
from analytics_assets.api.report import Report
from analytics_assets.api.settings import Settings
from analytics_assets.api.tokens import Tokens
from analytics_assets.demo.server import DEMO_CREDENTIALS, embedded_url

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


class Wire:
    """The way to the API that all resources of a run share: its credentials, its limits.

    Limits are those of the run, whatever the number of resources: `requests_in_flight` at once,
    `requests_per_second`, and no request at all while a `Retry-After` lasts. Nothing is sent before the first request.
    dlt's keys in `[runtime]` (`request_max_attempts`, ...) win over the defaults above.

    Raises:
        SettingsError: The environment names authorities of one's own, and there are none.
    """

    def __init__(self, settings: Settings) -> None:
        from analytics_assets.api import client  # noqa: PLC0415 - definitions need no HTTP

        client.check_authorities()
        if settings.is_demo:
            settings = settings.copy()
            # What is configured for a real API is not for this one.
            nothing = dict.fromkeys(("api_key", "client_id", "client_secret", "token_url", "scope"))
            demo = {"base_url": embedded_url(settings.dialect), **DEMO_CREDENTIALS[settings.dialect]}
            settings.update({**nothing, **demo})
        self.settings = settings
        self._attempts = int(_runtime("request_max_attempts", ATTEMPTS))
        self._backoff_factor = _runtime("request_backoff_factor", BACKOFF_FACTOR)
        self._longest_wait = _runtime("request_max_retry_delay", LONGEST_WAIT)
        self._timeout = _runtime("request_timeout", TIMEOUT)
        self._gap = 1 / settings.requests_per_second if settings.requests_per_second else 0.0
        self._in_flight = asyncio.Semaphore(settings.requests_in_flight)
        self._next_start = 0.0
        self._tokens = Tokens(settings, self._post)

    async def get(self, path: str, query: str, report: Report, most: int) -> Answer:
        """The answer to a GET request, after as many retries as are allowed, and one more with a new token on a 401.

        Args:
            path: Path under the base URL.
            query: Query string, encoded.
            report: Where the attempts are counted.
            most: Bytes that the answer may have.

        Raises:
            NoAnswerError: The API cannot be reached, or breaks off in the middle of its answer.
            RefusedAnswerError: The answer leads to another origin, or is larger than it may be.
            StatusError: There is no token to be had.
            PayloadError: Likewise.
        """
        from analytics_assets.api import client  # noqa: PLC0415 - definitions need no HTTP

        where = f"{path}?{query}" if query else path

        async def send(token: str) -> Answer:
            base_url, patience = self.settings.base_url, self._timeout
            return await self._retry(lambda: client.get(base_url, where, token, patience, most), report)

        answer = await send(await self._tokens.current())
        if answer.status == 401 and (token := await self._tokens.after(answer.token)):
            report.retries += 1
            answer = await send(token)
        return answer

    def secrets(self) -> list[str | None]:
        """Values that no message may show."""
        return [*self.settings.secrets(), *self._tokens.issued]

    async def _post(self, url: str, form: dict[str, str]) -> Answer:
        from analytics_assets.api import client  # noqa: PLC0415 - definitions need no HTTP

        # Of the run, not of the resource that happens to need a token first.
        return await self._retry(lambda: client.post_form(url, form, self._timeout), Report())

    async def _retry(self, send: Callable[[], Awaitable[Answer]], report: Report) -> Answer:
        for attempt in range(1, self._attempts + 1):
            outcome = await self._attempt(send, report)
            if isinstance(outcome, Answer) and outcome.status not in RETRIED_STATUSES:
                return outcome
            if attempt < self._attempts:
                ended = monotonic()
                await self._wait_after(outcome, attempt, report)
                report.retries += 1
                report.seconds_waited += monotonic() - ended
        if isinstance(outcome, Answer):
            return outcome
        raise outcome

    async def _attempt(self, send: Callable[[], Awaitable[Answer]], report: Report) -> Answer | NoAnswerError:
        await self._in_flight.acquire()
        try:
            while (wait := self._next_start - monotonic()) > 0:
                with report.waiting("its turn (requests_per_second, or Retry-After of another request)", wait):
                    await pause(wait)
        except asyncio.CancelledError:
            self._in_flight.release()
            raise
        self._next_start = monotonic() + self._gap
        report.requests += 1
        # Also when nobody needs its answer any more, the API is at work on a request that was sent: it counts as one
        # in flight until it is answered.
        sent = asyncio.ensure_future(send())
        sent.add_done_callback(self._land)
        try:
            return await asyncio.shield(sent)
        except NoAnswerError as error:
            return error

    def _land(self, sent: "asyncio.Future[Answer]") -> None:
        self._in_flight.release()
        # What went wrong is raised where it was asked for, if it still is.
        _ = sent.cancelled() or sent.exception()

    async def _wait_after(self, outcome: Answer | NoAnswerError, attempt: int, report: Report) -> None:
        asked = _seconds(outcome.retry_after) if isinstance(outcome, Answer) else None
        wait = min(self._backoff_factor * 2 ** (attempt - 1) if asked is None else asked, self._longest_wait)
        if asked is not None:
            # The API means the client, not this one request.
            self._next_start = max(self._next_start, monotonic() + wait)
        why = f"{outcome.status} {outcome.reason}" if isinstance(outcome, Answer) else "no answer"
        hint = "" if asked is None else ", as Retry-After asks"
        with report.waiting(f"retry {attempt} of {self._attempts - 1} after {why}{hint}", wait):
            await pause(wait)


def in_background(coroutine: Coroutine[Any, Any, T]) -> "Future[T]":
    """Runs a coroutine where the wire's requests run."""
    from analytics_assets.api import client  # noqa: PLC0415 - definitions need no HTTP

    return client.run(coroutine)


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
