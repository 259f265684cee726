"""What can be configured about the API, where each value comes from, and what is wrong with it.

Every value is a dlt config value of the section `sources.analytics`: the environment, `.dlt/secrets.toml` and
`.dlt/config.toml` are asked in this order (https://dlthub.com/docs/general-usage/credentials/setup). The class below is
the list of keys, their types and defaults. Settings are checked when they are read, before any request.
"""

import re
from collections.abc import Collection
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import dlt
from dlt.common.configuration import configspec, resolve_configuration
from dlt.common.configuration.exceptions import ConfigValueCannotBeCoercedException
from dlt.common.configuration.specs import BaseConfiguration
from dlt.common.typing import TSecretStrValue

from analytics_assets.api.dialect import Dialect, Endpoint
from analytics_assets.api.dialects.registry import DIALECTS
from analytics_assets.api.origin import is_loopback, origin_of, read_origins
from analytics_assets.api.values import parse_instant

SECTION = ("sources", "analytics")
DEMO = "demo"
SECRETS = frozenset({"api_key", "client_id", "client_secret", "hash_key"})

LEADS_ELSEWHERE = frozenset({"base_url", "token_url", "allow_http"})
"""Settings that decide where credentials go, and whether anybody can read them on the way."""

MEMORY = re.compile(r"(?=.*[1-9])\s*\d+(\.\d+)?\s*[KMGT]i?B\s*", re.IGNORECASE)
"""A size as DuckDB spells it."""

SHORTEST_HASH_KEY = 16
"""Characters. A key that can be guessed lets the hashed values be guessed."""

EARLIEST, LATEST = datetime(1500, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, tzinfo=UTC)
"""Where reading may start and end. Python's calendar goes from year 1 to 9999, and neither the thousand years by which
everything is read again must lead out of it, nor a time zone, nor seconds that a filter adds."""

LONGEST_LAG = 200 * 365 * 24 * 3600
"""Seconds, likewise."""

DATES = f"is not an ISO 8601 date-time from {EARLIEST:%Y-%m-%d} to {LATEST:%Y-%m-%d}, such as 2024-01-01T00:00:00Z"
"""What is wrong with a text that says otherwise."""


class SettingsError(ValueError):
    """A setting that cannot work. Names the key, the value (unless it is a secret) and what to do."""

    def __init__(self, key: str, problem: str, value: object = None, remedy: str | None = None) -> None:
        shown = "" if value is None or key in SECRETS else f" = {value!r}"
        file = ".dlt/secrets.toml" if key in SECRETS else ".dlt/config.toml"
        remedy = remedy or (
            f"Set it in [{'.'.join(SECTION)}] of {file}, as {'__'.join((*SECTION, key)).upper()} in the environment, or"
            f" as {key} of the Dagster resource."
        )
        super().__init__(f"{'.'.join(SECTION)}.{key}{shown} {problem}. {remedy}")


@configspec
class Settings(BaseConfiguration):
    """Settings of the API, resolved and checked by `read_settings`."""

    base_url: str = DEMO
    """Base URL of the API, or `demo` for the built-in one."""
    api_key: TSecretStrValue | None = None
    """Bearer token. Not needed for `demo`, nor beside a client."""
    client_id: TSecretStrValue | None = None
    """The client that fetches tokens (OAuth 2 client credentials); wins over `api_key`, which ends in mid-run."""
    client_secret: TSecretStrValue | None = None
    """Its secret."""
    token_url: str | None = None
    """Where tokens are fetched; the dialect's path under `base_url` by default."""
    scope: str | None = None
    """What the tokens are for; the dialect's by default."""
    start_date: str = "2024-01-01T00:00:00Z"
    """Where the first sync of an incremental resource starts; ISO 8601."""
    dialect: str = "analytics"
    """Wire format of the API."""
    page_size: int | None = None
    """Rows a page; the dialect's by default."""
    lag_seconds: int | None = None
    """How far behind its cursor an incremental sync starts, for rows that appear late; per resource by default."""
    max_pages: int = 100_000
    """Pages of one listing after which the sync fails (it never truncates)."""
    max_answer_mb: float = 64
    """Megabytes of one answer, decoded, above which the sync fails; a page of 50 MB passes."""
    max_deleted_share: float = 0.5
    """Share of a table's live rows that one sync may find gone upstream; above it nothing is marked and it fails."""
    max_rescued_share: float = 0.1
    """Share of a column's values in one listing that may not fit its type; above it the sync fails, from eleven on."""
    requests_in_flight: int = 8
    """Most requests at once, over all resources of a run."""
    requests_per_second: float | None = None
    """Most requests a second, over all resources of a run; unlimited by default."""
    allowed_hosts: Any | None = None
    """Origins beside that of `base_url` which run config may name: a list, or a text with commas between them."""
    allow_http: bool = False
    """Whether `base_url` may be unencrypted `http://` on another host than this one."""
    duckdb_memory: str | None = None
    """What DuckDB keeps in memory at most, as it spells sizes (`1GB`); more of it goes to disk. 512MB by default."""
    hash_key: TSecretStrValue | None = None
    """Secret with which sensitive fields are hashed; needed where the catalogue has any."""

    @property
    def is_demo(self) -> bool:
        """Whether the built-in API is asked for."""
        return self.base_url == DEMO

    @property
    def token(self) -> str:
        """The bearer token, which there is where no client fetches one."""
        assert self.api_key  # noqa: S101 - checked when the settings were read
        return self.api_key

    @property
    def has_client(self) -> bool:
        """Whether tokens are to be fetched."""
        return self.client_id is not None

    @property
    def token_endpoint(self) -> str:
        """Where they are fetched."""
        return self.token_url or f"{self.base_url}{self.wire.token_path}"

    @property
    def wanted_scope(self) -> str | None:
        """What they are for."""
        return self.scope or self.wire.scope

    def secrets(self) -> tuple[str | None, ...]:
        """Values that no message may show."""
        return tuple(getattr(self, key) for key in sorted(SECRETS))

    @property
    def start(self) -> datetime:
        """`start_date` as an instant."""
        return parse_instant(self.start_date)

    @property
    def wire(self) -> Dialect:
        """The dialect itself."""
        return DIALECTS[self.dialect]

    def endpoint(self, resource_name: str) -> Endpoint:
        """Where a resource is in this dialect."""
        return self.wire.endpoints[resource_name]

    @property
    def rows_per_page(self) -> int:
        """Rows to ask for with each request of a paged resource."""
        return self.page_size or self.wire.page_size


