"""The resource `analytics`: credentials of the API and configuration of the destination."""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg
from dlt.common.destination.reference import Destination
from dlt.destinations.job_client_impl import SqlJobClientBase
from pydantic import Field

from analytics_assets.api.settings import Settings, read_settings
from analytics_assets.warehouse.destination import DestinationError, Target, build_destination, read_target
from analytics_assets.warehouse.pipeline import build_client, check_reachable

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

FROM_DLT = " Taken from dlt's configuration if left empty."


@dataclass(frozen=True, slots=True)
class Session:
    """What the syncs of one run share: checked settings, an open destination, a directory that goes with the run.

    `client` asks the destination, `locker` is for locks alone.
    """

    settings: Settings
    target: Target
    destination: Destination[Any, Any]
    client: SqlJobClientBase
    locker: SqlJobClientBase
    working_dir: str


class AnalyticsResource(dg.ConfigurableResource[Any]):
    """Where the rows come from and where they land.

    Every field left empty is a dlt config value: `SOURCES__ANALYTICS__BASE_URL` in the environment, or `base_url` in
    `[sources.analytics]` of `.dlt/config.toml` (secrets: `.dlt/secrets.toml`). A field that is set here or in the
    launchpad wins. Give secrets as `dg.EnvVar(...)`, never as text.
    """

    base_url: str | None = Field(default=None, description="Base URL of the API, or demo." + FROM_DLT)
    api_key: str | None = Field(default=None, repr=False, description="Bearer token; use an EnvVar." + FROM_DLT)
    start_date: str | None = Field(default=None, description="Start of the first sync, ISO 8601." + FROM_DLT)
    dialect: str | None = Field(default=None, description="Wire format of the API." + FROM_DLT)
    page_size: int | None = Field(default=None, description="Rows a page." + FROM_DLT)
    lag_seconds: int | None = Field(default=None, description="Seconds a sync starts behind its cursor." + FROM_DLT)
    max_pages: int | None = Field(default=None, description="Pages after which a listing fails." + FROM_DLT)
    max_deleted_share: float | None = Field(
        default=None, description="Largest share of a table that may be found gone upstream." + FROM_DLT
    )
    requests_in_flight: int | None = Field(default=None, description="Most requests at once." + FROM_DLT)
    requests_per_second: float | None = Field(default=None, description="Most requests a second." + FROM_DLT)
    allow_http: bool | None = Field(default=None, description="Allow http:// beyond this host." + FROM_DLT)
    destination_type: str | None = Field(
        default=None, description="dlt destination, e.g. duckdb or postgres." + FROM_DLT
    )
    destination_credentials: str | None = Field(
        default=None, repr=False, description="DuckDB path or connection string; use an EnvVar." + FROM_DLT
    )
    busy_timeout: float = Field(
        default=60.0, description="Seconds to wait for a DuckDB file that another process holds."
    )

    def settings(self) -> Settings:
        """The API's settings.

        Raises:
            SettingsError: One is missing or wrong.
        """
        return read_settings(**{key: getattr(self, key, None) for key in Settings()})

    def secrets(self) -> tuple[str | None, ...]:
        """Values that no message may show, as far as they are fields; those of `.dlt` are known once it is read."""
        return (self.api_key, self.destination_credentials)

    @contextmanager
    def session(self, say: Callable[[str], None]) -> Iterator[Session]:
        """Checks the configuration and opens the destination for one run. No request is made.

        Args:
            say: Is told when something has to be waited for.

        Raises:
            SettingsError: A setting of the API is missing or wrong.
            DestinationError: The destination is unknown, unsuitable or busy.
        """
        settings = self.settings()
        target = self._target(settings)
        with ExitStack() as stack:
            working_dir = stack.enter_context(tempfile.TemporaryDirectory(prefix="analytics_assets_"))
            credentials: Any = self.destination_credentials
            if target.duckdb_path:
                credentials = stack.enter_context(self._open(target.duckdb_path, say))
            destination = build_destination(target, credentials)
            client = build_client(destination, working_dir)
            check_reachable(client)
            yield Session(settings, target, destination, client, build_client(destination, working_dir), working_dir)

    @contextmanager
    def duckdb(self, say: Callable[[str], None]) -> "Iterator[DuckDBPyConnection]":
        """Opens the DuckDB file of the destination for SQL.

        Args:
            say: Is told when something has to be waited for.

        Raises:
            SettingsError: A setting of the API is missing or wrong; the file's default name depends on them.
            DestinationError: The destination is not DuckDB, or the file is busy.
        """
        target = self._target(self.settings())
        if target.duckdb_path is None:
            raise DestinationError(f"This needs DuckDB, and the destination is {target.type}.")
        with self._open(target.duckdb_path, say) as connection:
            yield connection

    def _target(self, settings: Settings) -> Target:
        return read_target(settings, self.destination_type, self.destination_credentials)

    def _open(self, path: Path, say: Callable[[str], None]) -> "AbstractContextManager[DuckDBPyConnection]":
        from analytics_assets.defs.duckdb_warehouse import open_duckdb  # noqa: PLC0415 - definitions need no DuckDB

        return open_duckdb(path, self.busy_timeout, say)
