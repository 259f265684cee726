"""The settings of an API: their keys, types and defaults, and the error of a wrong one.

Every value is a dlt config value of the connector's section, such as `sources.analytics`. dlt reads the environment,
`.dlt/secrets.toml` and `.dlt/config.toml` in this order (https://dlthub.com/docs/general-usage/credentials/setup).
`settings_reader` checks the values before any request.
"""

import os
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Annotated, Any
from urllib.parse import urlsplit

import dlt
from dlt.common.configuration import NotResolved, configspec, resolve_configuration
from dlt.common.configuration.specs import BaseConfiguration
from dlt.common.typing import TSecretStrValue

from analytics_assets.api.connector import SHIPPED, Connector
from analytics_assets.api.dialects.base import Dialect, Endpoint
from analytics_assets.api.values.timestamps import parse_timestamp

DEMO = "demo"

TOKEN_URLS = ("access_token_url", "auth_endpoint")
"""Fields of dlt's auth classes that hold the URL of a token endpoint."""

SECRETS = frozenset({"api_key", "client_id", "client_secret", "hash_key", "rate_limit_url"})

HEADROOM = 1.05
"""The pause between two requests, in parts of the one that `requests_per_second` means. One request may be on its way
for 50 ms longer than another, and still no second at the API has more requests than are allowed."""

NO_FIELDS = frozenset(
    {
        "backfill_partitions",
        "dropped",
        "hashed",
        "listing_order",
        "rate_limit_url",
        "read_copy",
        "read_copy_max_gb",
        "resources",
        "workers",
    }
)
"""Settings that are no fields of the Dagster resource, so that run config cannot set them."""


class SettingsError(ValueError):
    """A setting that cannot work. The message names the key, the value (unless it is a secret) and the remedy.

    Args:
        section: Section of dlt's configuration that the key stands in.
        key: Key of the setting.
        problem: What is wrong, such as `is below 1`.
        value: The value that was found; not shown if the setting is a secret.
        remedy: What to do; by default where to set it.
    """

    def __init__(
        self, section: Sequence[str], key: str, problem: str, value: object = None, remedy: str | None = None
    ) -> None:
        shown = "" if value is None or key in SECRETS else f" = {value!r}"
        file = ".dlt/secrets.toml" if key in SECRETS else ".dlt/config.toml"
        variable = f"{'__'.join((*section, key)).upper()} in the environment"
        field = (
            f", as {variable}, or as {key} of the Dagster resource." if key not in NO_FIELDS else f", or as {variable}."
        )
        remedy = remedy or f"Set it in [{'.'.join(section)}] of {file}{field}"
        super().__init__(f"{'.'.join((*section, key))}{shown} {problem}. {remedy}")


