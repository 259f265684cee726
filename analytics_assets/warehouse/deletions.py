"""Marks rows that are gone upstream."""

from datetime import UTC, datetime

from analytics_assets.api.catalog import DELETED_AT, Resource
from analytics_assets.api.values.columns import column_name
from analytics_assets.warehouse.client import Client
from analytics_assets.warehouse.sql import as_argument, first_row, qualified_table


class ShrunkListingError(ValueError):
    """A listing lacks so many of the table's rows that the listing is probably wrong."""


def mark_deleted(client: Client, resource: Resource, load_id: str, since: datetime, max_share: float) -> int:
    """Marks the live rows that a complete listing did not hold.

    The listing was merged whole, so every row in it carries `load_id`. A live row with an older load id is gone.

    Args:
        client: Asks the destination; it is connected.
        resource: Whose table.
        load_id: Load of the complete listing.
        since: Where the listing of an incremental resource starts. Rows with an older cursor value are left alone.
        max_share: Largest share of the live rows (0 to 1) that may be marked.

    Returns:
        How many rows were marked. A row that comes back is merged again and so loses its mark.

    Raises:
        ShrunkListingError: More than `max_share` of the live rows would be marked. Nothing is marked then.
    """
    table = qualified_table(client, resource)
    escape = client.sql_client.escape_column_name
    deleted_at = escape(DELETED_AT)
    scope, arguments = f"{deleted_at} IS NULL", []
    if resource.cursor:
        cursor = escape(column_name(resource.cursor))
        scope += f" AND ({cursor} IS NULL OR {cursor} >= %s)"
        arguments.append(as_argument(client, since))
    older = f"{escape('_dlt_load_id')} < %s"
    counts = f"SELECT count(*), count(CASE WHEN {older} THEN 1 END) FROM {table} WHERE {scope}"
    live, gone = first_row(client, counts, load_id, *arguments)
    if gone > max_share * live:
        raise ShrunkListingError(
            f"{resource.name}: the API's listing lacks {gone} of the table's {live} live rows. Nothing was marked as"
            f" deleted. If they are really gone, raise the setting max_deleted_share (now {max_share}) for one"
            " run, or run with mode: rebuild."
        )
    if gone:
        now = as_argument(client, datetime.now(UTC))
        client.update(resource, {DELETED_AT: now}, f"{scope} AND {older}", [*arguments, load_id])
    return int(gone)
