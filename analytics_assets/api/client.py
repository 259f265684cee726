"""HTTP by pyreqwest, on an event loop in a thread of its own.

The bytes on the wire are Rust's work, in another thread and without Python's lock: a request costs Python a quarter of
what it does with a client in Python, and the other core is used.

Imported with the first request, as definitions can do without.
"""

import asyncio
import atexit
import os
import sys
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from datetime import timedelta
from functools import cache
from http.client import responses
from pathlib import Path
from typing import Any, TypeVar

import certifi
from pyreqwest.client import Client, ClientBuilder
from pyreqwest.exceptions import BodyDecodeError, RequestError
from pyreqwest.request import RequestBuilder

from analytics_assets.api.answer import Answer, NoAnswerError

T = TypeVar("T")

BROKEN_OFF = "error reading a body from connection"
"""Among the causes of an error in the middle of a body, if it is not the body itself that is wrong."""


def run(coroutine: Coroutine[Any, Any, T]) -> "Future[T]":
    """Runs a coroutine on the event loop of this process."""
    return asyncio.run_coroutine_threadsafe(coroutine, _background(os.getpid()).loop)


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
    url = base_url + where
    request = _client(patience, redirects=True).get(url).bearer_auth(token)
    return await _ask(request, url, where=where, token=token)


async def post_form(url: str, form: dict[str, str], patience: float) -> Answer:
    """Posts a form with secrets in it, on that event loop. They go nowhere else: redirects are answers.

    Args:
        url: Where to.
        form: What to send.
        patience: Seconds to wait for a connection, and for each piece of the answer.

    Raises:
        NoAnswerError: There is no answer, or not a whole one.
    """
    request = _client(patience, redirects=False).post(url).form(form)
    return await _ask(request, url, where=url, token="")


async def post(url: str, body: dict[str, str], patience: float) -> int:
    """Sends JSON to another service than the API, once; returns the status of the answer.

    Args:
        url: Where to. It is a secret, and in no error.
        body: What to send.
        patience: Seconds that the answer may take.

    Raises:
        NoAnswerError: There was none, or it is no URL.
    """
    try:
        request = _client(patience, redirects=False).post(url).body_json(body).timeout(timedelta(seconds=patience))
        response = await request.build().send()
    except (RequestError, ValueError) as error:
        problem = "no answer in time" if isinstance(error, TimeoutError) else f"no answer ({type(error).__name__})"
    else:
        return response.status
    raise NoAnswerError(problem)


async def _ask(request: RequestBuilder, url: str, *, where: str, token: str) -> Answer:
    try:
        response = await request.build().send()
        body = await response.bytes()
    except RequestError as error:
        raise NoAnswerError(_problem(error, url)) from error
    return Answer(
        where=where,
        token=token,
        status=response.status,
        reason=responses.get(response.status, ""),
        content_type=response.get_header("Content-Type") or "no content type",
        retry_after=response.get_header("Retry-After"),
        body=body.to_bytes(),
    )


def _problem(error: RequestError, url: str) -> str:
    causes = [cause["message"] for cause in error.details["causes"] or []]
    text = causes[-1] if causes else error.message
    if not isinstance(error, BodyDecodeError):
        return f"No answer from {url}: {text}. Check sources.analytics.base_url and the network."
    if BROKEN_OFF in causes:
        return f"The connection broke in the middle of an answer of {url}, in every attempt: {text}."
    return f"The answer of {url} cannot be decoded: its Content-Encoding does not fit its body (a proxy?): {text}."


class _Background:
    """An event loop in a thread of its own, and connections that outlast a run."""

    def __init__(self) -> None:
        self.loop = _new_loop()
        self.clients: dict[tuple[float, bool], Client] = {}
        self._thread = threading.Thread(target=self.loop.run_forever, name="analytics-wire", daemon=True)
        self._thread.start()
        atexit.register(self._close)

    def _close(self) -> None:
        for client in self.clients.values():
            asyncio.run_coroutine_threadsafe(client.close(), self.loop).result()
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()


@cache
def _background(_process: int) -> _Background:
    """One for the process.

    In a fork of a process that has used its own, pyreqwest refuses to make another: better than to wait for a thread
    that is not there.
    """
    return _Background()


def _client(patience: float, *, redirects: bool) -> Client:
    clients = _background(os.getpid()).clients
    key = (patience, redirects)
    if key not in clients:
        clients[key] = _build_client(timedelta(seconds=patience), redirects=redirects)
    return clients[key]


def _build_client(patience: timedelta, *, redirects: bool) -> Client:
    """A client that reads proxies from the environment.

    Beside the system's certificates it trusts those of `requests`, whose variables people know how to set.
    """
    bundle = os.environ.get("REQUESTS_CA_BUNDLE") or certifi.where()
    return (
        ClientBuilder()
        .user_agent("analytics_assets")
        .connect_timeout(patience)
        .read_timeout(patience)
        .follow_redirects(redirects)
        .referer(False)  # noqa: FBT003 - pyreqwest's
        .add_root_certificate_pem(Path(bundle).read_bytes())
        .build()
    )


def _new_loop() -> asyncio.AbstractEventLoop:
    if sys.platform == "win32":
        return asyncio.new_event_loop()
    import uvloop  # noqa: PLC0415 - there is none for Windows

    loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    return loop
