"""The dlt pipeline of a resource, what is asked of its table around a load, and the marks of deleted rows."""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import Any

import dlt
from dlt.common.destination.client import WithStagingDataset, WithStateSync
from dlt.common.destination.reference import Destination
from dlt.destinations.exceptions import DatabaseException
from dlt.destinations.job_client_impl import SqlJobClientBase
from dlt.destinations.sql_client import SqlClientBase
from dlt.pipeline.state_sync import load_pipeline_state_from_destination

from analytics_assets.api.catalog import DELETED_AT, Resource
from analytics_assets.api.redaction import redact
from analytics_assets.api.report import Gap, read_gap
from analytics_assets.api.source import SOURCE_NAME
from analytics_assets.api.values import column_name
from analytics_assets.warehouse.destination import DATASET, DUCKDB, DestinationError, secrets_of

POSTGRES = "postgres"
SQLITE = "sqlite"

SCRATCH = "_analytics_check"
"""The table that shows that one can be made. It is never committed."""


class ShrunkListingError(ValueError):
    """A listing lacks so many of a table's rows that it is more likely wrong than they are gone."""


def pipeline_name(resource: Resource) -> str:
    """Name of the pipeline and the schema of a resource.

    One each, since dlt keeps a pipeline's cursors in one document: concurrent runs of two resources that shared it
    would overwrite each other's.
    """
    return f"{SOURCE_NAME}_{resource.name}"


def build_pipeline(resource: Resource, destination: Destination[Any, Any], working_dir: str) -> dlt.Pipeline:
    """A new pipeline for one run; cursors and schema are restored from the destination when it runs."""
    pipeline = dlt.pipeline(
        pipeline_name(resource), destination=destination, dataset_name=DATASET, pipelines_dir=working_dir
    )
    # dlt would take note of Ctrl-C, and of Dagster's termination, and go on, or fail this resource alone.
    pipeline.runtime_config.intercept_signals = False
    return pipeline


def load_options(target_type: str) -> dict[str, Any]:
    """Arguments of `pipeline.run` that suit the destination.

    dlt loads into DuckDB by INSERT statements by default; parquet takes a seventh of the time, a tenth of the memory.
    """
    return {"loader_file_format": "parquet"} if target_type == DUCKDB else {}


def loads_once(target_type: str) -> bool:
    """Whether the rows of a file are in their table, or the staging table, just once when they are loaded.

    Not where the warehouse is across a network: a load that is tried again, as its commit was not heard of, would have
    its rows there twice.
    """
    return target_type == DUCKDB


def appends(target_type: str, *, into_empty: bool) -> bool:
    """Whether a load may append its rows instead of merging them, if it holds none twice.

    Into a table that is empty the outcome is the same, without a staging table, in less time and memory.

    Args:
        target_type: The destination's.
        into_empty: Whether the table is empty, new, or dropped before the load.
    """
    return into_empty and loads_once(target_type)


def build_client(destination: Destination[Any, Any], working_dir: str) -> SqlJobClientBase:
    """A client for the questions below. `with client:` connects it, as often as needed.

    Raises:
        DestinationError: The destination does not speak SQL.
    """
    name = f"{SOURCE_NAME}_probe"
    probe = dlt.pipeline(name, destination=destination, dataset_name=DATASET, pipelines_dir=working_dir)
    client = probe.destination_client()
    if not isinstance(client, SqlJobClientBase):
        raise DestinationError(f"destination_type: {type(client).__name__} does not speak SQL.")
    return client


