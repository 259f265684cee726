"""The resource `analytics`: credentials of the API and configuration of the destination."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg
import dlt
from pydantic import Field, PrivateAttr

from analytics_assets.api.settings import DEMO, SECRETS, SECTION, Settings, SettingsError
from analytics_assets.api.settings_reader import read_settings
from analytics_assets.defs.assets.specs import OP_NAME
from analytics_assets.defs.automation.signs_of_life import alive
from analytics_assets.warehouse.access import check_writable
from analytics_assets.warehouse.duckdb_options import duckdb_options
from analytics_assets.warehouse.errors import DestinationError
from analytics_assets.warehouse.session import BUSY_TIMEOUT, Connect, Session, open_session, scratch_file
from analytics_assets.warehouse.target import DEMO_DATABASE, DUCKDB, Target, read_target

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

KEY = "analytics"
"""Key of the resource."""

FROM_DLT = " Taken from dlt's configuration if left empty."


class AnalyticsResource(dg.ConfigurableResource[Any]):
    """Where the rows come from and where they land.

    Every field left empty is a dlt config value: `SOURCES__ANALYTICS__BASE_URL` in the environment, or `base_url` in
    `[sources.analytics]` of `.dlt/config.toml` (secrets: `.dlt/secrets.toml`). A field that is set here or in the
    launchpad wins. Give secrets as `dg.EnvVar(...)`, never as text.
    """

    base_url: str | None = Field(default=None, description="Base URL of the API, or demo." + FROM_DLT)
    api_key: str | None = Field(default=None, repr=False, description="Bearer token; use an EnvVar." + FROM_DLT)
    client_id: str | None = Field(
        default=None, repr=False, description="Client that fetches tokens; use an EnvVar." + FROM_DLT
    )
    client_secret: str | None = Field(default=None, repr=False, description="Its secret; use an EnvVar." + FROM_DLT)
    token_url: str | None = Field(default=None, description="Where tokens are fetched." + FROM_DLT)
    scope: str | None = Field(default=None, description="Scope of the tokens." + FROM_DLT)
    start_date: str | None = Field(default=None, description="Start of the first sync, ISO 8601." + FROM_DLT)
    dialect: str | None = Field(default=None, description="Wire format of the API." + FROM_DLT)
    page_size: int | None = Field(default=None, description="Rows a page." + FROM_DLT)
    lag_seconds: int | None = Field(default=None, description="Seconds a sync starts behind its cursor." + FROM_DLT)
    max_pages: int | None = Field(default=None, description="Pages after which a listing fails." + FROM_DLT)
    max_response_mb: float | None = Field(
        default=None, description="Megabytes of an answer above which a sync fails." + FROM_DLT
    )
    max_deleted_share: float | None = Field(
        default=None, description="Largest share of a table that may be found gone upstream." + FROM_DLT
    )
    max_rescued_share: float | None = Field(
        default=None, description="Largest share of a column's values that may not fit its type." + FROM_DLT
    )
    requests_in_flight: int | None = Field(default=None, description="Most requests at once." + FROM_DLT)
    requests_per_second: float | None = Field(default=None, description="Most requests a second." + FROM_DLT)
    allowed_hosts: list[str] | None = Field(
        default=None, description="Origins that run config may name as base_url or token_url, too." + FROM_DLT
    )
    allow_http: bool | None = Field(default=None, description="Allow http:// beyond this host." + FROM_DLT)
    hash_key: str | None = Field(
        default=None, repr=False, description="Key of the hashes of sensitive fields; use an EnvVar." + FROM_DLT
    )
    destination_type: str | None = Field(
        default=None, description="dlt destination, e.g. duckdb or postgres." + FROM_DLT
    )
    destination_credentials: str | None = Field(
        default=None, repr=False, description="DuckDB path or connection string; use an EnvVar." + FROM_DLT
    )
    duckdb_memory: str | None = Field(
        default=None, description="What DuckDB keeps in memory at most; more of it goes to disk." + FROM_DLT
    )
    busy_timeout: float = Field(
        default=BUSY_TIMEOUT,
        description="Seconds to wait for a DuckDB file, or a table in Postgres, that another process has.",
    )

    _run_config: Mapping[str, Any] = PrivateAttr(default_factory=dict)

    def setup_for_execution(self, context: dg.InitResourceContext) -> None:
        """Remembers what whoever launched the run has configured: a webserver of Dagster asks nobody who that is."""
        self._run_config = context.run.run_config if context.run else {}

    def check_run_config(self) -> None:
        """Refuses run config that would choose what protects others, or read a variable into what messages show.

        A credential may be a variable of the environment: where credentials go is checked, and no message shows them.

        Raises:
            SettingsError: It does.
        """
        for name in ("allowed_hosts", "hash_key"):
            if name in self._by_run_config():
                remedy = "Whoever launches a run may not choose it: set it in .dlt or the environment."
                raise SettingsError(name, "comes by run config", remedy=remedy)
        op = self._run_config.get("ops", {}).get(OP_NAME, {})
        may_be = SECRETS - {"hash_key"}
        for place, fields, may in (("resource", self._by_run_config(), may_be), ("op", op.get("config") or {}, ())):
            for name, value in fields.items():
                if isinstance(value, Mapping) and "env" in value and name not in may:
                    raise SettingsError(
                        name,
                        f"is read from the variable {value['env']} by the {place}'s run config, and would be shown",
                        remedy=f"Of the resource's fields, only {', '.join(sorted(may_be))} may be.",
                    )

    @contextmanager
    def yield_for_execution(self, context: dg.InitResourceContext) -> Iterator["AnalyticsResource"]:
        """Gives signs of life of the run while the resource is open."""
        with super().yield_for_execution(context), alive(context):
            yield self

    def settings(self, **overrides: Any) -> Settings:  # noqa: ANN401 - the values of the settings, which differ in type
        """The API's settings.

        Args:
            overrides: Values that win over the resource's own fields; `None` stands for not given.

        Raises:
            SettingsError: One is missing or wrong, or run config leads the credentials elsewhere.
        """
        self.check_run_config()
        own = {key: getattr(self, key, None) for key in Settings()}
        given = {key: value for key, value in overrides.items() if value is not None}
        return read_settings(self._by_run_config(), **own | given)

    def _by_run_config(self) -> Mapping[str, Any]:
        """The fields that run config sets."""
        return self._run_config.get("resources", {}).get(KEY, {}).get("config") or {}

    def secrets(self) -> list[str | None]:
        """The API's values that no message may show, of the fields and of dlt's configuration, also wrong ones."""
        return [getattr(self, key) or dlt.secrets.get(".".join((*SECTION, key)), str) for key in sorted(SECRETS)]

    @contextmanager
    def session(self, log: Callable[[str], None], **overrides: Any) -> Iterator[Session]:  # noqa: ANN401 - as above
        """Checks the configuration and opens the destination for one run. No request is made.

        Args:
            log: Is told when something has to be waited for.
            overrides: As for `settings`.

        Raises:
            SettingsError: A setting of the API is missing or wrong.
            DestinationError: The destination is unknown, unsuitable, busy or out of reach.
        """
        settings = self.settings(**overrides)
        target = self._target(settings)
        with open_session(
            settings, target, self.destination_credentials, log=log, connect=self._connect(log)
        ) as session:
            yield session

    def check_destination(self, log: Callable[[str], None]) -> str:
        """Shows that a run could write to the destination, and leaves nothing there; returns what was found out.

        Args:
            log: Is told when something has to be waited for.

        Raises:
            SettingsError: A setting of the API is missing or wrong.
            DestinationError: The destination is unknown, unsuitable, busy, out of reach or not writable.
        """
        settings = self.settings()
        target = self._target(settings)
        name = str(target.duckdb_path or target.type)
        with (
            scratch_file(target) as scratch,
            open_session(
                settings, scratch, self.destination_credentials, log=log, connect=self._connect(log)
            ) as session,
        ):
            if check_writable(session.client):
                return f"{name} can be written to"
        return f"{name} can be reached; writing was not tried, as it cannot take back a table"

    def _target(self, settings: Settings) -> Target:
        fields = self._by_run_config()
        if settings.is_demo and "base_url" in fields and _is_for_real() and "destination_credentials" not in fields:
            # Made-up rows never land among those of the configured API.
            return read_target(settings, DUCKDB, DEMO_DATABASE)
        target = read_target(settings, self.destination_type, self.destination_credentials)
        if "." in target.type and "destination_type" in fields:
            raise DestinationError(f"destination_type = {target.type!r}: run config may name dlt's destinations only.")
        if target.duckdb_path is None and "destination_credentials" in fields:
            raise DestinationError(
                "resources.analytics.config.destination_credentials: run config may name a DuckDB file, and no other"
                f" place for the rows. Set destination.{target.type}.credentials in .dlt/secrets.toml, or as"
                f" DESTINATION__{target.type.upper()}__CREDENTIALS in the environment."
            )
        return target

    @contextmanager
    def duckdb(self, log: Callable[[str], None]) -> "Iterator[DuckDBPyConnection]":
        """Opens the DuckDB file of the destination for SQL.

        Args:
            log: Is told when something has to be waited for.

        Raises:
            SettingsError: A setting of the API is missing or wrong; the file's default name depends on them.
            DestinationError: The destination is not DuckDB, or the file is busy.
        """
        settings = self.settings()
        target = self._target(settings)
        if target.duckdb_path is None:
            raise DestinationError(f"This needs DuckDB, and the destination is {target.type}.")
        with self._connect(log)(target.duckdb_path, settings.duckdb_memory) as connection:
            yield connection

    def _connect(self, log: Callable[[str], None]) -> Connect:
        """Opens a DuckDB file by `DuckDBResource`, once no other process has it."""

        @contextmanager
        def connect(path: Path, memory: str | None) -> "Iterator[DuckDBPyConnection]":
            from dagster_duckdb import DuckDBResource  # noqa: PLC0415 - definitions need no DuckDB

            from analytics_assets.warehouse.duckdb_file import open_duckdb  # noqa: PLC0415

            warehouse = DuckDBResource(database=str(path), connection_config=duckdb_options(memory))
            # DuckDBResource would wait for the file, too, but silently. One that this process holds it gets at once.
            with (
                open_duckdb(path, self.busy_timeout, memory, log),
                warehouse.get_connection() as connection,
                closing(connection),
            ):
                yield connection

        return connect


def _is_for_real() -> bool:
    return (dlt.config.get(".".join((*SECTION, "base_url")), str) or DEMO) != DEMO
