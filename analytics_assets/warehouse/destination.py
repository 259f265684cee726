"""Where the tables land: which destination, which DuckDB file, and which destinations cannot work."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import dlt
from dlt.common.configuration.exceptions import ConfigurationException
from dlt.common.configuration.specs import BaseConfiguration, ConnectionStringCredentials
from dlt.common.configuration.specs.base_configuration import is_hint_not_resolvable, is_secret_hint
from dlt.common.destination import DestinationCapabilitiesContext
from dlt.common.destination.client import WithStateSync
from dlt.common.destination.exceptions import DestinationException
from dlt.common.destination.reference import Destination, DestinationReference
from dlt.common.normalizers.naming import NamingConvention
from dlt.common.typing import is_optional_type

from analytics_assets.api.settings import Settings
from analytics_assets.project import project_dir

DUCKDB = "duckdb"
DEMO_DATABASE = "data/demo.duckdb"
"""Where the demo's rows land, unless somebody has configured both."""

DATASET = "analytics"
REPORTS_SCHEMA = "reports"
SCHEMAS = frozenset({DATASET, f"{DATASET}_staging", REPORTS_SCHEMA})
"""The schemas of a warehouse: the tables, dlt's staging tables, and the reports."""

DLT_POSTGRES = "dlt.destinations.postgres"
DLT_SQLALCHEMY = "dlt.destinations.sqlalchemy"
POSTGRES_SCHEMES = frozenset({"postgresql", "postgres"})

DUCKDB_MEMORY = "512MB"
"""What DuckDB keeps in memory at most, unless `duckdb_memory` says otherwise; beyond it, it writes to disk.

It works on 2,048 rows at a time, and needs all of them in memory, whatever their size. Measured, with row groups of
8 MB: 4,000 rows of 20 KB load and merge with 96 MB, one of 20 MB with 160, 200 of 1 MB with 320 and can be read with
400.
"""

DUCKDB_FLUSH = "1MB"
"""Memory that DuckDB has freed is given back to the system beyond this. It would keep 512 MB, up to 300 MB more than it
needs."""

DUCKDB_CHECKPOINT = "16KB"
"""A transaction that DuckDB takes to be larger goes into the file at its commit, and not into the log before that.

dlt has it at 1 GB. For the log, rows are packed 2,048 at a time, 200 MB in 400 MB beside the limit. DuckDB counts some
bytes for a text, whatever its length, so that this is about a hundred rows.
"""

_UNKNOWN_TO_DLT: dict[str, dict[str, Any]] = {DUCKDB: {"supports_transactions": True}}
"""Capabilities of a destination that dlt does not know of. It would merge into DuckDB without a transaction: where the
insert failed after the delete, or the process died in between, the rows to be replaced would be gone."""

DUCKDB_THREADS = 2
"""Each thread needs memory of its own, and a sync waits for Python more than for DuckDB."""

DUCKDB_STORAGE = "v1.4.0"
"""New files are written for DuckDB 1.4 and later; DuckDB 2.0 would make files that no version before it reads.

A file that exists keeps the storage version it has, older or newer, with this option and without: DuckDB neither
upgrades nor refuses it.
"""


class DestinationError(ValueError):
    """A destination that is unknown, unsuitable or busy."""


@dataclass(frozen=True, slots=True)
class Target:
    """A destination by type; `duckdb_path` is its absolute path if it is a DuckDB file."""

    type: str
    duckdb_path: Path | None = None


def destination_type(explicit: str | None = None) -> str:
    """The configured type of the destination; dlt's own key `destination_type`, by default DuckDB."""
    return explicit or dlt.config.get("destination_type", str) or DUCKDB


