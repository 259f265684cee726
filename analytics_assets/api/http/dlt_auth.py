"""Credentials by one of dlt's auth classes, which a dialect names without its secrets."""

import asyncio
import json
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import requests
from dlt.sources.helpers.rest_client.auth import AuthConfigBase

from analytics_assets.api.http.auth import LAST_ISSUED, LEEWAY, Post, no_json, read_lifetime
from analytics_assets.api.http.auth_fields import credential_keys, resolve_auth, secret_values, token_field
from analytics_assets.api.http.errors import PayloadError, StatusError, TokenStatusError, excerpt, name_keys
from analytics_assets.api.http.event_loop import run_in_background
from analytics_assets.api.http.origin import origin_of
from analytics_assets.api.http.request import ApiRequest, Credentials
from analytics_assets.api.http.response import NoResponseError, RefusedResponseError
from analytics_assets.api.settings import TOKEN_URLS, Settings, SettingsError

LONGEST_LIFETIME = 10 * 365 * 24 * 3600
"""Seconds that dlt is told at most, because its calendar ends."""

OURS = (StatusError, PayloadError, NoResponseError, RefusedResponseError, SettingsError)
"""Errors that say by themselves what happened."""


class DltAuth:
    """Signs requests with an auth instance of dlt. A fetched token is fetched anew when the API refuses it.

    The instance is called with a request as `requests` prepares it, and what it changes is what is sent: headers and
    parameters. An instance that fetches tokens is called in a thread, and its session is replaced by one that posts
    by the transport.

    Args:
        settings: Hold the dialect, and the secrets.
        post: Posts a body with headers to a URL.

    Raises:
        SettingsError: A secret is missing, or the auth class needs packages that are not installed.
    """

    def __init__(self, settings: Settings, post: Post) -> None:
        self._settings = settings
        self._auth = resolve_auth(settings)
        self._token_field = token_field(self._auth)
        self._lock = asyncio.Lock()
        self._session = _TokenSession(self._auth, settings, post, self.secrets)
        self.issued: list[str] = [*secret_values(self._auth)]
        self._given = len(self.issued)
        if self._token_field:
            setattr(self._auth, "session", self._session)  # noqa: B010 - it stands for a session of requests

    def secrets(self) -> list[str | None]:
        """Values that no message may show."""
        return [*self._settings.secrets(), *self.issued]

    async def sign(self, request: ApiRequest) -> Credentials:
        """Returns the credentials of a request.

        Raises:
            NoResponseError, RefusedResponseError, TokenStatusError, PayloadError: No token can be fetched.
        """
        if self._token_field is None:
            return self._sign(request)
        # The shield: a request that is cancelled leaves the instance to the thread that uses it.
        return await asyncio.shield(asyncio.ensure_future(self._sign_in_turn(request)))

    def forget(self, refused: Credentials) -> bool:
        """Forgets the token that the API refused, so that another is fetched. Returns whether that can help."""
        if self._token_field and getattr(self._auth, self._token_field) in refused.secrets:
            setattr(self._auth, self._token_field, None)
        return self._token_field is not None

    async def _sign_in_turn(self, request: ApiRequest) -> Credentials:
        async with self._lock:
            return await asyncio.to_thread(self._sign, request)

    def _sign(self, request: ApiRequest) -> Credentials:
        url = self._settings.base_url + request.path_and_query
        prepared = requests.Request(request.method, url, headers=dict(request.headers), data=request.body).prepare()
        headers, before = dict(prepared.headers), _pairs(prepared.url)
        failed = None
        try:
            signed = self._auth(prepared)
        except OURS:
            raise
        except Exception as error:  # noqa: BLE001 - its text may hold a secret
            failed = type(error).__name__
        if failed:
            raise PayloadError(self._explain(failed))
        if self._token_field and getattr(self._auth, self._token_field) in {None, "", "None"}:
            setattr(self._auth, self._token_field, None)
            raise PayloadError(self._session.explain_lack())
        added = {name: str(value) for name, value in signed.headers.items() if headers.get(name) != value}
        params = tuple(_pairs(signed.url)[len(before) :])
        # A header may begin with the name of its scheme, which is no secret.
        secrets = (*(value.rpartition(" ")[2] for value in added.values()), *(value for _, value in params))
        credentials = Credentials(added, params, secrets)
        for name, value in added.items():
            if not value.isascii() or not value.isprintable():
                raise PayloadError(
                    f"No credentials: the header {name} would have a line break or another character that no header"
                    f" has. {self._advice()}"
                )
        self._remember(credentials)
        return credentials

    def _explain(self, failed: str) -> str:
        if answered := self._session.answered:
            return f"No token: {type(self._auth).__name__} could not read what {answered} sent ({failed})."
        return f"No credentials: {type(self._auth).__name__} failed with {failed}. {self._advice()}"

    def _advice(self) -> str:
        others = [name for name in self._auth.get_resolvable_fields() if name == "private_key"]
        setting = self._settings.connector.setting
        keys = [*credential_keys(self._auth, self._settings), *map(setting, others)]
        return f"Check {', '.join(keys) or 'its fields'}."

    def _remember(self, credentials: Credentials) -> None:
        new = [value for value in credentials.secrets if value not in self.issued]
        fixed, issued = self.issued[: self._given], self.issued[self._given :]
        self.issued = [*fixed, *[*issued, *new][-LAST_ISSUED - 1 :]]