@contextmanager
def exclusive(
    destination: Destination[Any, Any],
    working_dir: str,
    resources: Iterable[Resource],
    patience: float,
    say: Callable[[str], None],
) -> Iterator[None]:
    """Keeps two runs from reading and loading one Postgres table at a time, whatever Dagster instance they belong to.

    dlt loads by way of a staging table, which both would use. Other destinations pass: a DuckDB file is the run's own
    anyway, and in one instance the pool keeps runs apart.

    Args:
        destination: Gets a connection of its own; the locks go with it.
        working_dir: As for `build_client`.
        resources: Whose tables to lock; in the order of a run, so that two of them do not wait for each other.
        patience: Seconds to wait for another run at most.
        say: Is told when another run has to be waited for.

    Raises:
        DestinationError: Another run still has a table.
    """
    if not destination.destination_type.endswith(POSTGRES):
        yield
        return
    with build_client(destination, working_dir) as client:
        for resource in resources:
            name = f"{DATASET}.{resource.name}"
            if not _first(client, "SELECT pg_try_advisory_lock(hashtext(%s))", name)[0]:
                say(f"Waiting for another run that is loading {name}, {patience:g} s at most")
                client.sql_client.execute_sql(
                    "SELECT set_config('lock_timeout', %s, false)", f"{patience * 1000:.0f}ms"
                )
                try:
                    client.sql_client.execute_sql("SELECT pg_advisory_lock(hashtext(%s))", name)
                except DatabaseException as error:
                    raise DestinationError(
                        f"Another run is still loading {name} after {patience:g} s. Let it end, or raise busy_timeout"
                        f" of the resource 'analytics'. The database says: {_said(error, client)}"
                    ) from error
        yield


def check_reachable(client: SqlJobClientBase) -> None:
    """Connects once.

    Raises:
        DestinationError: The destination cannot be reached or used.
    """
    try:
        with client:
            client.is_storage_initialized()
    except Exception as error:  # each destination's driver has errors of its own
        raise DestinationError(
            f"Cannot use the destination {client.config.destination_type}: {_said(error, client)}"
        ) from error


def check_writable(client: SqlJobClientBase) -> bool:
    """Makes a table as a sync would, with the schema if there is none, and takes it back.

    Returns:
        Whether it was tried. Where the destination cannot take a table back, nothing is done.

    Raises:
        DestinationError: The destination refuses.
    """
    # Python's driver of SQLite makes tables outside of transactions, whatever dlt says.
    if not client.capabilities.supports_ddl_transactions or is_sqlite(client):
        return False
    try:
        with suppress(_UndoError), client, client.sql_client.begin_transaction():
            _make_table_and_undo(client.sql_client)
    except Exception as error:  # each destination's driver has errors of its own
        raise DestinationError(
            f"Cannot create a table in {DATASET!r} of the destination {client.config.destination_type}:"
            f" {_said(error, client)}"
        ) from error
    return True


def _said(error: Exception, client: SqlJobClientBase) -> str:
    """The first line of what a driver says, without the credentials. The others quote statements and rows."""
    return redact(str(error).strip().partition("\n")[0], secrets_of(client.config))


class _UndoError(Exception):
    """Ends a transaction without a trace."""


def _make_table_and_undo(sql: SqlClientBase[Any]) -> None:
    if not sql.has_dataset():
        sql.create_dataset()
    sql.execute_sql(f"CREATE TABLE {sql.make_qualified_table_name(SCRATCH)} (id INTEGER)")
    raise _UndoError


def rows_loaded(pipeline: dlt.Pipeline, resource: Resource) -> int:
    """Rows that the last run of the pipeline brought to the table; 0 when there was nothing new."""
    trace = pipeline.last_trace
    counts = trace.last_normalize_info.row_counts if trace and trace.last_normalize_info else {}
    return counts.get(resource.name, 0)


def last_load_id(pipeline: dlt.Pipeline) -> str:
    """The load that the last run made, or the present if it had nothing to load. Ids are epoch seconds."""
    trace = pipeline.last_trace
    loads = trace.last_load_info.loads_ids if trace and trace.last_load_info else []
    return min(loads) if loads else str(time.time())


def left_out(client: SqlJobClientBase, resource: Resource) -> Gap | None:
    """What the syncs of a resource have still to read, by the state of the last load that counts."""
    name = pipeline_name(resource)
    state: Any = load_pipeline_state_from_destination(name, client) if isinstance(client, WithStateSync) else None
    # The source is called like the pipeline.
    resources = ((state or {}).get("sources", {}).get(name) or {}).get("resources", {})
    return read_gap(resources.get(resource.name, {}))


def is_sqlite(client: SqlJobClientBase) -> bool:
    """Whether the destination is SQLite, to which dlt speaks by way of SQLAlchemy."""
    return client.capabilities.sqlglot_dialect == SQLITE


def as_argument(client: SqlJobClientBase, moment: datetime) -> datetime | str:
    """A point in time to compare a column with. SQLite compares texts, and has those that SQLAlchemy writes."""
    if not is_sqlite(client):
        return moment
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(" ", "microseconds")


