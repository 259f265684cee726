"""Bearer tokens: one that was pasted, or those that an endpoint issues to a client (OAuth 2 client credentials)."""

import asyncio
import json
import math
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import Any

from analytics_assets.api.http.errors import PayloadError, StatusError, excerpt, is_page, shortened
from analytics_assets.api.http.response import ApiResponse
from analytics_assets.api.redaction import redact
from analytics_assets.api.settings import Settings
from analytics_assets.api.settings_reader import is_token

LEEWAY = 60.0
"""Seconds before its end at which a token is no longer used, so that it outlasts its request."""

LAST_ISSUED = 4
"""Tokens before the present one that no message may show either."""

LIFETIME = 3600.0
"""Seconds that a token lasts whose endpoint does not say, or not so that anybody could tell."""

MOST_KEYS = 8
"""Keys of a body without a token that an error names."""

Post = Callable[[str, dict[str, str]], Awaitable[ApiResponse]]


class Auth:
    """The token that requests carry. One that was issued is renewed before its end, and when the API refuses it.

    However many requests need a token at once, it is fetched once.

    Args:
        settings: Where tokens come from: a client, or the token itself.
        post: Posts a form to a URL.
    """

    def __init__(self, settings: Settings, post: Post) -> None:
        self._settings = settings
        self._token = None if settings.has_client else settings.token
        self._post = post
        self._renewed_at = math.inf
        self._fetching: asyncio.Task[str] | None = None
        self.issued: list[str] = []

    async def current(self) -> str:
        """The token to send.

        Raises:
            NoResponseError: The token endpoint cannot be reached.
            StatusError: It refuses.
            PayloadError: It answers something else than a token.
        """
        if self._token is not None and monotonic() < self._renewed_at:
            return self._token
        if self._fetching is None:
            self._fetching = asyncio.ensure_future(self._fetch())
            self._fetching.add_done_callback(self._forget)
        # One that no longer needs it does not take it from the others.
        return await asyncio.shield(self._fetching)

    async def after(self, refused: str) -> str | None:
        """Another token than one that the API refused, or `None` where there is none to be had."""
        if not self._settings.has_client:
            return None
        if self._token == refused:
            self._token = None
        return await self.current()

    async def _fetch(self) -> str:
        settings = self._settings
        form = {
            "grant_type": "client_credentials",
            "client_id": settings.client_id or "",
            "client_secret": settings.client_secret or "",
        }
        if settings.wanted_scope:
            form["scope"] = settings.wanted_scope
        asked = monotonic()
        response = await self._post(settings.token_endpoint, form)
        token, lifetime = _read_token(response, settings)
        # A run of days has many; those that are over open nothing.
        self.issued = [*self.issued[-LAST_ISSUED:], token]
        self._token = token
        self._renewed_at = asked + lifetime - min(LEEWAY, lifetime / 2)
        return token

    def _forget(self, done: "asyncio.Task[str]") -> None:
        self._fetching = None
        # Who waited for it has got its error.
        _ = done.cancelled() or done.exception()


def _read_token(response: ApiResponse, settings: Settings) -> tuple[str, float]:
    """The token and the seconds that it lasts."""
    where = f"POST {settings.token_endpoint} answered {response.status} {response.reason}"
    body = unreadable = None
    try:
        # The standard library's, as it reads NaN and numbers of any length.
        body = json.loads(response.body, parse_int=float)
    except ValueError as error:
        unreadable = str(error)
    except RecursionError:
        unreadable = "nested too deeply"
    found: dict[str, Any] = body if isinstance(body, dict) else {}
    if response.status >= 300:
        advice = _explain_refusal(response.status, found.get("error"), settings)
        shown = excerpt(response, settings.secrets())
        raise StatusError(f"No token: {where}. {advice} Its body begins: {shown}", response.status)
    if unreadable:
        page = " It looks like a page, to log in at perhaps." if is_page(response) else ""
        raise PayloadError(
            f"No token: {where} with {response.content_type} of {len(response.body)} bytes, which are not JSON:"
            f" {unreadable}.{page} Is sources.analytics.token_url the token endpoint?"
        )
    token = found.get("access_token")
    if not isinstance(token, str) or not token:
        raise PayloadError(f"No token: {where} with JSON, but {_describe_lack(body, settings)}")
    if not is_token(token):
        raise PayloadError(f"No token: {where} with one that has a space, a line break or the like in it.")
    return token, _read_lifetime(found.get("expires_in"))


def _describe_lack(body: object, settings: Settings) -> str:
    """What a body has instead of a token, and what to do."""
    if not isinstance(body, dict):
        lack = f"it is {type(body).__name__} instead of an object"
    elif isinstance(error := body.get("error"), str):
        # Some endpoints refuse with a status that says otherwise.
        return redact(
            f"with the error {shortened(error)}. {_explain_refusal(200, error, settings)}", settings.secrets()
        )
    elif "access_token" in body:
        lack = "its access_token is no text, or empty"
    else:
        lack = f"without an access_token: found the keys [{', '.join(map(shortened, sorted(body)[:MOST_KEYS]))}]"
    return redact(f"{lack}. Is sources.analytics.token_url the token endpoint?", settings.secrets())


def _read_lifetime(said: object) -> float:
    """The seconds that a token lasts. It is used whatever the endpoint says of its end."""
    try:
        lifetime = float(said) if isinstance(said, str | float) else LIFETIME
    except ValueError:
        return LIFETIME
    return lifetime if 0 < lifetime < math.inf else LIFETIME


def _explain_refusal(status: int, error: object, settings: Settings) -> str:
    hosts = ", ".join(settings.wire_format.hosts)
    if error == "invalid_scope":
        return (
            f"The client may not have the scope {settings.wanted_scope!r}: allow it where the client is registered, or"
            " set sources.analytics.scope to one that it has."
        )
    # No set: what JSON holds may be nothing that one can look for in it.
    if error in ("unauthorized_client", "unsupported_grant_type"):
        return "The client may not use client credentials: allow this grant where the client is registered."
    if status == 404:
        regions = f" (the hosts are {hosts})" if hosts else ""
        return (
            f"There is no such client: either base_url is the host of another region than the client's{regions}, or"
            " sources.analytics.client_id is wrong, or token_url is."
        )
    if status in {400, 401, 403} or error == "invalid_client":
        return "The client is not accepted: check sources.analytics.client_secret, and client_id."
    return "Check sources.analytics.token_url."
