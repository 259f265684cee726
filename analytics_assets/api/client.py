"""HTTP by pyreqwest, on an event loop in a thread of its own.

The bytes on the wire are Rust's work, in another thread and without Python's lock: a request costs Python a quarter of
what it does with a client in Python, and the other core is used.

Imported with the first request, as definitions can do without.
"""

import asyncio
import atexit
import os
import re
import sys
import threading
import zlib
from collections.abc import Coroutine, Iterator
from concurrent.futures import Future
from datetime import timedelta
from functools import cache
from http.client import responses
from pathlib import Path
from typing import Any, TypeVar

import certifi
from pyreqwest.client import Client, ClientBuilder
from pyreqwest.exceptions import (
    BodyDecodeError,
    BuilderError,
    ConnectError,
    ConnectTimeoutError,
    ReadError,
    ReadTimeoutError,
    RequestError,
)
from pyreqwest.http import Url
from pyreqwest.request import RequestBuilder
from pyreqwest.response import Response

from analytics_assets.api.answer import Answer, LargeAnswerError, NoAnswerError, RefusedAnswerError
from analytics_assets.api.origin import DEFAULT_PORTS, is_loopback
from analytics_assets.api.settings import SettingsError

T = TypeVar("T")

BROKEN_OFF = "error reading a body from connection"
"""Among the causes of an error in the middle of a body, if it is not the body itself that is wrong."""

REDIRECTS = frozenset({301, 302, 303, 307, 308})

MOST_HOPS = 10
"""Redirects of one request that are followed."""

WHOLE = 5
"""How many times as long as for a piece of it is waited for a whole answer."""

MOST_TOKEN_BYTES = 64_000
"""Bytes of the answer of a token endpoint. Servers take no longer header than some 16,000."""

MOST_EXPANSION = 500
"""Bytes that a byte on the wire may stand for in an answer of more than a megabyte. Rows reach a tenth of it; what is
made to fill a memory reaches a thousand."""

BUNDLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
"""The first that is not empty counts, as for `requests`."""

HASHED = re.compile(r"[0-9a-f]{8}\.\d+")
"""The name of a certificate's file in a directory of certificates; what is called otherwise is none of OpenSSL's."""