def read_target(settings: Settings, type_: str | None = None, credentials: str | None = None) -> Target:
    """The target that is configured; does no I/O beyond reading `.dlt`.

    Without credentials, DuckDB's file is `data/warehouse.duckdb` of the project, or `data/demo.duckdb` for the demo
    API, so that made-up rows never land among real ones. Relative paths start at the project.

    Args:
        settings: Settings of the API.
        type_: Type of the destination; wins over the configured one.
        credentials: Credentials, for DuckDB the path; win over the configured ones.

    Raises:
        DestinationError: The database would not outlive the run, or is named like a schema in it.
    """
    type_ = destination_type(type_)
    if type_ != DUCKDB:
        return Target(type_)
    name = credentials or _duckdb_database()
    if name is None:
        name = DEMO_DATABASE if settings.is_demo else "data/warehouse.duckdb"
    name = name.removeprefix("duckdb:///")
    if name.startswith(":"):
        raise DestinationError(
            f"destination.duckdb.credentials = {name!r} is no file: tables and cursors would be gone after the run. Set"
            " DESTINATION__DUCKDB__CREDENTIALS to a path, or leave it out."
        )
    path = project_dir() / Path(name).expanduser()
    if path.stem.lower() in SCHEMAS:
        raise DestinationError(
            f"destination.duckdb.credentials = {name!r} cannot be used: DuckDB names a database after its file, and in"
            f" {path.stem!r} it could not tell the database from the schema of that name. Rename the file, for example"
            f" to {path.stem}_warehouse{path.suffix}."
        )
    return Target(type_, path)


def _duckdb_database() -> str | None:
    configured: Any = dlt.secrets.get("destination.duckdb.credentials")
    if isinstance(configured, dict):
        configured = configured.get("database")
    return configured or dlt.secrets.get("destination.duckdb.credentials.database", str)


def build_destination(target: Target, credentials: Any = None) -> Destination[Any, Any]:  # noqa: ANN401 - dlt's own
    """The dlt destination of a target.

    Args:
        target: What to build.
        credentials: An open connection or credentials; dlt's configuration by default.

    Raises:
        DestinationError: dlt does not know the type, or the destination cannot merge or cannot keep cursors.
    """
    known = _UNKNOWN_TO_DLT.get(target.type, {}) | ({} if credentials is None else {"credentials": credentials})
    try:
        destination = cast("Destination[Any, Any]", DestinationReference.from_reference(target.type, **known))
        destination = _keep_cells(destination, known)
        # Without this strategy dlt merges only with a table format or vector index on top, and appends otherwise.
        able_to_merge = "delete-insert" in (destination.capabilities().supported_merge_strategies or ())
        client_class = destination.client_class
    except (DestinationException, ImportError) as error:
        raise DestinationError(
            f"destination_type = {target.type!r} is unknown to dlt or not installed: {error}. Set DESTINATION_TYPE, or"
            " destination_type in .dlt/config.toml, to one of https://dlthub.com/docs/dlt-ecosystem/destinations."
        ) from error
    if not able_to_merge:
        raise DestinationError(
            f"destination_type = {target.type!r} cannot merge rows: every sync would add its rows once more. Use a"
            " destination with the write disposition 'merge', for example duckdb or postgres."
        )
    if not issubclass(client_class, WithStateSync):
        raise DestinationError(
            f"destination_type = {target.type!r} cannot keep dlt's state: every sync would start from the beginning."
            " Use for example duckdb or postgres."
        )
    # Partial, as the pipeline adds the name of its dataset.
    try:
        config = destination.configuration(destination.spec(), accept_partial=True)
    except ConfigurationException as error:
        raise _dsn_error(target.type, "cannot be read") from error
    _check_dsn(target.type, config.credentials)
    if target.type == DUCKDB:
        # dlt has a threshold of its own, which it sets with each connection before these. A copy knows of them.
        config.credentials.statements = [f"SET GLOBAL checkpoint_threshold = '{DUCKDB_CHECKPOINT}'"]
        config.credentials = config.credentials.copy()
    return _resolve_once(destination, config)


def _keep_cells(destination: Destination[Any, Any], known: dict[str, Any]) -> Destination[Any, Any]:
    """The destination, or one of ours where dlt's would not load all cells as they are."""
    if destination.destination_type not in {DLT_POSTGRES, DLT_SQLALCHEMY}:
        return destination
    from analytics_assets.warehouse.cells import Postgres, prepare_sqlite  # noqa: PLC0415 - DuckDB needs no other driver

    prepare_sqlite()
    return Postgres(**known) if destination.destination_type == DLT_POSTGRES else destination


