"""Reads the settings as dlt does, and checks them before any request."""

import re
from collections.abc import Collection
from datetime import UTC, datetime
from importlib.util import find_spec
from math import inf
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from dlt.common.configuration import resolve_configuration
from dlt.common.configuration.exceptions import ConfigValueCannotBeCoercedException, ValueNotSecretException

from analytics_assets.api.configured import configure
from analytics_assets.api.connector import SHIPPED, Connector
from analytics_assets.api.http.origin import is_loopback, origin_of, read_origins
from analytics_assets.api.misspelled import refuse_misspelled
from analytics_assets.api.settings import DEMO, SECRETS, TOKEN_URLS, Settings, SettingsError, forget_empty, is_token
from analytics_assets.api.values.timestamps import parse_timestamp

LEADS_ELSEWHERE = frozenset({"base_url", "token_url", "allow_http"})
"""Settings that decide where credentials go, and whether the connection is encrypted."""

MEMORY = re.compile(r"(?=.*[1-9])\s*\d+(\.\d+)?\s*[KMGT]i?B\s*", re.IGNORECASE)
"""A size as DuckDB spells it."""

SHORTEST_HASH_KEY = 16
"""Characters. With a key that can be guessed, the hashed values can be guessed, too."""

EARLIEST, LATEST = datetime(1500, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, tzinfo=UTC)
"""Bounds of a start or an end. Python's calendar covers the years 1 to 9999. Some steps go beyond a bound: a full sync
subtracts a thousand years, a time zone shifts it by hours, and a filter adds seconds."""

LONGEST_LAG = 200 * 365 * 24 * 3600
"""Seconds. A longer lag could lead from `EARLIEST` out of Python's calendar."""

TYPE_NAMES: dict[object, str] = {bool: "true or false", float: "a number", int: "a whole number", str: "a text"}
"""Types of settings in words, for error messages."""

DATES = f"is not an ISO 8601 date-time from {EARLIEST:%Y-%m-%d} to {LATEST:%Y-%m-%d}, such as 2024-01-01T00:00:00Z"
"""Problem of a text that `read_date` refuses, for error messages."""


def read_settings(
    connector: Connector = SHIPPED,
    by_run_config: Collection[str] = (),
    /,
    **explicit: Any,  # noqa: ANN401 - the values of the fields, which differ in type
) -> Settings:
    """Resolves the settings as dlt does, and checks them. The only I/O is to read `.dlt`.

    Args:
        connector: The API that the settings are for. That of the result is as it is configured (see `configure`).
        by_run_config: Names of those explicit values that come from run config. They may send the credentials only to
            the configured origin and to `allowed_hosts`.
        explicit: Values that win over dlt's configuration; `None` means not given.

    Raises:
        CatalogError: The connector has mistakes.
        SettingsError: A value is missing, malformed, unknown or out of bounds, a key is misspelled, or the credentials
            would be sent to an origin that is not allowed.
    """
    connector = configure(connector)
    refuse_misspelled(connector)
    given = {key: value for key, value in explicit.items() if value is not None}
    settings = _resolve(connector, given)
    if LEADS_ELSEWHERE.intersection(by_run_config):
        configured = _resolve(connector, {key: value for key, value in given.items() if key not in by_run_config})
        _check_origins(settings, configured)
        if "allow_http" in by_run_config:
            # Run config may turn encryption off only for origins that the configuration names in `allowed_hosts`.
            requested = {origin_of(settings.base_url), origin_of(settings.token_url or settings.base_url)}
            settings.allow_http = configured.allow_http or requested <= _read_allowed_hosts(configured)
    _check(settings)
    return settings


def _resolve(connector: Connector, given: dict[str, Any]) -> Settings:
    section = connector.section
    forget_empty(connector, Settings().get_resolvable_fields())
    try:
        settings = resolve_configuration(Settings(), sections=section, explicit_value=given)
    except ConfigValueCannotBeCoercedException as error:
        kind = TYPE_NAMES.get(error.hint, "of the right type")
        raise SettingsError(section, error.field_name, f"is not {kind}", error.field_value) from error
    except ValueNotSecretException as error:
        key = error.key.rpartition(".")[2]
        remedy = "Move it to .dlt/secrets.toml, which git ignores, or to the environment."
        raise SettingsError(
            section, key, f"is a secret, but {error.provider_name} contains it", remedy=remedy
        ) from error
    settings.connector = connector
    settings.dialect = settings.dialect or connector.dialects[0].name
    # Another connector's rows are not to be made up only because its section is misspelled.
    default = DEMO if connector.name == SHIPPED.name else ""
    settings.base_url = settings.base_url.strip().rstrip("/") or default
    for key in (*SECRETS, "token_url", "scope"):
        setattr(settings, key, (getattr(settings, key) or "").strip() or None)
    if isinstance(settings.read_copy, str):
        text = settings.read_copy.strip()
        # What comes from the environment is a text.
        settings.read_copy = {"true": True, "false": False, "": True}.get(text.lower(), text)
    return settings


