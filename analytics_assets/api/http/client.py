"""HTTP requests by pyreqwest, on an event loop in a thread of its own.

pyreqwest reads and writes in Rust, in another thread and without Python's lock. So a request costs Python a quarter of
what it costs with a client in Python, and a second core is used.

This module is imported with the first request, because definitions do not need it.
"""

import os
from collections.abc import Mapping
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
from analytics_assets.api.http.origin import is_loopback
from analytics_assets.api.http.redirects import KEEP_METHOD, REDIRECTS, follow, without, without_secrets
from analytics_assets.api.http.request import ApiRequest, Credentials
from analytics_assets.api.http.response import (
    ApiResponse,
    LargeResponseError,
    NoResponseError,
    RefusedResponseError,
    UnreachableError,
)
from analytics_assets.api.redaction import redact

BROKEN_OFF = "error reading a body from connection"
"""pyreqwest's message if the connection broke in the middle of a body; it is absent if the body itself is wrong."""

UNREACHABLE = (ConnectError, ConnectTimeoutError)
"""pyreqwest's errors if no connection comes about."""

MOST_HOPS = 10
"""Redirects that are followed for one request."""

WHOLE = 5
"""A whole response may take this many times the timeout of one piece of it."""

MOST_TOKEN_BYTES = 64_000
"""Most bytes of a token endpoint's response. Servers accept headers of about 16,000 bytes, so no token is longer."""

LONGEST_TYPE = 100
"""Characters of a content type that errors show."""


async def send(
    base_url: str, request: ApiRequest, credentials: Credentials, read_timeout: float, max_bytes: int
) -> ApiResponse:
    """Sends one request to the API. Follows redirects as long as they stay at the origin.

    Must run on the event loop of `event_loop`.

    Args:
        base_url: Base URL of the API.
        request: The request.
        credentials: What makes the API know the client. The response's texts lack it.
        read_timeout: Seconds to wait for a connection, and for each piece of the response. The whole response may take
            five times as long.
        max_bytes: Most bytes of the decoded body.

    Raises:
        NoResponseError: No response arrived, or not the whole of it; `UnreachableError` if not even a connection did.
        RefusedResponseError: The response leads to another origin, or exceeds `max_bytes`.
    """
    shown = request.path_and_query
    try:
        url = Url(base_url + shown)
    except ValueError as error:
        raise RefusedResponseError(f"The setting base_url = {base_url!r} is no URL: {error}.") from error
    if credentials.params:
        # A link of the API may repeat them.
        url, shown = without(url, credentials.params), redact(shown, credentials.secrets)
    for _ in range(MOST_HOPS + 1):
        signed = url.extend_query(credentials.params) if credentials.params else url
        builder = _client(url, read_timeout).request(request.method, signed)
        for name, value in (*request.headers, *credentials.headers.items()):
            builder = builder.header(name, value)
        if request.body is not None:
            builder = builder.header("Content-Type", "application/json").body_bytes(request.body)
        response, location = await _send(
            builder, str(url), shown, credentials.secrets, read_timeout, max_bytes, request.method
        )
        if location is None:
            return response
        if request.method != "GET" and response.status not in KEEP_METHOD:
            raise RefusedResponseError(
                f"{request.method} {shown} answered {response.status} {response.reason}, a redirect that turns it into"
                " a GET, without its body. Is the endpoint's path right, and the setting base_url?"
            )
        url = without(follow(url, location, response.status), credentials.params)
    raise RefusedResponseError(
        f"{request.method} {shown} was redirected more than {MOST_HOPS} times, at last to {without_secrets(url)}."
    )


async def post_for_token(url: str, body: bytes, headers: Mapping[str, str], read_timeout: float) -> ApiResponse:
    """Posts secrets, once. Returns a redirect as it is, because the secrets must go nowhere else.

    Must run on the event loop of `event_loop`.

    Args:
        url: URL of the token endpoint.
        body: The secrets, as a form or JSON.
        headers: Headers of the request.
        read_timeout: Seconds to wait for a connection, and for each piece of the response. The whole response may take
            five times as long.

    Raises:
        NoResponseError: No response arrived, or not the whole of it; `UnreachableError` if not even a connection did.
        RefusedResponseError: The response exceeds `MOST_TOKEN_BYTES`.
    """
    request = _client(Url(url), read_timeout).post(url).headers(headers).body_bytes(body)
    try:
        response, _ = await _send(request, url, url, (), read_timeout, MOST_TOKEN_BYTES, "POST")
    except LargeResponseError as error:
        raise RefusedResponseError(
            f"No token: {url} answered with more than {MOST_TOKEN_BYTES:,} bytes. Is the setting token_url the"
            " token endpoint?"
        ) from error
    return response