def read_settings(by_run_config: Collection[str] = (), /, **explicit: Any) -> Settings:  # noqa: ANN401 - the values of the fields, which differ in type
    """Resolves the settings the dlt way and checks them; does no other I/O than reading `.dlt`.

    Args:
        by_run_config: Names of those explicit values that whoever launches a run has given. They may lead the
            credentials to no other origin than the configured one and `allowed_hosts`.
        explicit: Values that win over dlt's configuration; `None` stands for not given.

    Raises:
        SettingsError: A value is missing, malformed, unknown, out of bounds, or leads the credentials elsewhere.
    """
    given = {key: value for key, value in explicit.items() if value is not None}
    settings = _resolve(given)
    if LEADS_ELSEWHERE.intersection(by_run_config):
        configured = _resolve({key: value for key, value in given.items() if key not in by_run_config})
        _check_origins(settings, configured)
        if "allow_http" in by_run_config:
            # Unless the configuration has named the unencrypted origin as one that run config may name.
            asked = {origin_of(settings.base_url), origin_of(settings.token_url or settings.base_url)}
            settings.allow_http = configured.allow_http or asked <= _allowed(configured)
    _check(settings)
    return settings


def _resolve(given: dict[str, Any]) -> Settings:
    try:
        settings = resolve_configuration(Settings(), sections=SECTION, explicit_value=given)
    except ConfigValueCannotBeCoercedException as error:
        wanted = getattr(error.hint, "__name__", str(error.hint))
        raise SettingsError(error.field_name, f"is not of type {wanted}", error.field_value) from error
    settings.base_url = settings.base_url.strip().rstrip("/")
    for key in (*SECRETS, "token_url", "scope"):
        setattr(settings, key, (getattr(settings, key) or "").strip() or None)
    return settings


def _check_origins(asked: Settings, configured: Settings) -> None:
    """Refuses what comes by run config if it would lead the configured credentials to another origin.

    A run can be launched by whoever reaches Dagster's webserver, which has no authentication of its own.
    """
    if asked.is_demo:
        return
    allowed = _allowed(configured)
    home = {origin_of(configured.base_url)}
    places = [("base_url", asked.base_url, home)]
    if asked.token_url or asked.has_client:
        token_home = home | {origin_of(configured.token_url or "")}
        places.append(("token_url", asked.token_url or asked.base_url, token_home))
    for key, url, known in places:
        origin = origin_of(url)
        # What is no URL is refused as such.
        if origin is not None and origin not in known | allowed:
            raise SettingsError(
                key,
                "would have this run send credentials to another origin than the configured one",
                origin,
                "Run config may name demo, the configured origin, or one of sources.analytics.allowed_hosts, which is"
                " set in .dlt/config.toml or the environment.",
            )


def _allowed(settings: Settings) -> frozenset[str]:
    try:
        return read_origins(settings.allowed_hosts)
    except ValueError as error:
        raise SettingsError("allowed_hosts", f"is no list of origins: {error}", settings.allowed_hosts) from error


