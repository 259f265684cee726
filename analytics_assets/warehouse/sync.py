"""The sync of one resource: inspects its table, reads, loads, marks rows that are gone, and counts.

This module is pure dlt. The caller passes how to run a pipeline: the asset passes Dagster's resource for dlt, every
other caller leaves it to dlt itself.
"""

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dlt
from dlt.destinations.exceptions import DatabaseException
from dlt.extract.source import DltSource

from analytics_assets.api.catalog import Resource, load_order
from analytics_assets.api.listing import Listing, read_ahead
from analytics_assets.api.reading import Gap, Reading
from analytics_assets.api.source import read_listing
from analytics_assets.api.stats import SyncStats
from analytics_assets.api.values.columns import undeclared_columns
from analytics_assets.garbage import rarely_collected
from analytics_assets.warehouse.access import describe_driver_error
from analytics_assets.warehouse.client import Client
from analytics_assets.warehouse.deletions import ShrunkListingError, mark_deleted
from analytics_assets.warehouse.errors import DestinationError
from analytics_assets.warehouse.leftovers import describe_leftovers, find_leftovers
from analytics_assets.warehouse.locks import BusyError, can_share, has_locks, hold
from analytics_assets.warehouse.owner import stored_tables
from analytics_assets.warehouse.pipeline import (
    build_pipeline,
    file_format,
    last_load_id,
    load_ids,
    loads_once,
    own_defaults,
    rows_loaded,
    takes_json_text,
)
from analytics_assets.warehouse.session import BUSY_TIMEOUT, Session
from analytics_assets.warehouse.shape import note_shape
from analytics_assets.warehouse.table_state import (
    TableState,
    count_rows,
    has_any_key,
    read_table_state,
    usable_order,
)
from analytics_assets.warehouse.target import DUCKDB
from analytics_assets.warehouse.turn import Loads, Turn, await_turn, find_loads
from analytics_assets.warehouse.windows import drop_forgotten

if TYPE_CHECKING:
    import pyarrow as pa

Run = Callable[[dlt.Pipeline, DltSource, Mapping[str, Any]], object]
"""Runs a pipeline, given the source and further arguments of `dlt.Pipeline.run`."""

Load = Callable[..., dlt.Pipeline]
"""Loads one part of a listing: `_load`, given the source, and whether the table is empty."""


@dataclass(frozen=True, slots=True)
class Pending:
    """A resource that is about to be synced."""

    listing: Listing
    """The rows of the API. Reading has begun, unless the table cannot take them or the first request depends on it."""
    table: TableState | Exception
    """The table as it was found before the first request, or why it could not be looked at."""
    loads: Loads
    """The loads of the table before the first request."""
    timeout: float
    """Seconds to wait at most for another run that has the table."""


@dataclass(frozen=True, slots=True)
class Synced:
    """What a sync of a resource did."""

    resource: Resource = field(repr=False)
    """Which resource was synced."""
    stats: SyncStats = field(repr=False)
    """What was counted while the listing was read."""
    rows_loaded: int
    """Rows that were appended or merged."""
    rows_marked_deleted: int
    """Rows that this sync marked as gone upstream."""
    rows_in_table: int
    """Rows of the table after the sync, those marked as deleted included."""
    has_table: bool
    """Whether the table exists after the sync."""
    is_complete: bool
    """Whether the sync read everything that the API lists, so that missing rows are gone."""
    by_order: bool
    """Whether the sync read only what is new, by the order of the listing."""
    undeclared: Mapping[str, str]
    """Columns of fields that the catalog does not know, by field."""
    seconds: float = 0
    """Seconds from the start of the sync to its end. The listing may have been read ahead of it."""


