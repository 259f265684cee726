"""The fields of dlt's auth classes: which setting fills each, and which of them are secret."""

import copy
from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

import dlt
from dlt.common.configuration.specs.base_configuration import is_secret_hint
from dlt.common.typing import is_optional_type
from dlt.sources.helpers.rest_client.auth import AuthConfigBase, OAuth2ClientCredentials, OAuthJWTAuth

from analytics_assets.api.settings import TOKEN_URLS, Settings

FILLED_BY = {
    "token": "api_key",
    "api_key": "api_key",
    "username": "client_id",
    "client_id": "client_id",
    "password": "client_secret",
    "client_secret": "client_secret",
    "access_token_url": "token_url",
    "auth_endpoint": "token_url",
    "scopes": "scope",
}
"""Setting that fills a field of an auth class, by field. Any other field that is not set is read from dlt's secrets, by
its own name."""

FETCHED = {OAuth2ClientCredentials: "access_token", OAuthJWTAuth: "token"}
"""Field in which a class that fetches tokens keeps the token."""


def resolve_auth(settings: Settings) -> AuthConfigBase:
    """Returns a copy of the dialect's auth instance that has its secrets.

    Raises:
        SettingsError: A secret is missing, or the auth class needs packages that are not installed.
    """
    declared = settings.wire_format.auth
    assert declared is not None  # noqa: S101 - asked for such dialects only
    if isinstance(declared, OAuthJWTAuth) and not (find_spec("jwt") and find_spec("cryptography")):
        remedy = "Install them: pip install 'analytics-assets[jwt]'."
        problem = "signs its requests for tokens, which takes the packages PyJWT and cryptography"
        raise settings.error("dialect", problem, settings.dialect, remedy)
    auth = copy.copy(declared)
    for name, hint in declared.get_resolvable_fields().items():
        if name in FETCHED.values() and name == token_field(auth):
            continue
        value = _find(name, getattr(declared, name, None), settings)
        if value is not None:
            setattr(auth, name, value)
        elif not is_optional_type(hint):
            key = FILLED_BY.get(name, name)
            problem = f"is missing: it is the {name} of {type(auth).__name__}, with which the dialect signs requests"
            raise settings.error(key, problem)
    if isinstance(auth, OAuth2ClientCredentials) and settings.wanted_scope:
        auth.access_token_request_data = {"scope": settings.wanted_scope} | (auth.access_token_request_data or {})
        if settings.scope:
            auth.access_token_request_data["scope"] = settings.scope
    return auth


def _find(name: str, declared: object, settings: Settings) -> Any:  # noqa: ANN401 - as the field has it
    key = FILLED_BY.get(name)
    if name in TOKEN_URLS:
        has_endpoint = settings.token_url or declared or settings.wire_format.token_path
        return settings.token_endpoint if has_endpoint else None
    if key == "scope":
        return settings.scope or declared or settings.wanted_scope
    if key:
        return getattr(settings, key) or declared
    return declared if declared is not None else dlt.secrets.get(settings.connector.setting(name))


def token_field(auth: AuthConfigBase) -> str | None:
    """Returns the field in which an auth instance keeps a token that it fetches; `None` if it fetches none."""
    return next((name for kind, name in FETCHED.items() if isinstance(auth, kind)), None)


def credential_keys(auth: AuthConfigBase, settings: Settings) -> list[str]:
    """Returns the names of the settings with the credentials of an auth class, for messages."""
    names = [name for name in auth.get_resolvable_fields() if name != token_field(auth)]
    keys = dict.fromkeys(FILLED_BY[name] for name in names if name in FILLED_BY)
    return [settings.connector.setting(key) for key in keys if key not in {"token_url", "scope"}]


def secret_values(auth: AuthConfigBase) -> list[str]:
    """Returns the secrets of an auth instance. What is secret, its type says; beside them an id may be half of one."""
    hints: Mapping[str, Any] = auth.get_resolvable_fields()
    values = [getattr(auth, name, None) for name, hint in hints.items() if is_secret_hint(hint)]
    return [value for value in values if isinstance(value, str) and value]