def _check_origins(requested: Settings, configured: Settings) -> None:
    """Refuses run config that would send the configured credentials to an origin that is not allowed.

    Dagster's webserver has no authentication of its own, so anybody who reaches it can launch a run.
    """
    if requested.is_demo:
        return
    allowed = _read_allowed_hosts(configured)
    api_origins = {origin_of(configured.base_url)}
    urls = [("base_url", requested.base_url, api_origins)]
    if requested.token_url or requested.has_client:
        # `_check` refuses an unknown dialect, with a better message.
        declared = configured.token_endpoint if configured.dialect in configured.connector.dialects_by_name else ""
        token_origins = api_origins | {origin_of(declared)}
        urls.append(("token_url", requested.token_url or requested.base_url, token_origins))
    for key, url, known in urls:
        origin = origin_of(url)
        # `_check_url` refuses a text that is no URL, with a better message.
        if origin is not None and origin not in known | allowed:
            raise requested.error(
                key,
                "would have this run send credentials to another origin than the configured one",
                origin,
                "Run config may name demo, the configured origin, or one of"
                f" {requested.connector.setting('allowed_hosts')}, which is set in .dlt/config.toml or the"
                " environment.",
            )


def _read_allowed_hosts(settings: Settings) -> frozenset[str]:
    try:
        return read_origins(settings.allowed_hosts)
    except ValueError as error:
        raise settings.error("allowed_hosts", f"is no list of origins: {error}", settings.allowed_hosts) from error


def _check(settings: Settings) -> None:
    _read_allowed_hosts(settings)
    known = settings.connector.dialects_by_name
    if settings.dialect not in known:
        raise settings.error("dialect", f"is unknown; known: {', '.join(sorted(known))}", settings.dialect)
    if not settings.is_demo:
        _check_url(settings, "base_url", settings.base_url)
        _check_credentials(settings)
    try:
        read_date(settings.start_date)
    except ValueError as error:
        raise settings.error("start_date", DATES, settings.start_date) from error
    _check_page_size(settings)
    least_values = (
        ("lag_seconds", 0),
        ("max_pages", 1),
        ("rows_per_load", 1),
        ("requests_in_flight", 1),
        ("workers", 1),
    )
    for key, least in least_values:
        value = getattr(settings, key)
        if value is not None and value < least:
            raise settings.error(key, f"is below {least}", value)
    if settings.lag_seconds is not None and settings.lag_seconds > LONGEST_LAG:
        raise settings.error("lag_seconds", f"is above {LONGEST_LAG}, two hundred years", settings.lag_seconds)
    if settings.requests_per_second is not None and not 0 < settings.requests_per_second < inf:
        raise settings.error("requests_per_second", "is not above 0 and finite", settings.requests_per_second)
    _check_rate_limit_url(settings)
    if not settings.max_response_mb > 0:
        raise settings.error("max_response_mb", "is not above 0", settings.max_response_mb)
    if settings.duckdb_memory is not None and not MEMORY.fullmatch(settings.duckdb_memory):
        raise settings.error("duckdb_memory", "is no size such as 512MB, 1GB or 1GiB", settings.duckdb_memory)
    _check_read_copy(settings)
    if settings.hash_key is not None and len(settings.hash_key) < SHORTEST_HASH_KEY:
        raise settings.error("hash_key", f"is shorter than {SHORTEST_HASH_KEY} characters")
    for key in ("max_deleted_share", "max_rescued_share"):
        if not 0 <= getattr(settings, key) <= 1:
            raise settings.error(key, "is not between 0 and 1", getattr(settings, key))


def _check_read_copy(settings: Settings) -> None:
    value = settings.read_copy
    if not (isinstance(value, bool) or (isinstance(value, str) and Path(value).suffix and "://" not in value)):
        raise settings.error(
            "read_copy", "is neither true, nor false, nor the path of a file such as read.duckdb", value
        )
    if not settings.read_copy_max_gb > 0:
        raise settings.error("read_copy_max_gb", "is not above 0", settings.read_copy_max_gb)