@contextmanager
def begin_sync(
    session: Session,
    resources: Iterable[Resource] | None = None,
    lock_timeout: float = BUSY_TIMEOUT,
    reading: Reading | None = None,
) -> Iterator[list[Pending]]:
    """Yields resources in load order, to be synced one by one.

    Reading waits for no other run, and one at a time loads a table (see `Turn`). All tables are looked at before the
    first request. The listing of one that does not fit the catalog is not started.
    At the end the copy for readers is made, also if a resource has failed: the others are loaded.

    Args:
        session: Where to load the rows.
        resources: What to sync; by default all resources of the session's connector. One that the configuration has
            switched off is left out, and fields that it hides are hidden, whatever the given resource says.
        lock_timeout: Seconds to wait at most for another run that loads a table, and that only for that table.
        reading: How much will be read; by default new rows only.

    Raises:
        SettingsError: As `read_ahead` says.
        DestinationError: The destination refuses to be read.
    """
    resources = load_order(_as_configured(session, resources))
    with rarely_collected():
        if can_share(session):
            drop_forgotten(session)
        try:
            with session.client as client:
                loads = [find_loads(client, session, resource) for resource in resources]
                tables = [_look_at_table(client, session, resource) for resource in resources]
                if leftovers := find_leftovers(client, session.connector):
                    session.log(describe_leftovers(session.connector, leftovers))
        except (DatabaseException, OSError) as error:
            said = describe_driver_error(error, session.client)
            raise DestinationError(f"Cannot read what the destination {session.target} has: {said}") from error
        found = dict(zip((each.name for each in resources), tables, strict=True))
        held = {name for name, table in found.items() if not _can_load(table)}
        orders = {each.name: usable_order(found[each.name], each, session.settings, reading) for each in resources}
        try:
            with read_ahead(session.settings, resources, held, orders) as listings:
                yield [Pending(*each, lock_timeout) for each in zip(listings, tables, loads, strict=True)]
        except Exception:
            session.publish()
            raise
        session.publish()


def _as_configured(session: Session, resources: Iterable[Resource] | None) -> Iterator[Resource]:
    connector = session.connector
    for resource in connector.resources if resources is None else resources:
        if resource.name in connector.left_out:
            session.log(f"{resource.name} is switched off by {connector.setting('resources')}")
            continue
        known = connector.by_name.get(resource.name, resource)
        hides_all = set(known.hashed) <= set(resource.hashed) and set(known.dropped) <= set(resource.dropped)
        yield resource if hides_all else known


def _look_at_table(client: Client, session: Session, resource: Resource) -> TableState | Exception:
    try:
        table = read_table_state(client, session.connector, resource)
        if not table.is_torn or not has_locks(session):
            return table
        # A load that is going on looks like one that died. If so, the turn of this run notices that it has ended.
        try:
            with hold(session, resource.name, 0):
                return read_table_state(client, session.connector, resource)
        except BusyError:
            return replace(table, is_torn=False)
    except Exception as error:  # noqa: BLE001 - a table that cannot be read costs only its own resource
        _raise_interrupt(error)
        return error


def _raise_interrupt(error: BaseException) -> None:
    """Raises the interrupt behind an error: drivers make errors of their own of Ctrl-C and of Dagster's termination."""
    cause: BaseException | None = error
    while cause:
        if not isinstance(cause, Exception):
            raise cause from None
        cause = cause.__cause__ or cause.__context__


def _can_load(table: TableState | Exception) -> bool:
    return isinstance(table, TableState) and table.mismatch is None


def run_by_dlt(pipeline: dlt.Pipeline, source: DltSource, options: Mapping[str, Any]) -> None:
    """Runs a pipeline by dlt alone, without Dagster."""
    pipeline.run(source, **options)


def sync(
    pending: Pending, session: Session, reading: Reading | None = None, *, rebuild: bool = False, run: Run = run_by_dlt
) -> Synced:
    """Loads one resource.

    Args:
        pending: The resource, as `begin_sync` yields it.
        session: Where to load the rows.
        reading: How much to read; by default new rows only.
        rebuild: Whether to drop the table and its cursor first.
        run: Runs a pipeline; by default dlt does.

    Returns:
        What the sync did.

    Raises:
        CatalogChangeError: The table does not fit the catalog, and is not to be rebuilt; or it belongs to something
            else. No request was made.
        DestinationError: Another run loads the table for longer than the timeout. Nothing was written then.
        ShrunkListingError: The listing lacks too many rows of the table. Its rows are loaded, but none is marked.
        Exception: Any error of dlt, the API or the destination. Nothing was written then, except slices that were
            already committed.
    """
    started = time.monotonic()
    listing, table = pending.listing, _loadable(pending.table, rebuild=rebuild)
    resource, reading = listing.resource, reading or Reading()
    # A window into a table that was emptied drops what its cursor was, so it has to wait for its turn.
    is_apart = reading.is_window and resource.append_only and not (table.is_empty and pending.loads[0])
    window = reading if is_apart and has_locks(session) else None
    with Turn(session, resource, pending.loads, pending.timeout, window) as turn:
        done, attempts, was_overtaken = None, 0, False
        while done is None:
            # A pipeline whose reading was in vain leaves a load package in its directory.
            directory = str(Path(session.working_dir, f"again_{attempts}")) if attempts else session.working_dir
            try:
                done = _sync(
                    listing, table, turn, reading, partial(_load, listing, turn, run, directory, rebuild=rebuild)
                )
            except Exception:
                if listing.doubt is None and turn.is_overtaken is was_overtaken:
                    raise
            attempts += 1
            if done is None:
                table = _table_again(listing, turn, table, rebuild=rebuild)
                was_overtaken = turn.is_overtaken
    return replace(done, seconds=time.monotonic() - started)


