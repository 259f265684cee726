"""The metadata of a materialization: what Dagster stores of a sync."""

from collections.abc import Iterator, Mapping
from typing import Any

import dagster as dg
from dlt.destinations.exceptions import DatabaseException

from analytics_assets.api.catalog import Resource
from analytics_assets.api.listing import Listing
from analytics_assets.api.redaction import redact
from analytics_assets.api.stats import SyncStats
from analytics_assets.defs.assets.specs import LONGEST_FIELD, UNDECLARED, column_lineage, table_schema
from analytics_assets.defs.display.errors import explain, is_out_of_memory
from analytics_assets.defs.display.previews import chart_per_day, preview
from analytics_assets.defs.names import Names
from analytics_assets.warehouse.session import Session
from analytics_assets.warehouse.sync import Synced

Metadata = dict[str, Any]

NEW_ONLY = "what is new"
"""What a sync reads that requests new rows only."""

BY_ORDER = f"{NEW_ONLY}, by the listing's order"
"""What a sync reads that knows where in the listing new rows are."""


def describe_sync(
    names: Names, done: Synced, session: Session, secrets: list[str | None], facts: Mapping[str, str]
) -> Metadata:
    """The metadata of a materialization. Dagster plots the numbers.

    dagster-dlt's own metadata is not used: it names files that are gone, and its column schema loses names
    (dagster#34052).

    Args:
        names: Names of the connector.
        done: The sync to describe.
        session: Its session. Previews read the table through its client.
        secrets: Values that no text may show.
        facts: What the run was given, as `run_facts` says.
    """
    resource, stats = done.resource, done.stats
    metadata: Metadata = {
        "dagster/row_count": done.rows_in_table,
        "dagster/table_name": names.table(resource),
        "dagster/column_schema": table_schema(names.connector, resource),
        "dagster/column_lineage": column_lineage(names, resource),
        "rows_loaded": done.rows_loaded,
        "rows_read": stats.rows_read,
        "rows_unchanged": stats.rows_unchanged,
        "rows_without_cursor": stats.rows_without_cursor,
        "rows_in_future": stats.rows_in_future,
        "rows_marked_deleted": done.rows_marked_deleted,
        "values_rescued": stats.values_rescued,
        "requests": stats.requests,
        "retries": stats.retries,
        "seconds_waited": round(stats.seconds_waited, 3),
        "bytes": stats.body_bytes,
        "seconds": round(done.seconds, 3),
        "rows_per_second": round(stats.rows_read / done.seconds, 1),
        "reads": _reads(done, session),
        **facts,
        **_cursors(stats),
    }
    if stats.order:
        metadata["listing_order"] = str(stats.order)
    if done.undeclared:
        metadata[UNDECLARED] = {
            redact(field, secrets)[:LONGEST_FIELD]: redact(name, secrets) for field, name in done.undeclared.items()
        }
    if session.settings.endpoint(resource.name).parent:
        metadata["parents_gone"] = stats.parents_gone
    return metadata | (_samples(resource, session, secrets) if done.has_table else {})


def observe_endpoint(names: Names, listing: Listing, problem: str | None = None) -> Iterator[dg.AssetObservation]:
    """Yields what a sync has seen of the endpoint of a resource; nothing if it sent no request.

    Args:
        names: Names of the connector.
        listing: The listing that was read.
        problem: Why the resource failed, without secrets.
    """
    stats = listing.stats
    if not stats.requests:
        return
    metadata: Metadata = {
        "requests": stats.requests,
        "retries": stats.retries,
        "rows": stats.rows_read,
        "bytes": stats.body_bytes,
    }
    if stats.responses:
        metadata |= {
            "status": stats.status,
            "latency_mean_seconds": round(stats.seconds_to_respond / stats.responses, 4),
            "latency_max_seconds": round(stats.slowest_response, 4),
        }
    if problem:
        metadata["problem"] = problem
    yield dg.AssetObservation(names.upstream_key(listing.resource.name), metadata=metadata)


def note_endpoint(names: Names, resource: Resource, run: dg.DagsterRun, instance: dg.DagsterInstance) -> None:
    """Has Dagster show the endpoint as up to date: for an external asset it counts materializations only.

    The event is none of the run's, because the run has not made the endpoint's rows.
    """
    read = dg.AssetMaterialization(
        names.upstream_key(resource.name),
        description=f"Read by run {run.run_id}, whose observation says more.",
    )
    instance.report_runless_asset_event(read)


def rows_last_time(instance: dg.DagsterInstance, key: dg.AssetKey, facts: Mapping[str, str]) -> int | None:
    """Rows that the last sync of an asset has read, if it read all that the API lists, and was given the same.

    They estimate the rows of a listing whose API does not say how many it has.
    """
    event = instance.get_latest_materialization_event(key)
    last = event.asset_materialization if event else None
    if last is None:
        return None
    values: dict[str, Any] = {name: value.value for name, value in last.metadata.items()}
    if values.get("reads") in {NEW_ONLY, BY_ORDER} or any(values.get(name) != value for name, value in facts.items()):
        return None
    rows: int | None = values.get("rows_read")
    return rows


def _reads(done: Synced, session: Session) -> str:
    endpoint = session.settings.endpoint(done.resource.name)
    if done.is_complete:
        return "everything"
    if done.by_order:
        return BY_ORDER
    by_the_api = endpoint.since_param is not None or endpoint.newest_first
    return NEW_ONLY if by_the_api else "everything, loads what is new"


def _cursors(stats: SyncStats) -> Metadata:
    cursors = {"cursor_before": stats.cursor_before, "cursor_after": stats.cursor_after}
    return {name: dg.MetadataValue.timestamp(moment) for name, moment in cursors.items() if moment is not None}


def _samples(resource: Resource, session: Session, secrets: list[str | None]) -> Metadata:
    """A preview of the newest rows, and for events a chart of the last days."""
    shown: Metadata = {}
    try:
        with session.client as client:
            shown["preview"] = dg.MetadataValue.md(preview(client, resource, secrets))
            if resource.append_only and resource.cursor:
                chart = chart_per_day(client, resource, resource.cursor)
                shown[f"{resource.name}_per_day"] = dg.MetadataValue.md(chart)
    except DatabaseException as error:
        # The rows are loaded already, so a preview that does not fit into memory must not fail the resource.
        if not is_out_of_memory(error):
            raise
        session.log(
            f"{resource.name}: loaded, but its rows are too large for a preview. {explain(error, tuple(secrets))}"
        )
    return shown