CERTIFICATE = re.compile(rb"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)

LONGEST_PLACE = 200
"""Characters of the URL that a redirect leads to that are shown."""

LONGEST_TYPE = 100
"""Characters of a content type that are shown."""

SMALL = 1_000_000
"""Bytes of an answer that do no harm, however they were compressed."""


def run(coroutine: Coroutine[Any, Any, T]) -> "Future[T]":
    """Runs a coroutine on the event loop of this process."""
    return asyncio.run_coroutine_threadsafe(coroutine, _background(os.getpid()).loop)


async def get(base_url: str, where: str, token: str, patience: float, most: int) -> Answer:
    """Sends one GET request, on that event loop. Redirects are followed as long as they stay at the origin.

    Args:
        base_url: Base URL of the API.
        where: Path and query, encoded.
        token: Bearer token.
        patience: Seconds to wait for a connection, and for each piece of the answer; the whole may take five times
            as long.
        most: Bytes of the answer's decoded body.

    Raises:
        NoAnswerError: There is none, or not a whole one.
        RefusedAnswerError: It leads to another origin, or is larger than it may be.
    """
    try:
        url = Url(base_url + where)
    except ValueError as error:
        raise RefusedAnswerError(f"sources.analytics.base_url = {base_url!r} is no URL: {error}.") from error
    for _ in range(MOST_HOPS + 1):
        request = _client(url, patience).get(url).bearer_auth(token)
        answer, leads_to = await _ask(request, str(url), where, token, patience, most)
        if leads_to is None:
            return answer
        url = _follow(url, leads_to, answer.status)
    raise RefusedAnswerError(f"GET {where} was redirected more than {MOST_HOPS} times, at last to {_place(url)}.")


def _follow(url: Url, leads_to: str, status: int) -> Url:
    """Where a redirect leads, if the token may go there: within the origin, or from http to https of the host."""
    try:
        target = url.join(leads_to)
    except ValueError:
        target = None
    if target is not None and target.scheme in DEFAULT_PORTS and not target.username and target.password is None:
        is_encrypted = (url.scheme, target.scheme) == ("http", "https") and url.host_str == target.host_str
        if is_encrypted or target.origin_ascii == url.origin_ascii:
            return target
    raise RefusedAnswerError(
        f"{_place(url)} answered {status} {responses[status]}, which leads to"
        f" {'no URL' if target is None else _place(target)}. Redirects are followed within the origin only, as the"
        " token belongs to it: check sources.analytics.base_url, and that nothing answers in the API's place."
    )


def _place(url: Url) -> str:
    """A URL as far as a message may show it."""
    return f"{url.scheme}://{url.authority.rpartition('@')[2]}{url.path}"[:LONGEST_PLACE]


async def post_form(url: str, form: dict[str, str], patience: float) -> Answer:
    """Posts a form with secrets in it, on that event loop. They go nowhere else: redirects are answers.

    Args:
        url: Where to.
        form: What to send.
        patience: As for `get`.

    Raises:
        NoAnswerError: There is no answer, or not a whole one.
        RefusedAnswerError: It is larger than any answer with a token.
    """
    request = _client(Url(url), patience).post(url).form(form)
    try:
        answer, _ = await _ask(request, url, url, "", patience, MOST_TOKEN_BYTES)
    except LargeAnswerError as error:
        raise RefusedAnswerError(
            f"No token: {url} answered with more than {MOST_TOKEN_BYTES:,} bytes. Is sources.analytics.token_url the"
            " token endpoint?"
        ) from error
    return answer


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
        request = _client(Url(url), patience).post(url).body_json(body).timeout(timedelta(seconds=patience))
        async with request.build_streamed() as response:
            return response.status
    except AuthorityError as error:
        problem = str(error)
    except (RequestError, ValueError) as error:
        problem = "no answer in time" if isinstance(error, TimeoutError) else f"no answer ({type(error).__name__})"
    raise NoAnswerError(problem)


async def _ask(  # noqa: PLR0913, PLR0917 - what a request is, and what its answer may be
    request: RequestBuilder, url: str, where: str, token: str, patience: float, most: int
) -> tuple[Answer, str | None]:
    """The answer, and where it leads if it is a redirect."""
    try:
        async with request.timeout(timedelta(seconds=WHOLE * patience)).build_streamed() as response:
            length = _header(response, "Content-Length") or ""
            if length.isdecimal() and int(length) > most:
                raise _too_large(where, most)
            # One more than may come tells that there is more, which is then not read.
            raw = await response.body_reader.read(most + 1)
            body = _decode(raw.to_bytes() if raw else b"", response, url, where, most)
            del raw
    except RequestError as error:
        raise NoAnswerError(_problem(error, url, WHOLE * patience)) from error
    except BuilderError as error:
        raise RefusedAnswerError(f"GET {where} led to a URL that cannot be asked: {error}") from error
    if isinstance(body, Exception):
        raise body
    leads_to = _header(response, "Location") if response.status in REDIRECTS else None
    answer = Answer(
        where=where,
        token=token,
        status=response.status,
        reason=responses.get(response.status, ""),
        content_type=(_header(response, "Content-Type") or "no content type")[:LONGEST_TYPE],
        retry_after=_header(response, "Retry-After"),
        body=body,
    )
    return answer, leads_to


def _decode(raw: bytes, response: Response, url: str, where: str, most: int) -> bytes | Exception:
    """The body without its compression, which is undone here so that it can be stopped; or what is wrong with it.

    An error that is raised keeps the body in memory for as long as anybody has the error.
    """
    encodings = [each.strip() for each in (_header(response, "Content-Encoding") or "").lower().split(",")]
    body = raw
    for encoding in reversed(encodings):
        if encoding not in {"gzip", "x-gzip", "deflate"} or not body:
            continue
        try:
            body, is_whole = _unpack(body, encoding, most)
        except zlib.error as error:
            return NoAnswerError(_not_decodable(url, str(error)))
        if len(body) > max(SMALL, MOST_EXPANSION * len(raw)):
            return RefusedAnswerError(
                f"{where} answered with {len(raw):,} bytes that unpack to more than {MOST_EXPANSION} times as many:"
                " nothing that holds rows does. Is this the API itself?"
            )
        if len(body) <= most and not is_whole:
            return NoAnswerError(_not_decodable(url, "it ends too early"))
    return body if len(body) <= most else _too_large(where, most)


def _unpack(packed: bytes, encoding: str, most: int) -> tuple[bytes, bool]:
    """What is packed, one byte more than `most` at most, and whether that is the whole of it."""
    # Of deflate there are two kinds: as the standard has it, and without a header.
    bare = encoding == "deflate" and (packed[0] & 0x0F != 8 or int.from_bytes(packed[:2]) % 31)
    body = b""
    while packed and len(body) <= most:
        unpack = zlib.decompressobj(-zlib.MAX_WBITS if bare else zlib.MAX_WBITS | 32)
        body += unpack.decompress(packed, most + 1 - len(body))
        if not unpack.eof:
            return body, False
        # gzip may have several members.
        packed = unpack.unused_data if encoding.endswith("gzip") else b""
    return body, not packed


def _header(response: Response, name: str) -> str | None:
    """A header; one that is no text counts as absent."""
    try:
        return response.get_header(name)
    except ValueError:
        return None


def _too_large(where: str, most: int) -> LargeAnswerError:
    return LargeAnswerError(
        f"{where} answered with more than {most / 1e6:g} MB. If the API's pages are really so large, set"
        " sources.analytics.page_size to less, or max_answer_mb to more."
    )


def _not_decodable(url: str, why: str) -> str:
    return f"The answer of {url} cannot be decoded: its Content-Encoding does not fit its body (a proxy?): {why}."


def _problem(error: RequestError, url: str, patience: float) -> str:
    causes = [cause["message"] for cause in error.details["causes"] or []]
    text = causes[-1] if causes else error.message
    if isinstance(error, ReadTimeoutError):
        return (
            f"The answer of {url} did not come whole: {text}. It may take {patience:g} s, and each piece of it"
            f" {patience / WHOLE:g} s: runtime.request_timeout."
        )
    if not isinstance(error, BodyDecodeError | ReadError):
        # What cannot be reached cannot, whatever the path: eight resources then fail in the same words.
        asked = Url(url).origin_ascii if isinstance(error, ConnectError | ConnectTimeoutError) else url
        return f"No answer from {asked}: {text}. Check sources.analytics.base_url and the network."
    if BROKEN_OFF in causes:
        return f"The connection broke in the middle of an answer of {url}, in every attempt: {text}."
    return _not_decodable(url, text)


class _Background:
    """An event loop in a thread of its own, and connections that outlast a run."""

    def __init__(self) -> None:
        self.loop = _new_loop()
        self.clients: dict[tuple[float, bool], Client] = {}
        self._thread = threading.Thread(target=self.loop.run_forever, name="analytics-wire", daemon=True)
        self._thread.start()
        atexit.register(self._close)

    def _close(self) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self.loop).result()
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()

    async def _end(self) -> None:
        # Of a process that was interrupted.
        left = asyncio.all_tasks() - {asyncio.current_task()}
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        for client in self.clients.values():
            await client.close()