def _table_again(listing: Listing, turn: Turn, table: TableState, *, rebuild: bool) -> TableState:
    """The table as it has to be synced once more, because what was read of the API does not do."""
    session, name = turn.session, listing.resource.name
    if listing.doubt:
        session.log(f"{name}: {listing.doubt}, so everything is read instead of what is new")
        table = replace(table, order=None)
    else:
        session.log(f"{name}: another run has loaded the table meanwhile, so the API is read once more")
        with session.client as client:
            table = _loadable(read_table_state(client, session.connector, listing.resource), rebuild=rebuild)
    listing.stop()
    listing.doubt = None
    listing.stats.begin_again()
    return table


def _loadable(table: TableState | Exception, *, rebuild: bool) -> TableState:
    """The table as the sync shall treat it: one that is rebuilt is dropped, so it is empty."""
    if isinstance(table, Exception):
        raise table
    if rebuild:
        return TableState(is_empty=True)
    if table.mismatch:
        raise table.mismatch
    return table


def _sync(listing: Listing, table: TableState, turn: Turn, reading: Reading, load: Load) -> Synced:
    from analytics_assets.warehouse.unchanged import hold_back  # noqa: PLC0415 - definitions need no Arrow

    session = turn.session
    resource = listing.resource
    into_empty = from_empty = table.is_empty and not turn.is_apart
    if not into_empty:
        reading = _widened(reading, listing, table, session.log)
    listing.order = usable_order(table, resource, session.settings, reading)
    unfilled = table.unfilled if reading.is_window and not into_empty else ()
    loaded, load_id = 0, ""
    for part in _slices(listing, reading, table.gap):
        # Before the first load, another run's may be newer than what was read ahead.
        if load_id or turn.is_apart:
            turn.give_back()
        source = read_listing(listing, part)
        if not turn.leaves_state_alone:
            note_shape(source, listing, unfilled, from_empty=table.is_empty)
        if resource.cursor is None and not part.is_window:
            hold_back(source, listing, reload=part.everything)
        pipeline = load(source, into_empty=into_empty)
        own = load_ids(pipeline)
        turn.settle(own)
        into_empty = False
        loaded += rows_loaded(pipeline, resource)
        load_id = load_id or listing.stats.loaded_by or last_load_id(pipeline)
        columns = pipeline.default_schema.tables.get(resource.name, {}).get("columns", {})
        if listing.is_cut:
            del source, pipeline
            session.free_memory()
    is_complete = resource.cursor is None or reading.everything
    if from_empty or is_complete:
        _warn_of_unmet(listing, session.log)
    deleted = rows = 0
    try:
        with session.client as client:
            exists = loaded > 0 or client.has_table(resource.name)
            if exists and is_complete and not resource.append_only:
                settings = session.settings
                deleted = mark_deleted(client, resource, load_id, settings.start, settings.max_deleted_share)
            if exists:
                rows = count_rows(client, resource)
    except ShrunkListingError:
        # Where no lock keeps runs apart, another one may have put its rows in place of those of this run.
        turn.settle(own)
        raise
    return Synced(
        resource=resource,
        stats=listing.stats,
        rows_loaded=loaded,
        rows_marked_deleted=deleted,
        rows_in_table=rows,
        has_table=exists,
        is_complete=is_complete,
        by_order=listing.order is not None,
        undeclared=undeclared_columns(columns, resource),
    )


