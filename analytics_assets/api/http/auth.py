"""Bearer tokens: one pasted into the settings, or those that a client fetches (OAuth 2 client credentials)."""

import asyncio
import json
import math
from collections.abc import Awaitable, Callable, Mapping
from time import monotonic
from typing import Any
from urllib.parse import urlencode

from analytics_assets.api.http.errors import (
    PayloadError,
    TokenStatusError,
    excerpt,
    is_page,
    kind_of,
    name_keys,
    shortened,
)
from analytics_assets.api.http.request import ApiRequest, Credentials
from analytics_assets.api.http.response import ApiResponse
from analytics_assets.api.redaction import redact
from analytics_assets.api.settings import Settings, is_token

LEEWAY = 60.0
"""Seconds before its expiry at which a token is renewed, so that it outlasts the request that carries it."""

LAST_ISSUED = 4
"""Earlier tokens that messages redact besides the present one."""

LIFETIME = 3600.0
"""Seconds that a token is assumed to last if the endpoint sends no usable `expires_in`."""

Post = Callable[[str, bytes, Mapping[str, str]], Awaitable[ApiResponse]]
"""Posts a body with headers to a URL."""

FORM = {"Content-Type": "application/x-www-form-urlencoded"}


class Auth:
    """The token that requests carry. A fetched token is renewed before it expires, and when the API refuses it.

    If several requests need a new token at the same time, it is fetched once.

    Args:
        settings: Hold the token, or the client that fetches tokens.
        post: Posts the form of a client.
    """

    def __init__(self, settings: Settings, post: Post) -> None:
        self._settings = settings
        self._token = None if settings.has_client else settings.token
        self._post = post
        self._credentials = Credentials()
        self._renewed_at = math.inf
        self._fetching: asyncio.Task[str] | None = None
        self.issued: list[str] = []

    async def sign(self, _request: ApiRequest) -> Credentials:
        """Returns the credentials of a request.

        Raises:
            NoResponseError, RefusedResponseError, TokenStatusError, PayloadError: No token can be fetched (see
                `current`).
        """
        token = await self.current()
        if token not in self._credentials.secrets:
            self._credentials = Credentials({"Authorization": f"Bearer {token}"}, secrets=(token,))
        return self._credentials

    async def current(self) -> str:
        """Returns the token to send.

        Raises:
            NoResponseError: The token endpoint cannot be reached.
            RefusedResponseError: The response of the token endpoint is too large.
            TokenStatusError: The token endpoint refuses the client.
            PayloadError: The response of the token endpoint holds no token.
        """
        if self._token is not None and monotonic() < self._renewed_at:
            return self._token
        if self._fetching is None:
            self._fetching = asyncio.ensure_future(self._fetch())
            self._fetching.add_done_callback(self._forget)
        # The shield: a request that is cancelled must not cancel the fetch for the others.
        return await asyncio.shield(self._fetching)

    def forget(self, refused: Credentials) -> bool:
        """Forgets the token that the API refused, so that another is fetched. Returns whether that can help."""
        if self._token in refused.secrets and self._settings.has_client:
            self._token = None
        return self._settings.has_client

    async def _fetch(self) -> str:
        settings = self._settings
        form = {
            "grant_type": "client_credentials",
            "client_id": settings.client_id or "",
            "client_secret": settings.client_secret or "",
        }
        if settings.wanted_scope:
            form["scope"] = settings.wanted_scope
        requested_at = monotonic()
        response = await self._post(settings.token_endpoint, urlencode(form).encode(), FORM)
        token, lifetime = _read_token(response, settings)
        # A long run fetches many tokens. Expired ones open nothing, so only the last few have to be redacted.
        self.issued = [*self.issued[-LAST_ISSUED:], token]
        self._token = token
        self._renewed_at = requested_at + lifetime - min(LEEWAY, lifetime / 2)
        return token

    def _forget(self, done: "asyncio.Task[str]") -> None:
        self._fetching = None
        # Marks the error as retrieved: the requests that waited for the token have raised it.
        _ = done.cancelled() or done.exception()