@cache
def _background(_process: int) -> _Background:
    """One for the process.

    In a fork of a process that has used its own, pyreqwest refuses to make another: better than to wait for a thread
    that is not there.
    """
    return _Background()


def _client(url: Url, patience: float) -> Client:
    clients = _background(os.getpid()).clients
    key = (patience, is_loopback(url.host_str or ""))
    if key not in clients:
        clients[key] = _build_client(timedelta(seconds=patience), direct=key[1])
    return clients[key]


def _build_client(patience: timedelta, *, direct: bool) -> Client:
    """A client that reads proxies from the environment, unless it asks this machine, which is no proxy's business.

    Raises:
        AuthorityError: The environment names certificates that are none.
    """
    builder = (
        ClientBuilder()
        .user_agent("analytics_assets")
        .default_headers({"Accept-Encoding": "gzip, deflate"})
        .gzip(False)  # noqa: FBT003 - pyreqwest's
        .deflate(False)  # noqa: FBT003
        .connect_timeout(patience)
        .read_timeout(patience)
        .follow_redirects(False)  # noqa: FBT003
        .add_root_certificate_pem(_read_certificates())
    )
    variable = _named_by()
    try:
        return (builder.no_proxy() if direct else builder).build()
    except BuilderError as error:
        if variable is None:
            raise
        why = (error.details["causes"] or [{"message": error.message}])[-1]["message"]
        raise AuthorityError(variable, f"has a certificate that cannot be read: {why}") from error


class AuthorityError(SettingsError):
    """A variable of the environment that names no certificates to trust."""

    def __init__(self, variable: str, problem: str) -> None:
        ValueError.__init__(
            self,
            f"{variable} = {os.environ.get(variable)!r} {problem}. Set it to a PEM file with the certificates of the"
            " authorities to trust, or to a directory of such files that `openssl rehash` has named; or unset it.",
        )


def _named_by() -> str | None:
    """The variable that names authorities of one's own, if any does."""
    return next((name for name in BUNDLES if os.environ.get(name)), None)


def _read_certificates() -> bytes:
    """The certificates, in PEM: those that the environment names, or else those of `requests` itself.

    Raises:
        AuthorityError: There are none where it says.
    """
    variable = _named_by()
    if variable is None:
        return Path(certifi.where()).read_bytes()
    path = Path(os.environ[variable])
    try:
        texts = _read_directory(path) if path.is_dir() else [path.read_bytes()]
        found = {certificate[0]: None for text in texts for certificate in CERTIFICATE.finditer(text)}
    except OSError as error:
        raise AuthorityError(variable, f"cannot be read: {error.strerror}") from error
    if not found:
        where = "no file that is named by a hash, such as 9d66eef0.0, with a" if path.is_dir() else "no"
        raise AuthorityError(variable, f"has {where} certificate in it (-----BEGIN CERTIFICATE-----)")
    return b"\n".join(found)


def _read_directory(path: Path) -> Iterator[bytes]:
    for file in sorted(path.iterdir()):
        # A link that leads nowhere is passed over, as by OpenSSL: the system's own directory may have some.
        if HASHED.fullmatch(file.name) and file.is_file():
            yield file.read_bytes()


def check_authorities() -> None:
    """Sees that there can be a client, so that what hinders all requests is said once, and before the first.

    Raises:
        AuthorityError: The environment names certificates that are none.
    """
    if _named_by():
        _build_client(timedelta(seconds=1), direct=True)


def _new_loop() -> asyncio.AbstractEventLoop:
    if sys.platform == "win32":
        return asyncio.new_event_loop()
    import uvloop  # noqa: PLC0415 - there is none for Windows

    loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    return loop
