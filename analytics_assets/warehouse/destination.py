"""Builds dlt's destination for a target, and refuses destinations that cannot work."""

import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

import dlt
from dlt.common.configuration.exceptions import ConfigurationException
from dlt.common.configuration.specs.base_configuration import is_hint_not_resolvable
from dlt.common.destination import DestinationCapabilitiesContext
from dlt.common.destination.client import WithStateSync
from dlt.common.destination.exceptions import DestinationException
from dlt.common.destination.reference import Destination, DestinationReference
from dlt.common.normalizers.naming import NamingConvention

from analytics_assets.warehouse.credentials import check_dsn, dsn_error
from analytics_assets.warehouse.duckdb_options import DUCKDB_CHECKPOINT
from analytics_assets.warehouse.errors import DestinationError
from analytics_assets.warehouse.missing import describe_missing, first_line
from analytics_assets.warehouse.target import DUCKDB, FILESYSTEM, Target

SQLALCHEMY = "sqlalchemy"

SQLITE_TIMEOUT = "60"
"""Seconds to wait while another run writes another table of the same SQLite file, which has one writer at a time.
Python's driver would wait for 5."""

DLT_POSTGRES = "dlt.destinations.postgres"

DLT_SQLALCHEMY = "dlt.destinations.sqlalchemy"

DLT_FILESYSTEM = "dlt.destinations.filesystem"

_LIBRARIES = {"delta": "deltalake", "iceberg": "pyiceberg"}
"""What reads and writes tables of a format. Extras have the names of the formats."""

_NAMES_OF_OTHERS = {
    **dict.fromkeys(("mysql", "mariadb", "sqlite"), SQLALCHEMY),
    **dict.fromkeys(_LIBRARIES, f"{FILESYSTEM}, with TABLE_FORMAT set to that"),
}
"""What dlt calls destinations that people know by another name."""

_UNKNOWN_TO_DLT: dict[str, dict[str, Any]] = {
    DUCKDB: {"supports_transactions": True},
    FILESYSTEM: {"supports_ddl_transactions": False},
}
"""Capabilities that dlt has wrong. Without the first it merges into DuckDB without a transaction: if the process died
between delete and insert, the rows to be replaced would be lost."""


def build_destination(target: Target, credentials: Any = None) -> Destination[Any, Any]:  # noqa: ANN401 - dlt's own
    """The dlt destination of a target.

    Args:
        target: Type of the destination, and format of its tables.
        credentials: An open connection or credentials; by default dlt reads its configuration.

    Raises:
        DestinationError: dlt does not know the type or its driver is missing, the destination cannot merge rows or
            cannot keep dlt's state, or the connection string is wrong.
    """
    known = _UNKNOWN_TO_DLT.get(target.type, {}) | ({} if credentials is None else {"credentials": credentials})
    if target.table_format:
        known |= {"preferred_table_format": target.table_format}
    try:
        destination = cast("Destination[Any, Any]", DestinationReference.from_reference(target.type, **known))
        destination = _keep_cells(destination, known)
        capabilities = destination.capabilities()
        client_class = destination.client_class
    except (DestinationException, ImportError) as error:
        raise describe_missing(target.type, error) or DestinationError(
            f"destination_type = {target.type!r} is unknown to dlt: {first_line(error).partition('. ')[0]}. Set"
            " DESTINATION_TYPE, or destination_type in .dlt/config.toml, to"
            f" {_NAMES_OF_OTHERS.get(target.type, 'one of https://dlthub.com/docs/dlt-ecosystem/destinations')}."
        ) from error
    _check_merge(target, capabilities)
    if not issubclass(client_class, WithStateSync):
        raise DestinationError(
            f"destination_type = {target.type!r} cannot keep dlt's state: every sync would start from the beginning."
            " Use for example duckdb or postgres."
        )
    # The name of the dataset is still missing: the pipeline adds it.
    try:
        config = destination.configuration(destination.spec(), accept_partial=True)
    except ConfigurationException as error:
        raise dsn_error(target.type, "cannot be read") from error
    check_dsn(target.type, config.credentials)
    if target.type == FILESYSTEM:
        _check_location(target, config.bucket_url)
    if target.type == DUCKDB:
        # dlt sets a threshold of its own, and then runs the statements that the pool of connections was built with.
        # The copy builds a new pool.
        config.credentials.statements = [f"SET GLOBAL checkpoint_threshold = '{DUCKDB_CHECKPOINT}'"]
        config.credentials = config.credentials.copy()
    if target.type == SQLALCHEMY and config.credentials.drivername.startswith("sqlite"):
        config.credentials.query = {"timeout": SQLITE_TIMEOUT, **(config.credentials.query or {})}
    return _resolve_once(destination, config)


