"""What can be configured about the API, where each value comes from, and what is wrong with it.

Every value is a dlt config value of the section `sources.analytics`: the environment, `.dlt/secrets.toml` and
`.dlt/config.toml` are asked in this order (https://dlthub.com/docs/general-usage/credentials/setup). The class below is
the list of keys, their types and defaults. Settings are checked when they are read, before any request.
"""

from datetime import datetime
from typing import Any

import dlt
from dlt.common.configuration import configspec
from dlt.common.configuration.specs import BaseConfiguration
from dlt.common.typing import TSecretStrValue

from analytics_assets.api.dialects.base import Dialect, Endpoint
from analytics_assets.api.dialects.registry import DIALECTS
from analytics_assets.api.values.timestamps import parse_timestamp

SECTION = ("sources", "analytics")

DEMO = "demo"

SECRETS = frozenset({"api_key", "client_id", "client_secret", "hash_key"})


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
    max_response_mb: float = 64
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
        return self.token_url or f"{self.base_url}{self.wire_format.token_path}"

    @property
    def wanted_scope(self) -> str | None:
        """What they are for."""
        return self.scope or self.wire_format.scope

    def secrets(self) -> tuple[str | None, ...]:
        """Values that no message may show."""
        return tuple(getattr(self, key) for key in sorted(SECRETS))

    @property
    def start(self) -> datetime:
        """`start_date` as an instant."""
        return parse_timestamp(self.start_date)

    @property
    def wire_format(self) -> Dialect:
        """The dialect itself."""
        return DIALECTS[self.dialect]

    def endpoint(self, resource_name: str) -> Endpoint:
        """Where a resource is in this dialect."""
        return self.wire_format.endpoints[resource_name]

    @property
    def rows_per_page(self) -> int:
        """Rows to ask for with each request of a paged resource."""
        return self.page_size or self.wire_format.page_size


def configured_endpoint(resource_name: str) -> Endpoint:
    """Where a resource is in the configured dialect, for texts; an unknown one is an error when a run starts."""
    name = dlt.config.get(".".join((*SECTION, "dialect")), str)
    return DIALECTS.get(name or "", DIALECTS[Settings.dialect]).endpoints[resource_name]