def _read_token(response: ApiResponse, settings: Settings) -> tuple[str, float]:
    """Returns the token and the seconds that it lasts."""
    answered = f"POST {settings.token_endpoint} answered {response.status} {response.reason}"
    body = unreadable = None
    try:
        # The standard library's parser, because it accepts NaN and numbers of any length.
        body = json.loads(response.body, parse_int=float)
    except ValueError as error:
        unreadable = str(error)
    except RecursionError:
        unreadable = "nested too deeply"
    found: dict[str, Any] = body if isinstance(body, dict) else {}
    if response.status >= 300:
        advice = _explain_refusal(response.status, found.get("error"), settings)
        shown = excerpt(response, settings.secrets())
        raise TokenStatusError(f"No token: {answered}. {advice} Its body begins: {shown}", response.status)
    if unreadable:
        raise no_json(answered, response, unreadable, settings)
    token = found.get("access_token")
    if not isinstance(token, str) or not token:
        raise PayloadError(f"No token: {answered} with JSON, but {_describe_lack(body, settings)}")
    if not is_token(token):
        raise PayloadError(f"No token: {answered} with one that has a space, a line break or the like in it.")
    return token, read_lifetime(found.get("expires_in"))


def no_json(answered: str, response: ApiResponse, reason: str, settings: Settings) -> PayloadError:
    """Returns the error of a token endpoint that sent something else than JSON."""
    page = " It looks like a page, to log in at perhaps." if is_page(response) else ""
    return PayloadError(
        f"No token: {answered} with {response.content_type} of {len(response.body)} bytes, which are not JSON:"
        f" {reason}.{page} Is {settings.connector.setting('token_url')} the token endpoint?"
    )


def _describe_lack(body: object, settings: Settings) -> str:
    """Says what a body holds instead of a token, and what to do."""
    if not isinstance(body, dict):
        lack = f"it is {kind_of(body)} instead of an object"
    elif isinstance(error := body.get("error"), str):
        # Some endpoints refuse a client with status 200.
        return redact(
            f"with the error {shortened(error)}. {_explain_refusal(200, error, settings)}", settings.secrets()
        )
    elif "access_token" in body:
        lack = "its access_token is no text, or empty"
    else:
        lack = f"without an access_token: found {name_keys(body)}"
    return redact(f"{lack}. Is {settings.connector.setting('token_url')} the token endpoint?", settings.secrets())


def read_lifetime(expires_in: object) -> float:
    """Returns the seconds that a token lasts: `LIFETIME` if `expires_in` is unusable, as the token works anyway."""
    try:
        lifetime = float(expires_in) if isinstance(expires_in, str | float) else LIFETIME
    except ValueError:
        return LIFETIME
    return lifetime if 0 < lifetime < math.inf else LIFETIME


def _explain_refusal(status: int, error: object, settings: Settings) -> str:
    hosts = ", ".join(settings.wire_format.hosts)
    if error == "invalid_scope":
        return (
            f"The client may not have the scope {settings.wanted_scope!r}: allow it where the client is registered, or"
            f" set {settings.connector.setting('scope')} to one that it has."
        )
    # A tuple, not a set: `error` is any JSON value, and a list or an object cannot be looked up in a set.
    if error in ("unauthorized_client", "unsupported_grant_type"):
        return "The client may not use client credentials: allow this grant where the client is registered."
    if status == 404:
        regions = f" (the hosts are {hosts})" if hosts else ""
        return (
            f"There is no such client: either base_url is the host of another region than the client's{regions}, or"
            f" {settings.connector.setting('client_id')} is wrong, or token_url is."
        )
    if status in {400, 401, 403} or error == "invalid_client":
        secret = settings.connector.setting("client_secret")
        return f"The client is not accepted: check {secret}, and client_id."
    return f"Check {settings.connector.setting('token_url')}."