def _check_merge(target: Target, capabilities: DestinationCapabilitiesContext) -> None:
    """Refuses a destination that cannot merge, in the configured format if it has formats."""
    formats, format_ = capabilities.supported_table_formats or (), target.table_format
    if format_ and format_ not in formats:
        instead = f"Set it to {' or '.join(formats)}" if formats else "Leave it out: the destination has none"
        raise DestinationError(f"table_format = {format_!r} is no format of the destination {target.type}. {instead}.")
    library = _LIBRARIES.get(format_ or "")
    if target.type == FILESYSTEM and library and not find_spec(library):
        raise DestinationError(
            f"table_format = {format_!r} needs {library}, which is not installed. Install the extra {format_}:"
            f" pip install 'analytics-assets[{format_}]'."
        )
    # Without the first strategy dlt appends the rows, unless the destination has a table format or a vector index.
    strategies = {"delete-insert", *(["upsert"] if format_ else ())}
    if strategies.isdisjoint(capabilities.supported_merge_strategies or ()):
        remedy = "Use a destination with the write disposition 'merge', for example duckdb or postgres."
        if formats:
            remedy = f"Set TABLE_FORMAT, or table_format in .dlt/config.toml, to {' or '.join(formats)}."
        raise DestinationError(
            f"destination_type = {target.type!r} cannot merge rows: every sync would add its rows once more. {remedy}"
        )


def _check_location(target: Target, resolved: str | None) -> None:
    """Refuses a directory or bucket in which tables could not be found again."""
    # dlt has made a relative path absolute.
    url = dlt.config.get("destination.filesystem.bucket_url", str) or ""
    is_local = "://" not in url or url.startswith("file:")
    # dlt takes brackets for a pattern. Percent signs, and in Iceberg's directories all that a URL escapes, are escaped
    # when tables are written, and not when they are read.
    unusable = r"[^\w./:\\~-]" if is_local and target.table_format == "iceberg" else r"[][%]"
    problem = ""
    if not resolved:
        problem = "is missing"
    elif url and "://" not in url and not Path(url).is_absolute():
        problem = "has no absolute path, and runs may have other current directories"
    elif found := re.search(unusable, url, re.ASCII):
        problem = f"has the character {found[0]!r}, with which {target.table_format} tables are not found again"
    if problem:
        raise DestinationError(
            f"destination.filesystem.bucket_url {problem}. Set DESTINATION__FILESYSTEM__BUCKET_URL to the directory or"
            " bucket of the tables, for example /srv/lake or s3://bucket/lake."
        )


def _keep_cells(destination: Destination[Any, Any], known: dict[str, Any]) -> Destination[Any, Any]:
    """The destination, or ours in its place where dlt's own would change some cells while loading."""
    if destination.destination_type == DLT_FILESYSTEM and "preferred_table_format" in known:
        from analytics_assets.warehouse.open_tables import Filesystem, silence_merges  # noqa: PLC0415 - definitions need no Arrow

        silence_merges()
        return Filesystem(**known)
    if destination.destination_type == DLT_POSTGRES:
        from analytics_assets.warehouse.postgres import Postgres  # noqa: PLC0415 - DuckDB needs no other driver

        return Postgres(**known)
    if destination.destination_type == DLT_SQLALCHEMY:
        from analytics_assets.warehouse.dlt_overrides import prepare_sqlalchemy  # noqa: PLC0415 - as above

        prepare_sqlalchemy()
    return destination


def with_staging(destination: Destination[Any, Any], suffix: str) -> Destination[Any, Any]:
    """The same destination with another staging dataset, whose name ends in a suffix."""
    given = destination.config_params
    layout = {"staging_dataset_name_layout": f"{given['staging_dataset_name_layout']}{suffix}"}
    copy = type(destination)(**given | layout, **destination.caps_params)
    copy.capabilities = destination.capabilities  # type: ignore[method-assign] # as in `_resolve_once`
    return copy


def _resolve_once(destination: Destination[Any, Any], config: Any) -> Destination[Any, Any]:  # noqa: ANN401 - as each has it
    """The same destination, with its configuration resolved and its capabilities remembered.

    dlt asks for both about ten times in a pipeline run. Each time it looks up every field that was not given in all
    places where it may be configured, which takes more than half of the time of a run that loads nothing.
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
        # A copy, because dlt writes into it.
        return resolved[key].copy()

    # dlt has no hook to remember them. A test fails if a new dlt no longer calls this.
    destination.capabilities = capabilities  # type: ignore[method-assign]
    return destination
