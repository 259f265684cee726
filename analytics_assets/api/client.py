"""HTTP by aiohttp, on an event loop in a thread of its own.

Imported with the first request, as that takes a third of a second, which definitions can do without.
"""

import asyncio
import atexit
import os
import ssl
import sys
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from functools import cache
from typing import Any, TypeVar

import aiohttp
import certifi
from requests.utils import get_environ_proxies, select_proxy
from yarl import URL

from analytics_assets.api.answer import Answer, NoAnswerError

T = TypeVar("T")


def run(coroutine: Coroutine[Any, Any, T]) -> "Future[T]":
    """Runs a coroutine on the event loop of this process."""
    return asyncio.run_coroutine_threadsafe(coroutine, _client(os.getpid()).loop)


async def get(base_url: str, where: str, token: str, patience: float) -> Answer:
    """Sends one GET request, on that event loop.

    Args:
        base_url: Base URL of the API.
        where: Path and query, encoded.
        token: Bearer token; goes to this host only, also if it redirects.
        patience: Seconds to wait for a connection, and for each piece of the answer.

    Raises:
        NoAnswerError: There is none, or not a whole one.
    """
    url = URL(base_url + where, encoded=True)
    headers = {"Authorization": f"Bearer {token}"}
    return await _ask("GET", url, patience, where=where, token=token, headers=headers, proxy=_proxy(base_url))


async def post_form(url: str, form: dict[str, str], patience: float) -> Answer:
    """Posts a form with secrets in it, on that event loop. They go nowhere else: redirects are answers.

    Args:
        url: Where to.
        form: What to send.
        patience: Seconds to wait for a connection, and for each piece of the answer.

    Raises:
        NoAnswerError: There is no answer, or not a whole one.
    """
    return await _ask(
        "POST", URL(url), patience, where=url, token="", data=form, proxy=_proxy(url), allow_redirects=False
    )


async def _ask(method: str, url: URL, patience: float, *, where: str, token: str, **options: Any) -> Answer:  # noqa: ANN401 - aiohttp's
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=patience, sock_read=patience)
    try:
        async with _client(os.getpid()).session.request(method, url, timeout=timeout, **options) as response:
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
    except (aiohttp.ClientError, OSError, TimeoutError, asyncio.TimeoutError) as error:
        raise NoAnswerError(_problem(error, str(url))) from error


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


def _problem(error: Exception, url: str) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    if not isinstance(error, aiohttp.ClientPayloadError):
        return f"No answer from {url}: {text}. Check sources.analytics.base_url and the network."
    if "content-encoding" in text:
        return f"The answer of {url} cannot be decoded: its Content-Encoding does not fit its body (a proxy?)."
    return f"The connection broke in the middle of an answer of {url}, in every attempt: {text}."


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
