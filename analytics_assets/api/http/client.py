"""HTTP by pyreqwest, on an event loop in a thread of its own.

The bytes on the wire are Rust's work, in another thread and without Python's lock: a request costs Python a quarter of
what it does with a client in Python, and the other core is used.

Imported with the first request, as definitions can do without.
"""

import os
from datetime import timedelta
from http.client import responses

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

from analytics_assets.api.http.certificates import AuthorityError, named_by, read_certificates
from analytics_assets.api.http.decoding import decode, not_decodable, read_header, too_large
from analytics_assets.api.http.event_loop import background
from analytics_assets.api.http.origin import DEFAULT_PORTS, is_loopback
from analytics_assets.api.http.response import ApiResponse, LargeResponseError, NoResponseError, RefusedResponseError

BROKEN_OFF = "error reading a body from connection"
"""Among the causes of an error in the middle of a body, if it is not the body itself that is wrong."""

REDIRECTS = frozenset({301, 302, 303, 307, 308})

MOST_HOPS = 10
"""Redirects of one request that are followed."""

WHOLE = 5
"""How many times as long as for a piece of it is waited for a whole answer."""

MOST_TOKEN_BYTES = 64_000
"""Bytes of the answer of a token endpoint. Servers take no longer header than some 16,000."""

LONGEST_PLACE = 200
"""Characters of the URL that a redirect leads to that are shown."""

LONGEST_TYPE = 100
"""Characters of a content type that are shown."""


async def get(base_url: str, where: str, token: str, read_timeout: float, most: int) -> ApiResponse:
    """Sends one GET request, on that event loop. Redirects are followed as long as they stay at the origin.

    Args:
        base_url: Base URL of the API.
        where: Path and query, encoded.
        token: Bearer token.
        read_timeout: Seconds to wait for a connection, and for each piece of the answer; the whole may take five times
            as long.
        most: Bytes of the answer's decoded body.

    Raises:
        NoResponseError: There is none, or not a whole one.
        RefusedAnswerError: It leads to another origin, or is larger than it may be.
    """
    try:
        url = Url(base_url + where)
    except ValueError as error:
        raise RefusedResponseError(f"sources.analytics.base_url = {base_url!r} is no URL: {error}.") from error
    for _ in range(MOST_HOPS + 1):
        request = _client(url, read_timeout).get(url).bearer_auth(token)
        response, leads_to = await _ask(request, str(url), where, token, read_timeout, most)
        if leads_to is None:
            return response
        url = _follow(url, leads_to, response.status)
    raise RefusedResponseError(f"GET {where} was redirected more than {MOST_HOPS} times, at last to {_place(url)}.")


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
    raise RefusedResponseError(
        f"{_place(url)} answered {status} {responses[status]}, which leads to"
        f" {'no URL' if target is None else _place(target)}. Redirects are followed within the origin only, as the"
        " token belongs to it: check sources.analytics.base_url, and that nothing answers in the API's place."
    )


def _place(url: Url) -> str:
    """A URL as far as a message may show it."""
    return f"{url.scheme}://{url.authority.rpartition('@')[2]}{url.path}"[:LONGEST_PLACE]


async def post_form(url: str, form: dict[str, str], read_timeout: float) -> ApiResponse:
    """Posts a form with secrets in it, on that event loop. They go nowhere else: redirects are answers.

    Args:
        url: Where to.
        form: What to send.
        read_timeout: As for `get`.

    Raises:
        NoResponseError: There is no answer, or not a whole one.
        RefusedAnswerError: It is larger than any answer with a token.
    """
    request = _client(Url(url), read_timeout).post(url).form(form)
    try:
        response, _ = await _ask(request, url, url, "", read_timeout, MOST_TOKEN_BYTES)
    except LargeResponseError as error:
        raise RefusedResponseError(
            f"No token: {url} answered with more than {MOST_TOKEN_BYTES:,} bytes. Is sources.analytics.token_url the"
            " token endpoint?"
        ) from error
    return response