def _check(settings: Settings) -> None:
    _allowed(settings)
    if settings.dialect not in DIALECTS:
        raise SettingsError("dialect", f"is unknown; known: {', '.join(sorted(DIALECTS))}", settings.dialect)
    if not settings.is_demo:
        _check_url(settings, "base_url", settings.base_url)
        _check_credentials(settings)
    try:
        read_date(settings.start_date)
    except ValueError as error:
        raise SettingsError("start_date", DATES, settings.start_date) from error
    _check_page_size(settings)
    for key, least in (("lag_seconds", 0), ("max_pages", 1), ("requests_in_flight", 1)):
        value = getattr(settings, key)
        if value is not None and value < least:
            raise SettingsError(key, f"is below {least}", value)
    if settings.lag_seconds is not None and settings.lag_seconds > LONGEST_LAG:
        raise SettingsError("lag_seconds", f"is above {LONGEST_LAG}, two hundred years", settings.lag_seconds)
    if settings.requests_per_second is not None and settings.requests_per_second <= 0:
        raise SettingsError("requests_per_second", "is not above 0", settings.requests_per_second)
    if settings.max_answer_mb <= 0:
        raise SettingsError("max_answer_mb", "is not above 0", settings.max_answer_mb)
    if settings.duckdb_memory is not None and not MEMORY.fullmatch(settings.duckdb_memory):
        raise SettingsError("duckdb_memory", "is no size such as 512MB, 1GB or 1GiB", settings.duckdb_memory)
    if settings.hash_key is not None and len(settings.hash_key) < SHORTEST_HASH_KEY:
        raise SettingsError("hash_key", f"is shorter than {SHORTEST_HASH_KEY} characters")
    for key in ("max_deleted_share", "max_rescued_share"):
        if not 0 <= getattr(settings, key) <= 1:
            raise SettingsError(key, "is not between 0 and 1", getattr(settings, key))


def _check_credentials(settings: Settings) -> None:
    if settings.client_id or settings.client_secret:
        for key, other in (("client_id", "client_secret"), ("client_secret", "client_id")):
            if getattr(settings, key) is None:
                raise SettingsError(key, f"is missing beside {other}")
        if not (settings.token_url or settings.wire.token_path):
            raise SettingsError("token_url", f"is missing, and dialect {settings.dialect!r} has none of its own")
        _check_url(settings, "token_url", settings.token_endpoint)
        return
    if settings.api_key is None:
        or_client = ", or client_id and client_secret" if settings.wire.token_path else ""
        raise SettingsError("api_key", f"is missing, and {settings.base_url} needs a bearer token{or_client}")
    if not is_token(settings.api_key):
        raise SettingsError("api_key", "has a space, a line break or another character that no bearer token has")


def read_date(text: str) -> datetime:
    """Reads where reading is to start or to end.

    Raises:
        ValueError: It is no date-time, or one at the ends of the calendar: see `DATES`.
    """
    try:
        moment = parse_instant(text)
    except OverflowError as error:
        raise ValueError(DATES) from error
    if not EARLIEST <= moment <= LATEST:
        raise ValueError(DATES)
    return moment


def is_token(text: str) -> bool:
    """Whether a text can be a bearer token: one word of printable ASCII."""
    return text.isascii() and text.isprintable() and " " not in text


def _check_page_size(settings: Settings) -> None:
    size, wire = settings.page_size, settings.wire
    if size is None:
        return
    if size < wire.least_page_size:
        raise SettingsError("page_size", f"is below {wire.least_page_size}, the least of dialect {wire.name!r}", size)
    if wire.largest_page_size is not None and size > wire.largest_page_size:
        raise SettingsError("page_size", f"is above {wire.largest_page_size}, the most of dialect {wire.name!r}", size)


def configured_endpoint(resource_name: str) -> Endpoint:
    """Where a resource is in the configured dialect, for texts; an unknown one is an error when a run starts."""
    name = dlt.config.get(".".join((*SECTION, "dialect")), str)
    return DIALECTS.get(name or "", DIALECTS[Settings.dialect]).endpoints[resource_name]


def _check_url(settings: Settings, key: str, value: str) -> None:
    try:
        url = urlsplit(value)
        host = url.hostname
        _ = url.port
    except ValueError as error:
        raise SettingsError(key, "is not a URL", value) from error
    if url.username or url.password:
        raise SettingsError(key, "carries credentials; put the token into api_key")
    if origin_of(value) is None or not host or url.query or url.fragment:
        kinds = "is not a URL such as https://api.example.com" + (", nor demo" if key == "base_url" else "")
        raise SettingsError(key, kinds, value)
    if url.scheme == "http" and not settings.allow_http and not is_loopback(host):
        problem = "would send the token unencrypted; use https://, or set allow_http where the network is trusted"
        raise SettingsError(key, problem, value)