def _check_rate_limit_url(settings: Settings) -> None:
    if (url := settings.rate_limit_url) is None:
        return
    drivers = {"redis": "redis", "rediss": "redis", "postgresql": "psycopg", "postgres": "psycopg"}
    driver = drivers.get(url.partition("://")[0])
    if driver is None or not _is_escaped(url):
        raise settings.error(
            "rate_limit_url",
            "is no URL such as redis://:password@host:6379/0 or postgresql://user:password@host:5432/name, with special"
            " characters percent-encoded",
        )
    if missing := [name for name in ("pyrate_limiter", driver) if find_spec(name) is None]:
        remedy = "Install them: pip install 'analytics-assets[shared-rate]'."
        raise settings.error("rate_limit_url", f"needs packages that are missing: {', '.join(missing)}", remedy=remedy)
    if settings.requests_per_second is None:
        raise settings.error("rate_limit_url", "has no rate to share: requests_per_second is missing")


def _is_escaped(url: str) -> bool:
    """Whether a URL ends where it seems to. Of one that does not, drivers quote a part of the password as the port."""
    try:
        parts = urlsplit(url)
        _ = parts.port
        unquote(url, errors="strict")
    except ValueError:
        return False
    return "@" not in url.partition(parts.netloc)[2]


def _check_credentials(settings: Settings) -> None:
    if settings.wire_format.auth is not None:
        _check_auth(settings)
        return
    if settings.client_id or settings.client_secret:
        for key, other in (("client_id", "client_secret"), ("client_secret", "client_id")):
            if getattr(settings, key) is None:
                raise settings.error(key, f"is missing beside {other}")
        if not (settings.token_url or settings.wire_format.token_path):
            raise settings.error("token_url", f"is missing, and dialect {settings.dialect!r} has none of its own")
        _check_url(settings, "token_url", settings.token_endpoint)
        return
    if settings.api_key is None:
        or_client = ", or client_id and client_secret" if settings.wire_format.token_path else ""
        raise settings.error("api_key", f"is missing, and {settings.base_url} needs a bearer token{or_client}")
    if not is_token(settings.api_key):
        raise settings.error("api_key", "has a space, a line break or another character that no bearer token has")


def _check_auth(settings: Settings) -> None:
    """Checks the credentials of a dialect that signs its requests with one of dlt's auth classes."""
    from analytics_assets.api.http.auth_fields import resolve_auth  # noqa: PLC0415 - it needs settings that are read

    auth = resolve_auth(settings)
    for key in ("api_key", "client_id", "client_secret"):
        if any(character in (getattr(settings, key) or "") for character in "\r\n\0"):
            raise settings.error(key, "has a line break or another character that no header has")
    for name in TOKEN_URLS:
        if (url := getattr(auth, name, None)) is not None:
            _check_url(settings, "token_url", url)


def read_date(text: str) -> datetime:
    """Parses the start or the end of a reading.

    Raises:
        ValueError: The text is no date-time, or lies outside `EARLIEST` to `LATEST`.
    """
    try:
        moment = parse_timestamp(text)
    except OverflowError as error:
        raise ValueError(DATES) from error
    if not EARLIEST <= moment <= LATEST:
        raise ValueError(DATES)
    return moment


def _check_page_size(settings: Settings) -> None:
    size, wire_format = settings.page_size, settings.wire_format
    if size is None:
        return
    if size < wire_format.least_page_size:
        raise settings.error(
            "page_size", f"is below {wire_format.least_page_size}, the least of dialect {wire_format.name!r}", size
        )
    if wire_format.largest_page_size is not None and size > wire_format.largest_page_size:
        raise settings.error(
            "page_size", f"is above {wire_format.largest_page_size}, the most of dialect {wire_format.name!r}", size
        )


def _check_url(settings: Settings, key: str, value: str) -> None:
    if not value:
        raise settings.error(key, "is missing: it is the URL under which the endpoints' paths are")
    try:
        url = urlsplit(value)
        host = url.hostname
        _ = url.port
    except ValueError as error:
        raise settings.error(key, "is not a URL", value) from error
    if url.username or url.password:
        raise settings.error(key, "carries credentials; put the token into api_key")
    if origin_of(value) is None or not host or url.query or url.fragment:
        kinds = "is not a URL such as https://api.example.com" + (", nor demo" if key == "base_url" else "")
        raise settings.error(key, kinds, value)
    if url.scheme == "http" and not settings.allow_http and not is_loopback(host):
        problem = "would send the token unencrypted; use https://, or set allow_http where the network is trusted"
        raise settings.error(key, problem, value)