def has_table(client: SqlJobClientBase, resource: Resource) -> bool:
    """Whether the destination holds the resource's table."""
    exists, _ = client.get_storage_table(resource.name)
    return exists


def has_rows(client: SqlJobClientBase, resource: Resource) -> bool:
    """Whether the destination holds the resource's table, and the table a row."""
    if not has_table(client, resource):
        return False
    return bool(client.sql_client.execute_sql(f"SELECT 1 FROM {_table(client, resource)} LIMIT 1"))


def prepare_drop(client: SqlJobClientBase) -> None:
    """Makes the staging dataset such that dlt can drop a table.

    dlt then drops the staging table too, and deletes the schema from a table of versions that the staging dataset lacks
    as long as no load was merged (dlt#1801). dlt makes the dataset after any load, and dbt's may well be called so.
    """
    versions = client.schema.version_table_name
    if not isinstance(client, WithStagingDataset) or not client.get_storage_table(versions)[0]:
        return
    sql = client.sql_client
    original = sql.make_qualified_table_name(versions)
    with client.with_staging_dataset():
        if client.is_storage_initialized() and not client.get_storage_table(versions)[0]:
            copy = sql.make_qualified_table_name(versions)
            sql.execute_sql(f"CREATE TABLE {copy} AS SELECT * FROM {original} WHERE 1 = 0")


def is_torn(client: SqlJobClientBase, resource: Resource) -> bool:
    """Whether the last load into the table, which has rows, died after its rows were merged and before it counted.

    dlt then restores the state of the load before, which knows nothing of these rows.
    """
    load_id = client.sql_client.escape_column_name("_dlt_load_id")
    [newest] = _first(client, f"SELECT max({load_id}) FROM {_table(client, resource)}")
    loads = client.sql_client.make_qualified_table_name(client.schema.loads_table_name)
    return not client.sql_client.execute_sql(f"SELECT 1 FROM {loads} WHERE load_id = %s AND status = 0", newest)


def count_rows(client: SqlJobClientBase, resource: Resource) -> int:
    """Rows of the resource's table, those marked as deleted included."""
    [count] = _first(client, f"SELECT count(*) FROM {_table(client, resource)}")
    return int(count)


def mark_deleted(client: SqlJobClientBase, resource: Resource, load_id: str, since: datetime, max_share: float) -> int:
    """Marks the live rows that a complete listing, which was loaded as `load_id`, did not hold.

    They are those that carry the id of an older load: the listing was merged whole, so every row in it has the new one.
    Rows of an incremental resource from before `since` are left alone, as the listing was only loaded from there.

    Returns:
        How many rows were marked. A row that comes back is merged again and so loses its mark.

    Raises:
        ShrunkListingError: More than `max_share` of the live rows would be marked; nothing is.
    """
    table = _table(client, resource)
    escape = client.sql_client.escape_column_name
    deleted_at = escape(DELETED_AT)
    scope, arguments = f"{deleted_at} IS NULL", []
    if resource.cursor:
        cursor = escape(column_name(resource.cursor))
        scope += f" AND ({cursor} IS NULL OR {cursor} >= %s)"
        arguments.append(as_argument(client, since))
    older = f"{escape('_dlt_load_id')} < %s"
    counts = f"SELECT count(*), count(CASE WHEN {older} THEN 1 END) FROM {table} WHERE {scope}"
    live, gone = _first(client, counts, load_id, *arguments)
    if gone > max_share * live:
        raise ShrunkListingError(
            f"{resource.name}: the API's listing lacks {gone} of the table's {live} live rows. Nothing was marked as"
            f" deleted. If they are really gone, raise sources.analytics.max_deleted_share (now {max_share}) for one"
            " run, or run with mode: rebuild."
        )
    if gone:
        marks = f"UPDATE {table} SET {deleted_at} = %s WHERE {scope} AND {older}"
        client.sql_client.execute_sql(marks, as_argument(client, datetime.now(UTC)), *arguments, load_id)
    return int(gone)


def _table(client: SqlJobClientBase, resource: Resource) -> str:
    return client.sql_client.make_qualified_table_name(resource.name)


def _first(client: SqlJobClientBase, query: str, *arguments: object) -> tuple[Any, ...]:
    rows = client.sql_client.execute_sql(query, *arguments)
    assert rows  # noqa: S101 - an aggregate has one row
    return tuple(rows[0])
