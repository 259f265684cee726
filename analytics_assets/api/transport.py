"""The HTTP session: retries with backoff, a rate limit, and counts of what went over the wire."""

import threading
import time
import weakref
from functools import cache
from typing import Any

import dlt
from dlt.sources.helpers.requests import Client
from requests import PreparedRequest, Response, Session
from requests.adapters import HTTPAdapter

from analytics_assets.api.report import Report
from analytics_assets.api.settings import Settings

RETRIED_STATUSES = (429, 500, 502, 503, 504)
"""The specification's list; dlt's own default retries every 5xx."""

ATTEMPTS = 4
"""The specification's three retries, as dlt counts."""

BACKOFF_FACTOR = 2.0
"""The specification's factor, as dlt reads it: waits of 2, 4 and 8 seconds."""

LONGEST_WAIT = 300.0
"""Seconds that a Retry-After is honoured for at most."""

TIMEOUT = 60.0
"""Seconds to wait for a connection, and for each piece of an answer."""


def open_session(settings: Settings, report: Report) -> Session:
    """A session that retries, keeps to the rate limit and counts into `report`.

    dlt's keys in `[runtime]` (`request_max_attempts`, ...) win over the defaults above.
    """
    client = Client(
        raise_for_status=False,
        status_codes=RETRIED_STATUSES,
        request_max_attempts=int(_runtime("request_max_attempts", ATTEMPTS)),
        request_backoff_factor=_runtime("request_backoff_factor", BACKOFF_FACTOR),
        request_max_retry_delay=_runtime("request_max_retry_delay", LONGEST_WAIT),
        request_timeout=_runtime("request_timeout", TIMEOUT),
    )
    session: Session = client.session
    adapter = _Adapter(report, _rate_limit(settings.requests_per_second))
    session.mount("http://", adapter)
    session.mount("https://", adapter)
    return session


def _runtime(key: str, default: float) -> float:
    configured = dlt.config.get(f"runtime.{key}", float)
    return default if configured is None else float(configured)


class _RateLimit:
    """Spaces requests evenly, over all threads and sessions that share it."""

    def __init__(self, per_second: float | None) -> None:
        self._gap = 1 / per_second if per_second else 0.0
        self._lock = threading.Lock()
        self._next = 0.0

    def wait(self) -> None:
        if not self._gap:
            return
        with self._lock:
            now = time.monotonic()
            pause = max(0.0, self._next - now)
            self._next = max(now, self._next) + self._gap
        time.sleep(pause)


@cache
def _rate_limit(per_second: float | None) -> _RateLimit:
    """One budget a process, whatever the number of resources, as the API sees one client."""
    return _RateLimit(per_second)


class _Adapter(HTTPAdapter):
    def __init__(self, report: Report, rate_limit: _RateLimit) -> None:
        super().__init__()
        self._report = report
        self._rate_limit = rate_limit
        self._ended: weakref.WeakKeyDictionary[PreparedRequest, float] = weakref.WeakKeyDictionary()

    def __deepcopy__(self, memo: dict[int, Any]) -> "_Adapter":
        """Itself: dlt copies the configuration to validate it, and a copy could not share the counts and the limit."""
        return self

    def send(self, request: PreparedRequest, *args: Any, **kwargs: Any) -> Response:  # noqa: ANN401 - as requests has it
        """Sends one attempt; a retry is the same request once more."""
        self._rate_limit.wait()
        self._report.requests += 1
        if request in self._ended:
            self._report.retries += 1
            self._report.seconds_waited += time.monotonic() - self._ended[request]
        try:
            return super().send(request, *args, **kwargs)
        finally:
            self._ended[request] = time.monotonic()
