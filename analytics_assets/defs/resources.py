"""The resource `analytics`: credentials of the API and configuration of the destination."""

import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg
import dlt
from dlt.common.destination.reference import Destination
from dlt.destinations.job_client_impl import SqlJobClientBase
from pydantic import Field, PrivateAttr

from analytics_assets.api.settings import DEMO, SECRETS, SECTION, Settings, SettingsError, read_settings
from analytics_assets.defs.signs_of_life import alive
from analytics_assets.defs.specs import OP_NAME
from analytics_assets.warehouse.destination import (
    DEMO_DATABASE,
    DUCKDB,
    DestinationError,
    Target,
    build_destination,
    read_target,
    secrets_of,
)
from analytics_assets.warehouse.pipeline import build_client, check_reachable, check_writable

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

KEY = "analytics"
"""Key of the resource."""

FROM_DLT = " Taken from dlt's configuration if left empty."


@dataclass(frozen=True, slots=True)
class Session:
    """What the syncs of one run share.

    Checked settings, an open destination, a client to ask it, and a directory that goes with the run.
    """

    settings: Settings
    target: Target
    destination: Destination[Any, Any]
    client: SqlJobClientBase
    working_dir: str

    @property
    def secrets(self) -> list[str]:
        """Values of the destination's configuration that no message may show."""
        return secrets_of(self.client.config)


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
    max_answer_mb: float | None = Field(
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
        default=60.0, description="Seconds to wait for a DuckDB file, or a table in Postgres, that another process has."
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
    def session(self, say: Callable[[str], None], **overrides: Any) -> Iterator[Session]:  # noqa: ANN401 - as above
        """Checks the configuration and opens the destination for one run. No request is made.

        Args:
            say: Is told when something has to be waited for.
            overrides: As for `settings`.

        Raises:
            SettingsError: A setting of the API is missing or wrong.
            DestinationError: The destination is unknown, unsuitable or busy.
        """
        settings = self.settings(**overrides)
        target = self._target(settings)
        with self._open(target, settings, say) as (destination, working_dir):
            client = build_client(destination, working_dir)
            check_reachable(client)
            yield Session(settings, target, destination, client, working_dir)

    def check_destination(self, say: Callable[[str], None]) -> str:
        """Shows that a run could write to the destination, and leaves nothing there; returns what was found out.

        Args:
            say: Is told when something has to be waited for.

        Raises:
            SettingsError: A setting of the API is missing or wrong.
            DestinationError: The destination is unknown, unsuitable, busy, out of reach or not writable.
        """
        settings = self.settings()
        target = self._target(settings)
        name = str(target.duckdb_path or target.type)
        with _scratch_file(target) as scratch, self._open(scratch, settings, say) as (destination, working_dir):
            client = build_client(destination, working_dir)
            check_reachable(client)
            if check_writable(client):
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
    def _open(
        self, target: Target, settings: Settings, say: Callable[[str], None]
    ) -> Iterator[tuple[Destination[Any, Any], str]]:
        """The destination, and a directory that goes with it."""
        with ExitStack() as stack:
            working_dir = stack.enter_context(tempfile.TemporaryDirectory(prefix="analytics_assets_"))
            credentials: Any = self.destination_credentials
            if target.duckdb_path:
                credentials = stack.enter_context(self._open_duckdb(target.duckdb_path, settings, say))
            yield build_destination(target, credentials), working_dir

    @contextmanager
    def duckdb(self, say: Callable[[str], None]) -> "Iterator[DuckDBPyConnection]":
        """Opens the DuckDB file of the destination for SQL.

        Args:
            say: Is told when something has to be waited for.

        Raises:
            SettingsError: A setting of the API is missing or wrong; the file's default name depends on them.
            DestinationError: The destination is not DuckDB, or the file is busy.
        """
        settings = self.settings()
        target = self._target(settings)
        if target.duckdb_path is None:
            raise DestinationError(f"This needs DuckDB, and the destination is {target.type}.")
        with self._open_duckdb(target.duckdb_path, settings, say) as connection:
            yield connection

    def _open_duckdb(
        self, path: Path, settings: Settings, say: Callable[[str], None]
    ) -> "AbstractContextManager[DuckDBPyConnection]":
        from analytics_assets.defs.duckdb_warehouse import open_duckdb  # noqa: PLC0415 - definitions need no DuckDB

        return open_duckdb(path, self.busy_timeout, settings.duckdb_memory, say)


def _is_for_real() -> bool:
    return (dlt.config.get(".".join((*SECTION, "base_url")), str) or DEMO) != DEMO


@contextmanager
def _scratch_file(target: Target) -> Iterator[Target]:
    """A DuckDB file beside one that does not exist yet; any other target as it is.

    To make the file itself and remove it again would be to remove what another process has put into it meanwhile.
    """
    path = target.duckdb_path
    with ExitStack() as stack:
        try:
            if path and not path.exists():
                existing = next(parent for parent in path.parents if parent.exists())
                directory = tempfile.TemporaryDirectory(prefix=".analytics_check_", dir=existing)
                target = replace(target, duckdb_path=Path(stack.enter_context(directory), path.name))
        except OSError as error:
            raise DestinationError(f"Cannot create the DuckDB file {path}: {error.strerror}.") from error
        yield target