def secrets_of(config: object) -> list[str]:
    """The values of a resolved configuration that dlt takes for secrets, those of its credentials included."""
    if not isinstance(config, BaseConfiguration):
        return []
    found = []
    for name, hint in config.get_resolvable_fields().items():
        value = config[name]
        found += secrets_of(value)
        if is_secret_hint(hint) and isinstance(value, str | int):
            found.append(str(value))
    # Such as sslpassword.
    query = config.get("query") if isinstance(config, ConnectionStringCredentials) else None
    return [
        *found,
        *(str(value) for name, value in (query or {}).items() if re.search("pass|token|secret", name, re.IGNORECASE)),
    ]


def _check_dsn(type_: str, credentials: object) -> None:
    """Refuses a connection string that a driver would misread, as drivers quote it in their errors.

    Raises:
        DestinationError: It lacks something, has another scheme, or characters in it are not escaped.
    """
    if not isinstance(credentials, ConnectionStringCredentials):
        return
    fields = credentials.get_resolvable_fields()
    missing = [name for name, hint in fields.items() if credentials[name] is None and not is_optional_type(hint)]
    if "drivername" in missing or {"host", "username", "password"} <= set(missing):
        raise _dsn_error(type_, "is missing")
    if credentials.database == ":memory:":
        raise _dsn_error(type_, "is no file: tables and cursors would be gone after the run")
    if "@" in (credentials.host or ""):
        raise _dsn_error(type_, "has an @ in the user's name or password, which has to be written as %40")
    if missing:
        raise _dsn_error(type_, f"has no {' and no '.join(missing)}")
    if type_ == "postgres" and credentials.drivername not in POSTGRES_SCHEMES:
        raise _dsn_error(type_, f"begins with {credentials.drivername}://, which is not the database's own scheme")


def _dsn_error(type_: str, problem: str) -> DestinationError:
    scheme = "postgresql" if type_ == "postgres" else type_
    sample = "sqlite:////path/to/file.db" if type_ == "sqlalchemy" else f"{scheme}://user:password@host:5432/database"
    return DestinationError(
        f"destination.{type_}.credentials {problem}. It is not shown here. Write it like {sample}, with what is special"
        f" in a URL escaped, in .dlt/secrets.toml or as DESTINATION__{type_.upper()}__CREDENTIALS in the environment."
    )


def duckdb_options(memory_limit: str | None = None) -> dict[str, Any]:
    """How a DuckDB file is opened for a sync."""
    return {
        "memory_limit": memory_limit or DUCKDB_MEMORY,
        "threads": DUCKDB_THREADS,
        "allocator_flush_threshold": DUCKDB_FLUSH,
        "allocator_bulk_deallocation_flush_threshold": DUCKDB_FLUSH,
        # By its own default it writes a transaction that it takes for small into the log as well.
        "auto_checkpoint_skip_wal_threshold": 0,
        "storage_compatibility_version": DUCKDB_STORAGE,
    }


def _resolve_once(destination: Destination[Any, Any], config: Any) -> Destination[Any, Any]:  # noqa: ANN401 - as each has it
    """The same destination, with its configuration spelled out and its capabilities remembered.

    dlt asks for both about ten times a pipeline run, and each time looks every field up in all places where it may be
    configured, unless it is given: more than half of the time of a run that loads nothing.
    """
    if config.credentials and config.credentials.is_resolved():
        fields = config.get_resolvable_fields()
        given = {name: config[name] for name, hint in fields.items() if not is_hint_not_resolvable(hint)}
        destination = type(destination)(**given, **destination.caps_params)
    resolve = destination.capabilities
    resolved: dict[tuple[object, ...], DestinationCapabilitiesContext] = {}

    def capabilities(
        config: Any = None,  # noqa: ANN401 - the destination's own
        naming: NamingConvention | None = None,
    ) -> DestinationCapabilitiesContext:
        if config is not None:
            return resolve(config, naming)
        key = (type(naming), naming and naming.max_length)
        if key not in resolved:
            resolved[key] = resolve(naming=naming)
        # A copy, as dlt writes into what it gets.
        return resolved[key].copy()

    # dlt has no other place to remember them. A test sees that it still asks here.
    destination.capabilities = capabilities  # type: ignore[method-assign]
    return destination