@configspec
class Settings(BaseConfiguration):
    """Settings of an API. `read_settings` resolves and checks them."""

    connector: Annotated[Connector, NotResolved()] = SHIPPED
    """The API that the settings are for."""
    base_url: str = ""
    """Base URL of the API, or `demo` for the built-in one, which is the default of the shipped connector."""
    api_key: TSecretStrValue | None = None
    """Bearer token. Not needed for `demo`, nor with a client."""
    client_id: TSecretStrValue | None = None
    """Id of the client that fetches tokens (OAuth 2 client credentials). It wins over `api_key`: a pasted token may
    expire during a run."""
    client_secret: TSecretStrValue | None = None
    """Secret of the client."""
    token_url: str | None = None
    """URL of the OAuth token endpoint; by default the one of the dialect's auth, or its path under `base_url`."""
    scope: str | None = None
    """OAuth scope to request; by default the dialect's."""
    start_date: str = "2024-01-01T00:00:00Z"
    """Cursor value from which the first sync of an incremental resource reads; ISO 8601."""
    backfill_partitions: str = "monthly"
    """Length of the windows of a backfill: `daily`, `weekly` or `monthly`. An API without a filter by time is read
    whole for each, so few of them are the better default."""
    dialect: str | None = None
    """Wire format of the API, by name; by default the connector's first."""
    page_size: int | None = None
    """Rows per page; by default the dialect's."""
    lag_seconds: int | None = None
    """Seconds before its cursor at which an incremental sync starts, for rows that appear late; by default each
    resource's."""
    max_pages: int = 100_000
    """Pages of one listing after which the sync fails; it never truncates a listing."""
    rows_per_load: int = 120_000
    """Rows after which a load is committed and the listing goes on with another, so that neither memory nor temporary
    disk grows with the listing. DuckDB packs as many, 122,880, into one of its row groups."""
    max_response_mb: float = 64
    """Megabytes of one decoded response above which the sync fails."""
    max_deleted_share: float = 0.5
    """Share (0 to 1) of a table's live rows that may be gone upstream; above it the sync marks none and fails."""
    max_rescued_share: float = 0.1
    """Share (0 to 1) of a column's values in one listing that may not fit its type; above it the sync fails. Ten
    values are always tolerated."""
    listing_order: bool = True
    """Whether a listing by offset whose rows were in the order of the cursor is asked for its new part only."""
    requests_in_flight: int = 8
    """Most requests at once, over all resources and workers."""
    requests_per_second: float | None = None
    """Most requests per second, over all resources and workers; by default unlimited."""
    rate_limit_url: TSecretStrValue | None = None
    """URL of the Redis or Postgres in which all workers share `requests_per_second`; by default each has a part."""
    workers: int | None = None
    """Processes that may read the API at once, and divide its limits among them; by default what Dagster allows."""
    allowed_hosts: Any | None = None
    """Origins that run config may name besides that of `base_url`: a list, or a text with commas between them."""
    allow_http: bool = False
    """Whether `base_url` may be unencrypted `http://` on another host than this machine."""
    duckdb_memory: str | None = None
    """Most memory that DuckDB uses, as DuckDB spells sizes (`1GB`); it puts the rest on disk. By default 512MB."""
    read_copy: Any = True
    """Whether a copy of the DuckDB file is made for readers, or the path of that copy; by default beside the file."""
    read_copy_max_gb: float = 2
    """Gigabytes of the DuckDB file above which no copy is made."""
    hash_key: TSecretStrValue | None = None
    """Secret key with which sensitive fields are hashed; needed if the catalog declares hashed fields."""

    @property
    def is_demo(self) -> bool:
        """Whether `base_url` selects the built-in API."""
        return self.base_url == DEMO

    @property
    def token(self) -> str:
        """The bearer token from `api_key`. Only valid without a client."""
        assert self.api_key  # noqa: S101 - checked when the settings were read
        return self.api_key

    @property
    def has_client(self) -> bool:
        """Whether a client fetches the tokens, by the form of the standard."""
        return self.client_id is not None and self.wire_format.auth is None

    @property
    def token_endpoint(self) -> str:
        """URL of the OAuth token endpoint."""
        declared = next(
            (url for name in TOKEN_URLS if (url := getattr(self.wire_format.auth, name, None))),
            f"{self.base_url}{self.wire_format.token_path}",
        )
        return self.token_url or declared

    @property
    def wanted_scope(self) -> str | None:
        """OAuth scope to request; `None` if neither the setting nor the dialect names one."""
        return self.scope or self.wire_format.scope

    def error(self, key: str, problem: str, value: object = None, remedy: str | None = None) -> SettingsError:
        """Returns the error of a setting (see `SettingsError`)."""
        return SettingsError(self.connector.section, key, problem, value, remedy)

    def secrets(self) -> tuple[str | None, ...]:
        """Values that no message may show."""
        return tuple(secret_part(key, getattr(self, key)) for key in sorted(SECRETS))

    @property
    def start(self) -> datetime:
        """`start_date` as a point in time."""
        return parse_timestamp(self.start_date)

    @property
    def wire_format(self) -> Dialect:
        """The dialect that the setting `dialect` names."""
        return self.connector.dialects_by_name[self.dialect] if self.dialect else self.connector.dialects[0]

    def endpoint(self, resource_name: str) -> Endpoint:
        """Returns the endpoint that the dialect has for a resource."""
        return self.wire_format.endpoints[resource_name]

    @property
    def rows_per_page(self) -> int:
        """Rows to request per page."""
        return self.page_size or self.wire_format.page_size


def read_secret(key: str) -> str | None:
    """A secret of dlt's configuration, such as `alerts.webhook_url`; `None` if it is not set."""
    # Asked for a type, dlt would not know that this is a secret, and would read no file of /run/secrets.
    value: Any = dlt.secrets.get(key)
    return str(value or "").strip() or None


def secret_part(key: str, value: str | None) -> str | None:
    """What no message may show of a secret setting: of a URL the password, as the rest of it is in many messages."""
    return urlsplit(value).password if value and key == "rate_limit_url" else value


def forget_empty(connector: Connector, keys: Iterable[str]) -> None:
    """Takes empty variables of keys out of the process's environment, because an empty one counts as not set.

    dlt would take it for the value: it would refuse it for a number, or pass over what stands in `.dlt`.
    """
    sections = [connector.section[:depth] for depth in range(len(connector.section) + 1)]
    for name in ("__".join([*section, key]).upper() for section in sections for key in keys):
        if not os.environ.get(name, name).strip():
            del os.environ[name]


def look_up(connector: Connector, *keys: str) -> dict[str, Any]:
    """The configured values of keys in a connector's section, unchecked and of whatever type; `None` if not set.

    They are found as dlt finds the settings, under shorter names as well. `dlt.config.get` takes the long name only.
    """
    forget_empty(connector, keys)
    fields = {"__annotations__": dict.fromkeys(keys, Any | None), **dict.fromkeys(keys)}
    spec: type[BaseConfiguration] = configspec(type("Found", (BaseConfiguration,), fields))
    return dict(resolve_configuration(spec(), sections=connector.section))


def is_token(text: str) -> bool:
    """Whether a text can be a bearer token: one word of printable ASCII."""
    return text.isascii() and text.isprintable() and " " not in text


def configured_endpoint(connector: Connector, resource_name: str) -> Endpoint:
    """Returns the endpoint that the configured dialect has for a resource, for texts about it.

    An unknown dialect counts as the default one here; it is an error as soon as a run reads the settings.
    """
    name = look_up(connector, "dialect")["dialect"]
    return connector.dialects_by_name.get(str(name), connector.dialects[0]).endpoints[resource_name]
