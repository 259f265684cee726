"""The Dagster resource `analytics`: the API's settings and the destination's."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg
from pydantic import Field, PrivateAttr

from analytics_assets.api.connector import Connector
from analytics_assets.api.settings import (
    DEMO,
    NO_FIELDS,
    SECRETS,
    Settings,
    SettingsError,
    look_up,
    read_secret,
    secret_part,
)
from analytics_assets.api.settings_reader import read_settings
from analytics_assets.defs.automation.signs_of_life import alive
from analytics_assets.defs.names import Names
from analytics_assets.warehouse.access import check_writable
from analytics_assets.warehouse.duckdb_options import duckdb_options
from analytics_assets.warehouse.errors import CatalogChangeError, DestinationError
from analytics_assets.warehouse.leftovers import describe_leftovers, find_leftovers
from analytics_assets.warehouse.read_copy import path_beside
from analytics_assets.warehouse.session import BUSY_TIMEOUT, Session, open_session, scratch_file
from analytics_assets.warehouse.table_state import find_refusals
from analytics_assets.warehouse.target import DEMO_DATABASE, DUCKDB, Target, read_target

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection


class AnalyticsResource(dg.ConfigurableResource[Any]):
    """Says where the rows come from and where they land.

    An empty field takes its value from dlt's configuration: the section `[sources.<name>]` of `.dlt/config.toml`, for
    secrets of `.dlt/secrets.toml`, or the environment. For `base_url` and the connector `analytics` that is
    `SOURCES__ANALYTICS__BASE_URL`. A field that is set here or in the launchpad wins. Give secrets as
    `dg.EnvVar(...)`, never as text.
    """

    base_url: str | None = Field(default=None, description="Base URL of the API, or demo for the built-in one.")
    api_key: str | None = Field(default=None, repr=False, description="Bearer token; use an EnvVar.")
    client_id: str | None = Field(
        default=None,
        repr=False,
        description="Id of the OAuth 2 client that fetches tokens; use an EnvVar.",
    )
    client_secret: str | None = Field(
        default=None, repr=False, description="Secret of the OAuth 2 client; use an EnvVar."
    )
    token_url: str | None = Field(default=None, description="URL of the OAuth 2 token endpoint.")
    scope: str | None = Field(default=None, description="OAuth 2 scope to request.")
    start_date: str | None = Field(
        default=None, description="Where the first sync of an incremental resource starts, ISO 8601."
    )
    dialect: str | None = Field(default=None, description="Name of the wire format of the API, such as analytics.")
    page_size: int | None = Field(default=None, description="Rows per page.")
    lag_seconds: int | None = Field(default=None, description="How many seconds behind its cursor a sync starts.")
    max_pages: int | None = Field(default=None, description="A listing with more pages than this fails.")
    rows_per_load: int | None = Field(default=None, description="Rows after which a load is committed.")
    max_response_mb: float | None = Field(
        default=None, description="A response of more megabytes than this fails its resource."
    )
    max_deleted_share: float | None = Field(
        default=None, description="Largest share of a table's live rows that a sync may find gone upstream."
    )
    max_rescued_share: float | None = Field(
        default=None, description="Largest share of a column's values that may not fit its type."
    )
    requests_in_flight: int | None = Field(default=None, description="Most requests at once.")
    requests_per_second: float | None = Field(default=None, description="Most requests per second.")
    allowed_hosts: list[str] | None = Field(
        default=None, description="Other origins that run config may name. Run config may not set this field."
    )
    allow_http: bool | None = Field(default=None, description="Allow http:// to other hosts than this one.")
    hash_key: str | None = Field(
        default=None,
        repr=False,
        description="Key with which sensitive fields are hashed; use an EnvVar. Not settable by run config.",
    )
    destination_type: str | None = Field(
        default=None, description="dlt's name of the destination, for example duckdb or postgres."
    )
    destination_credentials: str | None = Field(
        default=None, repr=False, description="DuckDB path or connection string; use an EnvVar."
    )
    duckdb_memory: str | None = Field(
        default=None, description="Most memory that DuckDB uses, such as 512MB; beyond it DuckDB uses disk."
    )
    busy_timeout: float = Field(
        default=BUSY_TIMEOUT,
        description="Most seconds to wait for a DuckDB file, or a table elsewhere, that another run holds.",
    )

    _run_config: Mapping[str, Any] = PrivateAttr(default_factory=dict)

    def setup_for_execution(self, context: dg.InitResourceContext) -> None:
        """Remembers the run config. It is not trusted, because Dagster's webserver has no authentication."""
        self._run_config = context.run.run_config if context.run else {}

    def check_run_config(self, names: Names) -> None:
        """Refuses run config that sets a protecting field, or reads an environment variable into a field that is shown.

        `allowed_hosts` and `hash_key` protect others than the person who launches the run. Credentials may be read from
        variables, because no message shows them and their recipient is checked.

        Raises:
            SettingsError: Run config does one of the two.
        """
        for name in ("allowed_hosts", "hash_key"):
            if name in self._by_run_config(names):
                remedy = "Run config may not set it: set it in .dlt or the environment."
                raise SettingsError(names.connector.section, name, "comes by run config", remedy=remedy)
        steps = {*(names.op(each.name) for each in names.connector.resources), names.window_op}
        ops = [self._run_config.get("ops", {}).get(op) or {} for op in sorted(steps)]
        hidden = SECRETS - {"hash_key", *NO_FIELDS}
        for place, fields, allowed in (
            ("resource", self._by_run_config(names), hidden),
            *(("op", op.get("config") or {}, ()) for op in ops),
        ):
            for name, value in fields.items():
                if isinstance(value, Mapping) and "env" in value and name not in allowed:
                    raise SettingsError(
                        names.connector.section,
                        name,
                        f"is read from the variable {value['env']} by the {place}'s run config, and would be shown",
                        remedy=f"Run config may read only these fields from variables: {', '.join(sorted(hidden))}.",
                    )

    @contextmanager
    def yield_for_execution(self, context: dg.InitResourceContext) -> Iterator["AnalyticsResource"]:
        """Opens the resource. The run gives signs of life while it is open."""
        with super().yield_for_execution(context), alive(context):
            yield self

    def settings(self, names: Names, **overrides: Any) -> Settings:  # noqa: ANN401 - settings differ in type
        """The API's settings, checked.

        Args:
            names: Names of the connector.
            overrides: Values that win over the resource's own fields; `None` keeps the field's value.

        Raises:
            SettingsError: A setting is missing or wrong, or run config would send credentials to another origin.
        """
        self.check_run_config(names)
        own = {key: getattr(self, key, None) for key in Settings()}
        given = {key: value for key, value in overrides.items() if value is not None}
        return read_settings(names.connector, self._by_run_config(names), **own | given)

    def leads_elsewhere(self, names: Names) -> bool:
        """Whether run config leads this run to another URL than the configured one."""
        urls = self._by_run_config(names).get("base_url"), _base_url(names.connector)
        given, configured = (url.rstrip("/") if isinstance(url, str) else url for url in urls)
        return given is not None and given != configured

    def _by_run_config(self, names: Names) -> Mapping[str, Any]:
        """The fields that run config sets."""
        return self._run_config.get("resources", {}).get(names.resource_key, {}).get("config") or {}

    def secrets(self, connector: Connector) -> list[str | None]:
        """The API's secrets, which no message may show, from the fields and dlt's configuration. They are unchecked."""
        # `read_secret` also reads files of /run/secrets, and takes long names only.
        short = {key: str(value) for key, value in look_up(connector, *SECRETS).items() if value}
        found = {
            key: getattr(self, key, None) or read_secret(connector.setting(key)) or short.get(key)
            for key in sorted(SECRETS)
        }
        return [secret_part(key, value) for key, value in found.items()]

    @contextmanager
    def session(
        self,
        names: Names,
        log: Callable[[str], None],
        busy_timeout: float | None = None,
    ) -> Iterator[Session]:
        """Checks the configuration and opens the destination for one run. Makes no request to the API.

        Args:
            names: Names of the connector.
            log: Called with a message when the run has to wait.
            busy_timeout: Most seconds to wait for a DuckDB file, in place of the field.

        Raises:
            SettingsError: A setting of the API is missing or wrong.
            DestinationError: The destination is unknown, unsuitable, busy or out of reach.
        """
        with self.open(*self.plan(names), log, busy_timeout) as session:
            yield session

    def open(
        self, settings: Settings, target: Target, log: Callable[[str], None], busy_timeout: float | None = None
    ) -> AbstractContextManager[Session]:
        """Opens the destination for a run that is planned (see `plan` and `session`)."""
        connect = partial(self._connect, timeout=busy_timeout)
        return open_session(settings, target, self.destination_credentials, log=log, connect=connect)

    def check_destination(self, names: Names, log: Callable[[str], None]) -> tuple[str, dict[str, CatalogChangeError]]:
        """Tests whether a run could write to the destination, and leaves nothing there.

        Args:
            names: Names of the connector.
            log: Called with a message when the check has to wait.

        Returns:
            Sentences that name the destination, and say what was tried and what is left there of former resources;
            and why a table cannot take rows, by resource.

        Raises:
            SettingsError: A setting of the API is missing or wrong.
            DestinationError: The destination is unknown, unsuitable, busy, out of reach or not writable.
        """
        settings, target = self.plan(names)
        with (
            scratch_file(target) as scratch,
            self.open(settings, scratch, log) as session,
        ):
            says = (
                f"{target} can be reached; writing was not tried, because the destination cannot roll back a new table"
            )
            if check_writable(session.client):
                says = f"{target} can be written to"
            with session.client as client:
                refusals = find_refusals(client, session.connector)
                leftovers = find_leftovers(client, session.connector)
        return f"{says}. {describe_leftovers(names.connector, leftovers)}" if leftovers else says, refusals

    def plan(self, names: Names, **overrides: Any) -> tuple[Settings, Target]:  # noqa: ANN401 - settings differ in type
        """What a run reads and where it loads. Nothing is opened.

        Args:
            names: Names of the connector.
            overrides: Values that win over the resource's own fields; `None` keeps the field's value.

        Raises:
            SettingsError: A setting of the API is missing or wrong.
            DestinationError: The destination is unsuitable.
        """
        settings = self.settings(names, **overrides)
        return settings, self._target(names, settings)

    def target(self, names: Names) -> Target:
        """Where a run loads: see `plan`."""
        return self.plan(names)[1]

    def _target(self, names: Names, settings: Settings) -> Target:
        fields = self._by_run_config(names)
        if (
            settings.is_demo
            and "base_url" in fields
            and _is_for_real(names.connector)
            and "destination_credentials" not in fields
        ):
            # Run config asks for the demo where a real API is configured: made-up rows must not land among real ones.
            return _copied_beside(read_target(settings, DUCKDB, DEMO_DATABASE))
        target = read_target(settings, self.destination_type, self.destination_credentials)
        if "." in target.type and "destination_type" in fields:
            raise DestinationError(
                f"destination_type = {target.type!r}: run config may name dlt's destinations only, for example"
                " duckdb or postgres. Set any other as destination_type in .dlt/config.toml."
            )
        if target.duckdb_path is None and "destination_credentials" in fields:
            raise DestinationError(
                f"resources.{names.resource_key}.config.destination_credentials: run config may name a DuckDB file, and"
                f" no other place for the rows. Set destination.{target.type}.credentials in .dlt/secrets.toml, or"
                f" as DESTINATION__{target.type.upper()}__CREDENTIALS in the environment."
            )
        return _copied_beside(target) if "destination_credentials" in fields else target

    @contextmanager
    def _connect(
        self, path: Path, memory: str | None, log: Callable[[str], None], timeout: float | None = None
    ) -> "Iterator[DuckDBPyConnection]":
        """Opens a DuckDB file by `DuckDBResource`, as soon as no other process holds it."""
        from dagster_duckdb import DuckDBResource  # noqa: PLC0415 - definitions need no DuckDB

        from analytics_assets.warehouse.duckdb_file import open_duckdb  # noqa: PLC0415

        warehouse = DuckDBResource(database=str(path), connection_config=duckdb_options(memory))
        # DuckDBResource waits for a busy file silently. Once this process holds the file, it connects at once.
        with (
            open_duckdb(path, self.busy_timeout if timeout is None else timeout, memory, log),
            warehouse.get_connection() as connection,
            closing(connection),
        ):
            yield connection


def _copied_beside(target: Target) -> Target:
    """The target with its copy for readers beside it: a configured path is for the configured file alone."""
    if target.duckdb_path is None or target.read_copy is None:
        return target
    return replace(target, read_copy=path_beside(target.duckdb_path))


def _is_for_real(connector: Connector) -> bool:
    return _base_url(connector) != DEMO


def _base_url(connector: Connector) -> str:
    return str(look_up(connector, "base_url")["base_url"] or DEMO)