async def post(url: str, body: dict[str, str], read_timeout: float) -> int:
    """Posts JSON to another service than the API, once. Returns the status of the response.

    Must run on the event loop of `event_loop`.

    Args:
        url: URL of the service. It is a secret, so no error shows it.
        body: The JSON object.
        read_timeout: Seconds that the whole response may take.

    Raises:
        NoResponseError: No response arrived, or `url` is no URL.
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


async def _send(  # noqa: PLR0913, PLR0917 - a request, and the limits of its response
    request: RequestBuilder,
    url: str,
    shown_url: str,
    secrets: tuple[str, ...],
    read_timeout: float,
    max_bytes: int,
    method: str,
) -> tuple[ApiResponse, str | None]:
    """Returns the response, and the header `Location` if it is a redirect."""
    try:
        async with request.timeout(timedelta(seconds=WHOLE * read_timeout)).build_streamed() as received:
            length = read_header(received, "Content-Length") or ""
            if length.isdecimal() and int(length) > max_bytes:
                raise too_large(shown_url, max_bytes)
            # One byte too many shows that the body is too large, without reading the rest of it.
            raw = await received.body_reader.read(max_bytes + 1)
            body = decode(raw.to_bytes() if raw else b"", received, url, shown_url, max_bytes)
            del raw
    except RequestError as error:
        # The client quotes the URL, which may hold an API key.
        kind = UnreachableError if isinstance(error, UNREACHABLE) else NoResponseError
        raise kind(redact(_explain_failure(error, url, read_timeout), secrets)) from None
    except BuilderError as error:
        problem = redact(str(error), secrets)
        raise RefusedResponseError(f"{method} {shown_url} led to a URL that cannot be requested: {problem}") from None
    if isinstance(body, Exception):
        raise body
    location = read_header(received, "Location") if received.status in REDIRECTS else None
    response = ApiResponse(
        where=shown_url,
        secrets=secrets,
        method=method,
        headers=received.headers,
        status=received.status,
        reason=responses.get(received.status, ""),
        content_type=(read_header(received, "Content-Type") or "no content type")[:LONGEST_TYPE],
        retry_after=read_header(received, "Retry-After"),
        body=body,
    )
    return response, location


def _explain_failure(error: RequestError, url: str, read_timeout: float) -> str:
    causes = [cause["message"] for cause in error.details["causes"] or []]
    text = causes[-1] if causes else error.message
    if isinstance(error, ReadTimeoutError):
        return (
            f"The response of {url} did not come whole: {text}. It may take {WHOLE * read_timeout:g} s, and each piece"
            f" of it {read_timeout:g} s. If the API is so slow, raise runtime.request_timeout in .dlt/config.toml."
        )
    if not isinstance(error, BodyDecodeError | ReadError):
        # Without the path, all resources fail with the same text, which is then shown once.
        server = Url(url).origin_ascii if isinstance(error, UNREACHABLE) else url
        return f"No answer from {server}: {text}. Check the setting base_url and the network."
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
    """Builds a client. It uses the proxies of the environment, unless it is `direct`: for servers on this machine.

    Raises:
        AuthorityError: The environment names certificates that cannot be read.
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
        reason = (error.details["causes"] or [{"message": error.message}])[-1]["message"]
        raise AuthorityError(variable, f"has a certificate that cannot be read: {reason}") from error


def check_authorities() -> None:
    """Builds a client and drops it, so that unreadable certificates fail once, before the first request.

    Raises:
        AuthorityError: The environment names certificates that cannot be read.
    """
    if named_by():
        _build_client(timedelta(seconds=1), direct=True)
