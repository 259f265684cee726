"""The metadata of a materialization: what Dagster stores of a sync."""

from typing import Any

import dagster as dg
from dlt.destinations.exceptions import DatabaseException

from analytics_assets.api.catalog import Resource
from analytics_assets.api.redaction import redact
from analytics_assets.api.stats import SyncStats
from analytics_assets.defs.assets.specs import LONGEST_FIELD, UNDECLARED, column_lineage, table_schema
from analytics_assets.defs.display.errors import explain, is_out_of_memory
from analytics_assets.defs.display.previews import chart_per_day, preview
from analytics_assets.defs.names import Names
from analytics_assets.warehouse.session import Session
from analytics_assets.warehouse.sync import Synced

Metadata = dict[str, Any]


def describe_sync(names: Names, done: Synced, session: Session, secrets: list[str | None]) -> Metadata:
    """The metadata of a materialization. Dagster plots the numbers.

    dagster-dlt's own metadata is not used: it names files that are gone, and its column schema loses names
    (dagster#34052).

    Args:
        names: Names of the connector.
        done: The sync to describe.
        session: Its session. Previews read the table through its client.
        secrets: Values that no text may show.
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
        UNDECLARED: {
            redact(field, secrets)[:LONGEST_FIELD]: redact(name, secrets) for field, name in done.undeclared.items()
        },
        "reads": _reads(done, session),
        "destination": str(session.target.duckdb_path or session.target.type),
        **_cursors(stats),
    }
    if session.settings.endpoint(resource.name).parent:
        metadata["parents_gone"] = stats.parents_gone
    return metadata | (_samples(resource, session, secrets) if done.has_table else {})


def _reads(done: Synced, session: Session) -> str:
    endpoint = session.settings.endpoint(done.resource.name)
    if done.is_complete:
        return "everything"
    by_the_api = endpoint.since_param is not None or endpoint.newest_first
    return "what is new" if by_the_api else "reads everything, loads what is new"


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