def _warn_of_unmet(listing: Listing, log: Callable[[str], None]) -> None:
    """Says which hidden fields no row has. Of few new rows none may have them, so only a whole listing tells that."""
    resource, stats = listing.resource, listing.stats
    # What is no path is checked against the declared fields.
    paths = [path for path in (*resource.hashed, *resource.dropped) if "." in path and path not in stats.masked]
    if paths and stats.rows_read:
        log(
            f"{resource.name}: none of the {stats.rows_read} rows has {', '.join(paths)}, so nothing was hashed or"
            " dropped there. If the path is misspelled, correct it, and run with mode: rebuild."
        )


def _widened(reading: Reading, listing: Listing, table: TableState, log: Callable[[str], None]) -> Reading:
    """The reading, or one of everything if rows of the table are not as the state or the catalog has them."""
    name, fields = listing.resource.name, ", ".join(map(repr, table.unfilled))
    if reading.is_window:
        if fields:
            log(f"{name}: the catalog now declares {fields}. The next sync without a window fills the older rows")
        return reading
    # A sliced listing goes on below its gap, which the state has, too.
    if table.is_torn and not listing.is_sliced:
        # After a torn load the stored digests are stale: a row that changed back would look unchanged and be dropped.
        # And after a torn rebuild the table may lack rows before the cursor, which is that of before.
        log(f"{name}: the last load died before it was complete, so everything is read again")
        return Reading(everything=True)
    if fields:
        log(f"{name}: the catalog now declares {fields}, so everything is read again to fill the older rows")
        return Reading(everything=True)
    return reading


def _slices(listing: Listing, reading: Reading, gap: Gap | None) -> Iterator[Reading]:
    """Yields the readings that a sync consists of. The caller loads each before it asks for the next.

    A sliced listing first fills the gap that earlier syncs have left, and then those of its own slices. Every other
    listing is one reading, in as many loads as its size needs.

    Args:
        listing: The listing to read.
        reading: What the sync was asked to read.
        gap: The gap in the state of the table.
    """
    if listing.is_sliced and not reading.is_window:
        listing.slice()
        listing.stats.gap = None if reading.everything else gap
        while listing.stats.gap:
            yield Reading(gap=listing.stats.gap)
    yield reading
    while listing.is_cut:
        yield reading
    while listing.stats.gap:
        yield Reading(gap=listing.stats.gap)


def _load(  # noqa: PLR0913 - all but the source is the same for each part
    listing: Listing, turn: Turn, run: Run, directory: str, source: DltSource, *, rebuild: bool, into_empty: bool
) -> dlt.Pipeline:
    """Reads and loads one part of a listing, and returns the pipeline that ran."""
    from analytics_assets.warehouse.parquet import write_parquet  # noqa: PLC0415 - definitions need no Arrow
    from analytics_assets.warehouse.rows import write_rows  # noqa: PLC0415

    resource, session = listing.resource, turn.session
    destination = session.target.type
    pipeline = build_pipeline(session.connector, resource, turn.destination, directory)

    def begin(columns: Collection[str]) -> None:
        # Windows may have such rows in common.
        turn.take(columns, alone=listing.stats.rows_without_cursor > 0)
        if into_empty:
            with session.client as client:
                name = session.connector.pipeline_name(resource)
                is_there = rebuild and client.has_table(resource.name)
                if is_there and not (client.stored_state(name) and resource.name in stored_tables(client, name)):
                    # dlt drops what it has recorded, and if the first load died before that, it would add the rows to
                    # those of that load.
                    client.forget([resource.name], name)
                client.prepare_drop()

    def are_new(keys: "pa.Table") -> bool:
        if into_empty:
            return True
        with session.client as client:
            return not has_any_key(client, resource, keys)

    await_turn(source, resource, begin)
    if takes_json_text(session.destination):
        # Other destinations may load a file twice, and none but DuckDB was measured.
        may_append = are_new if destination == DUCKDB else None
        once = partial(loads_once, session.destination)
        write_parquet(source, listing, session.working_dir, once=once, may_append=may_append)
    else:
        write_rows(source, listing)
    # A table that was emptied by hand or by a killed rebuild still has its old cursor in dlt's state. Without a refresh
    # dlt would never load the rows before that cursor again.
    refresh = "drop_resources" if into_empty else None
    with own_defaults(pipeline):
        run(pipeline, source, {"refresh": refresh, "loader_file_format": file_format(session.destination)})
    return pipeline
