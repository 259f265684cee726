"""The sync of one resource: look at its table, read, load, mark what is gone, count.

Pure dlt. Whoever calls it says how a pipeline is run: the asset by Dagster's resource for dlt, others by dlt itself.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import dlt
from dlt.extract.source import DltSource

from analytics_assets.api.catalog import Resource
from analytics_assets.api.listing import Listing
from analytics_assets.api.reading import Gap, Reading
from analytics_assets.api.source import read_listing
from analytics_assets.api.stats import SyncStats
from analytics_assets.api.values.columns import undeclared_columns
from analytics_assets.warehouse.deletions import mark_deleted
from analytics_assets.warehouse.pipeline import (
    build_pipeline,
    can_append,
    last_load_id,
    load_options,
    loads_once,
    pipeline_name,
    rows_loaded,
)
from analytics_assets.warehouse.session import Session
from analytics_assets.warehouse.table_state import count_rows, has_table, prepare_drop, read_table_state

Run = Callable[[dlt.Pipeline, DltSource, Mapping[str, Any]], object]
"""Runs a pipeline with a source and further arguments of `dlt.Pipeline.run`."""


@dataclass(frozen=True, slots=True)
class Synced:
    """What a sync of a resource did.

    `is_complete` tells whether everything was read that the API lists. `undeclared` are the columns of fields that the
    catalog does not know, by field. Rows in the table include those that are marked as deleted.
    """

    resource: Resource
    stats: SyncStats
    rows_loaded: int
    rows_marked_deleted: int
    rows_in_table: int
    has_table: bool
    is_complete: bool
    undeclared: Mapping[str, str]
    seconds: float


def run_by_dlt(pipeline: dlt.Pipeline, source: DltSource, options: Mapping[str, Any]) -> None:
    """Runs a pipeline without Dagster."""
    pipeline.run(source, **options)


def sync(
    listing: Listing, session: Session, reading: Reading | None = None, *, rebuild: bool = False, run: Run = run_by_dlt
) -> Synced:
    """Loads one resource.

    Args:
        listing: What to read, perhaps started already.
        session: Where it lands.
        reading: How much to read; by default what is new.
        rebuild: Whether to drop the table and its cursor first.
        run: Runs a pipeline.

    Raises:
        ShrunkListingError: The listing is loaded, but too much of the table was not in it; nothing is marked.
        Exception: Whatever dlt, the API or the destination raises; nothing of the resource has been written then, or
            of a sliced listing the slices before.
    """
    started = time.monotonic()
    reading = reading or Reading()
    resource = listing.resource
    with session.client as client:
        table = read_table_state(client, resource)
        into_empty = rebuild or table.is_empty
        if into_empty:
            prepare_drop(client)
    if table.is_torn and not reading.is_window and not listing.is_sliced:
        # After a torn load the stored digests are stale: a row that changed back would look unchanged and be dropped.
        session.log(f"{resource.name}: the last load died before it was complete, so that everything is read again")
        reading = Reading(everything=True)
    loaded = 0
    for part in _slices(listing, reading, None if into_empty else table.gap):
        pipeline = _load(listing, session, part, into_empty=into_empty, run=run)
        into_empty = False
        loaded += rows_loaded(pipeline, resource)
    is_complete = resource.cursor is None or reading.everything
    deleted = rows = 0
    with session.client as client:
        exists = loaded > 0 or has_table(client, resource)
        if exists and is_complete and not resource.append_only:
            load_id, settings = last_load_id(pipeline), session.settings
            deleted = mark_deleted(client, resource, load_id, settings.start, settings.max_deleted_share)
        if exists:
            rows = count_rows(client, resource)
    columns = pipeline.default_schema.tables.get(resource.name, {}).get("columns", {})
    return Synced(
        resource=resource,
        stats=listing.stats,
        rows_loaded=loaded,
        rows_marked_deleted=deleted,
        rows_in_table=rows,
        has_table=exists,
        is_complete=is_complete,
        undeclared=undeclared_columns(columns, resource),
        seconds=time.monotonic() - started,
    )


def _slices(listing: Listing, reading: Reading, gap: Gap | None) -> Iterator[Reading]:
    """What to read of a listing, one after the other, each when the one before is loaded.

    Args:
        listing: What is read.
        reading: What is wanted.
        gap: What earlier syncs have left to read.
    """
    if listing.is_sliced and not reading.is_window:
        listing.slice()
        listing.stats.gap = None if reading.everything else gap
        while listing.stats.gap:
            yield Reading(gap=listing.stats.gap)
    yield reading
    while listing.stats.gap:
        yield Reading(gap=listing.stats.gap)


def _load(listing: Listing, session: Session, reading: Reading, *, into_empty: bool, run: Run) -> dlt.Pipeline:
    """Reads and loads one slice; returns the pipeline that has done it."""
    from analytics_assets.warehouse.parquet import write_parquet  # noqa: PLC0415 - definitions need no Arrow

    resource, destination = listing.resource, session.target.type
    source = read_listing(listing, name=pipeline_name(resource), reading=reading)
    append = can_append(destination, into_empty=into_empty)
    write_parquet(source, resource, session.working_dir, once=loads_once(destination), may_append=append)
    pipeline = build_pipeline(resource, session.destination, session.working_dir)
    # Into an empty table also where it was dropped or emptied by hand, or by a rebuild that was killed: its cursor is
    # older than that, and dlt would leave the old rows out for ever.
    refresh = "drop_resources" if into_empty else None
    run(pipeline, source, {"refresh": refresh, **load_options(destination)})
    return pipeline