async def post(url: str, body: dict[str, str], read_timeout: float) -> int:
    """Sends JSON to another service than the API, once; returns the status of the answer.

    Args:
        url: Where to. It is a secret, and in no error.
        body: What to send.
        read_timeout: Seconds that the answer may take.

    Raises:
        NoResponseError: There was none, or it is no URL.
    """
    try:
        request = _client(Url(url), read_timeout).post(url).body_json(body).timeout(timedelta(seconds=read_timeout))
        async with request.build_streamed() as received:
            return received.status
    except AuthorityError as error:
        problem = str(error)
    except (RequestError, ValueError) as error:
        problem = "no answer in time" if isinstance(error, TimeoutError) else f"no answer ({type(error).__name__})"
    raise NoResponseError(problem)


async def _ask(  # noqa: PLR0913, PLR0917 - what a request is, and what its answer may be
    request: RequestBuilder, url: str, where: str, token: str, read_timeout: float, most: int
) -> tuple[ApiResponse, str | None]:
    """The answer, and where it leads if it is a redirect."""
    try:
        async with request.timeout(timedelta(seconds=WHOLE * read_timeout)).build_streamed() as received:
            length = read_header(received, "Content-Length") or ""
            if length.isdecimal() and int(length) > most:
                raise too_large(where, most)
            # One more than may come tells that there is more, which is then not read.
            raw = await received.body_reader.read(most + 1)
            body = decode(raw.to_bytes() if raw else b"", received, url, where, most)
            del raw
    except RequestError as error:
        raise NoResponseError(_problem(error, url, WHOLE * read_timeout)) from error
    except BuilderError as error:
        raise RefusedResponseError(f"GET {where} led to a URL that cannot be asked: {error}") from error
    if isinstance(body, Exception):
        raise body
    leads_to = read_header(received, "Location") if received.status in REDIRECTS else None
    response = ApiResponse(
        where=where,
        token=token,
        status=received.status,
        reason=responses.get(received.status, ""),
        content_type=(read_header(received, "Content-Type") or "no content type")[:LONGEST_TYPE],
        retry_after=read_header(received, "Retry-After"),
        body=body,
    )
    return response, leads_to


def _problem(error: RequestError, url: str, read_timeout: float) -> str:
    causes = [cause["message"] for cause in error.details["causes"] or []]
    text = causes[-1] if causes else error.message
    if isinstance(error, ReadTimeoutError):
        return (
            f"The answer of {url} did not come whole: {text}. It may take {read_timeout:g} s, and each piece of it"
            f" {read_timeout / WHOLE:g} s: runtime.request_timeout."
        )
    if not isinstance(error, BodyDecodeError | ReadError):
        # What cannot be reached cannot, whatever the path: eight resources then fail in the same words.
        asked = Url(url).origin_ascii if isinstance(error, ConnectError | ConnectTimeoutError) else url
        return f"No answer from {asked}: {text}. Check sources.analytics.base_url and the network."
    if BROKEN_OFF in causes:
        return f"The connection broke in the middle of an answer of {url}, in every attempt: {text}."
    return not_decodable(url, text)


def _client(url: Url, read_timeout: float) -> Client:
    clients = background(os.getpid()).clients
    key = (read_timeout, is_loopback(url.host_str or ""))
    if key not in clients:
        clients[key] = _build_client(timedelta(seconds=read_timeout), direct=key[1])
    return clients[key]


def _build_client(read_timeout: timedelta, *, direct: bool) -> Client:
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
        .connect_timeout(read_timeout)
        .read_timeout(read_timeout)
        .follow_redirects(False)  # noqa: FBT003
        .add_root_certificate_pem(read_certificates())
    )
    variable = named_by()
    try:
        return (builder.no_proxy() if direct else builder).build()
    except BuilderError as error:
        if variable is None:
            raise
        why = (error.details["causes"] or [{"message": error.message}])[-1]["message"]
        raise AuthorityError(variable, f"has a certificate that cannot be read: {why}") from error


def check_authorities() -> None:
    """Sees that there can be a client, so that what hinders all requests is said once, and before the first.

    Raises:
        AuthorityError: The environment names certificates that are none.
    """
    if named_by():
        _build_client(timedelta(seconds=1), direct=True)