class _TokenSession:
    """Stands for the `requests` session of an auth instance. Its requests have the transport's retries and limits."""

    def __init__(
        self, auth: AuthConfigBase, settings: Settings, post: Post, secrets: Callable[[], list[str | None]]
    ) -> None:
        self._settings = settings
        self._post = post
        self._secrets = secrets
        urls = [getattr(auth, name, None) for name in TOKEN_URLS]
        self._origins = {origin_of(settings.base_url), *(origin_of(url) for url in urls if url)}
        self._body: object = None
        self.answered = ""

    def post(self, url: str, **options: Any) -> requests.Response:  # noqa: ANN401 - as requests has it
        """Posts a request for a token, and returns the response, which has no error status and holds JSON."""
        kept = {name: options[name] for name in ("headers", "data", "json", "params", "auth") if name in options}
        prepared = requests.Request("POST", url, **kept).prepare()
        if origin_of(url) not in self._origins:
            raise RefusedResponseError(
                f"No token: the credentials would go to {origin_of(url) or 'no http URL'}, which is neither the host of"
                f" {self._settings.connector.setting('token_url')} nor that of base_url."
            )
        headers = {name: value for name, value in prepared.headers.items() if name != "Content-Length"}
        body = prepared.body or b""
        sent = self._post(str(prepared.url), body.encode() if isinstance(body, str) else body, headers)
        response = run_in_background(_as_coroutine(sent)).result()
        self.answered = f"POST {url} answered {response.status} {response.reason}"
        if response.status >= 300:
            shown = excerpt(response, self._secrets())
            raise TokenStatusError(
                f"No token: {self.answered}. Check the client's id and secret, and"
                f" {self._settings.connector.setting('token_url')}. Its body begins: {shown}",
                response.status,
            )
        received = requests.Response()
        received.status_code = response.status
        received.url = url
        received.headers.update(dict(response.headers.items()))
        unreadable = None
        try:
            self._body = _decode(response.body)
        except ValueError as error:
            unreadable = str(error)
        except RecursionError:
            unreadable = "nested too deeply"
        if unreadable:
            raise no_json(self.answered, response, unreadable, self._settings)
        received._content = json.dumps(self._body).encode()  # noqa: SLF001 - requests has no way to make a response
        return received

    def explain_lack(self) -> str:
        """Returns the message of a response without a token."""
        found = name_keys(self._body) if isinstance(self._body, dict) else "no object"
        return (
            f"No token: {self.answered} with JSON, but without an access_token: found {found}. Is"
            f" {self._settings.connector.setting('token_url')} the token endpoint?"
        )


async def _as_coroutine(sent: Any) -> Any:  # noqa: ANN401 - an awaitable of anything
    return await sent


def _decode(body: bytes) -> Any:  # noqa: ANN401 - as JSON has it
    """Decodes the body of a token endpoint. A lifetime is as dlt can read it, and ends early enough to be renewed."""
    found = json.loads(body)
    if isinstance(found, dict) and "expires_in" in found:
        given = found["expires_in"]
        lifetime = min(read_lifetime(float(given) if isinstance(given, int) else given), LONGEST_LIFETIME)
        found["expires_in"] = int(lifetime - min(LEEWAY, lifetime / 2))
    return found


def _pairs(url: str | None) -> list[tuple[str, str]]:
    return parse_qsl(urlsplit(url or "").query, keep_blank_values=True)
