"""Reads which destination is configured, and which DuckDB file."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dlt

from analytics_assets.api.connector import SHIPPED, Connector
from analytics_assets.api.settings import Settings
from analytics_assets.project import config_dir
from analytics_assets.warehouse.errors import DestinationError
from analytics_assets.warehouse.read_copy import path_beside

DUCKDB = "duckdb"

FILESYSTEM = "filesystem"

DEMO_DATABASE = "data/demo.duckdb"
"""The DuckDB file of the demo, relative to the project, unless credentials of DuckDB are configured."""

_NO_HOME = "no home directory is known for the user after ~"


@dataclass(frozen=True, slots=True)
class Target:
    """A destination by its type."""

    type: str
    """dlt's name of the destination, such as `duckdb` or `postgres`."""
    duckdb_path: Path | None = None
    """Absolute path of the DuckDB file; `None` for every other destination."""
    read_copy: Path | None = None
    """Absolute path of the file's copy for readers; `None` if none is made."""
    table_format: str | None = None
    """Format of the tables, `delta` or `iceberg`, where the destination keeps them in files."""

    def __str__(self) -> str:
        """The destination for people: the path of the DuckDB file, or dlt's name of it."""
        return str(self.duckdb_path or self.type)


def reports_schema(connector: Connector) -> str:
    """The schema that holds the reports on a connector's tables."""
    return "reports" if connector.name == SHIPPED.name else f"{connector.name}_reports"


def destination_type(explicit: str | None = None) -> str:
    """The type of the destination: `explicit`, else dlt's configuration value `destination_type`, else DuckDB."""
    return explicit or dlt.config.get("destination_type", str) or DUCKDB


def read_target(settings: Settings, type_: str | None = None, credentials: str | None = None) -> Target:
    """The configured target. Reads `.dlt` and the environment, and does no other I/O.

    Without credentials, DuckDB's file is `data/warehouse.duckdb`. For the demo API it is `data/demo.duckdb`, so that
    made-up rows never land among real ones. Relative paths start at the directory in which dlt finds `.dlt`.

    Args:
        settings: Settings of the API.
        type_: Type of the destination, which wins over the configured one.
        credentials: Credentials of the destination, for DuckDB a path. They win over the configured ones.

    Raises:
        DestinationError: The DuckDB database is in memory and would not outlive the run, its name is that of a schema
            in it, or its path starts at a home directory that is not known.
        SettingsError: The copy for readers cannot have its path.
    """
    type_ = destination_type(type_)
    if type_ != DUCKDB:
        return Target(type_, table_format=dlt.config.get("table_format", str))
    name = credentials or _duckdb_database()
    if name is None:
        name = DEMO_DATABASE if settings.is_demo else "data/warehouse.duckdb"
    name = name.removeprefix("duckdb:///")
    if name.startswith(":"):
        raise DestinationError(
            f"destination.duckdb.credentials = {name!r} is no file: tables and cursors would be gone after the run. Set"
            " DESTINATION__DUCKDB__CREDENTIALS to a path, or leave it out."
        )
    try:
        path = config_dir() / Path(name).expanduser()
    except RuntimeError as error:
        raise DestinationError(
            f"destination.duckdb.credentials = {name!r} cannot be used: {_NO_HOME}. Set"
            " DESTINATION__DUCKDB__CREDENTIALS to an absolute path."
        ) from error
    if _is_schema(path, settings.connector):
        raise DestinationError(
            f"destination.duckdb.credentials = {name!r} cannot be used: DuckDB names a database after its file, and in"
            f" {path.stem!r} it could not tell the database from the schema of that name. Rename the file, for example"
            f" to {path.stem}_warehouse{path.suffix}."
        )
    return Target(type_, path, _read_copy(settings, path))


def _is_schema(path: Path, connector: Connector) -> bool:
    """Whether a file is called like a schema of a warehouse: the tables, dlt's staging tables, and the reports."""
    return path.stem.lower() in {connector.dataset, f"{connector.dataset}_staging", reports_schema(connector)}


def _read_copy(settings: Settings, database: Path) -> Path | None:
    if settings.read_copy is False:
        return None
    copy = path_beside(database)
    if settings.read_copy is not True:
        try:
            copy = config_dir() / Path(settings.read_copy).expanduser()
        except RuntimeError as error:
            raise settings.error("read_copy", f"cannot be used: {_NO_HOME}", settings.read_copy) from error
    if copy.resolve() == database.resolve():
        raise settings.error("read_copy", "is the warehouse itself", str(copy))
    # A log beside a copy is removed.
    if _log(database).resolve() == copy.resolve() or _log(copy).resolve() == database.resolve():
        raise settings.error(
            "read_copy", "has the name of DuckDB's log of the warehouse, or the other way round", str(copy)
        )
    if _is_schema(copy, settings.connector):
        problem = "is called like a schema in it, from which DuckDB could not tell the database"
        raise settings.error("read_copy", problem, str(copy), "Give it the path of a file of another name.")
    return copy


def _log(database: Path) -> Path:
    """DuckDB's log of what it has not written to a file yet."""
    return database.with_name(f"{database.name}.wal")


def _duckdb_database() -> str | None:
    configured: Any = dlt.secrets.get("destination.duckdb.credentials")
    if isinstance(configured, dict):
        configured = configured.get("database")
    return configured or dlt.secrets.get("destination.duckdb.credentials.database", str)
