"""Samples of a table for previews: its newest rows, and its number of rows per day."""

import json
from datetime import datetime, timedelta
from typing import Any

from analytics_assets.api.catalog import DELETED_AT, RESCUED, Resource
from analytics_assets.api.values.columns import column_name, key_columns
from analytics_assets.api.values.timestamps import parse_timestamp
from analytics_assets.warehouse.client import Client
from analytics_assets.warehouse.profile import is_live
from analytics_assets.warehouse.sql import POSTGRES, as_argument, at_most

DAY = timedelta(days=1)

TableRow = dict[str, Any]


def newest_rows(client: Client, resource: Resource, count: int) -> list[TableRow]:
    """The newest live rows of a table, without dlt's columns and the mark of deleted rows.

    The newest cursor comes first. Without a cursor, the newest load comes first, and in it the largest key.

    Args:
        client: Asks the destination; it is connected.
        resource: Whose table. It exists.
        count: Most rows to return.

    Returns:
        Rows by column. Timestamps are aware date-times and JSON is text, whatever the destination's driver returns. The
        column `_rescued_data` is included only if one of the rows has a value in it.
    """
    escape = client.sql_client.escape_column_name
    newest = escape(column_name(resource.cursor) if resource.cursor else "_dlt_load_id")
    # Destinations sort nulls differently, some first and some last.
    order = ", ".join(f"{escape(name)} DESC" for name in key_columns(resource))
    order = f"CASE WHEN {newest} IS NULL THEN 1 ELSE 0 END, {newest} DESC, {order}"
    table = client.sql_client.make_qualified_table_name(resource.name)
    query = at_most(client, f"SELECT * FROM {table} WHERE {is_live(client, resource)} ORDER BY {order}", count)
    columns = client.columns_of([resource.name])[resource.name]
    # Some destinations fold names, which are in lower case as dlt makes them, to upper case.
    types: dict[str, str | None] = {name.lower(): column.get("data_type") for name, column in columns.items()}
    # Some keep a bool as a number, which would be shown as one.
    types |= {column_name(column.name): column.type for column in resource.table_columns}
    decodes = client.config.destination_type == POSTGRES
    with client.sql_client.execute_query(query) as cursor:
        names = [name.lower() for name in cursor.columns_schema]
        rows = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
    shown = [name for name in names if not name.startswith("_dlt") and name not in {DELETED_AT, RESCUED}]
    if any(row.get(RESCUED) is not None for row in rows):
        shown.append(RESCUED)
    return [{name: _as_python(row[name], types.get(name), decodes=decodes) for name in shown} for row in rows]


def _as_python(value: Any, type_: str | None, *, decodes: bool) -> Any:  # noqa: ANN401 - whatever a table holds
    """A value as Python has its type, with JSON as text.

    `decodes` says whether the driver decodes JSON: a `str` alone could be a JSON text or a decoded JSON string.
    """
    match type_:
        case "timestamp" if value is not None:
            return parse_timestamp(value)
        case "bool" if value is not None:
            return bool(value)
        case "json" if value is not None and (decodes or not isinstance(value, str)):
            return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return value


def rows_per_day(
    client: Client, resource: Resource, cursor: str, horizon: datetime, days: int
) -> tuple[datetime, list[int]] | None:
    """Counts rows by the UTC day of their cursor. The last day is that of the newest row.

    Args:
        client: Asks the destination; it is connected.
        resource: Whose table. It exists.
        cursor: The field of the API that tells the day.
        horizon: Cursor values beyond this point in time are in the future and not counted.
        days: Number of days to count, those without a row included.

    Returns:
        The first day (its midnight), and one count for each day from there on; `None` if no row has a day.
    """
    sql = client.sql_client
    table, column = sql.make_qualified_table_name(resource.name), sql.escape_column_name(column_name(cursor))
    newest_past = f"SELECT max({column}) FROM {table} WHERE {column} <= %s"
    [(newest,)] = sql.execute_sql(newest_past, as_argument(client, horizon)) or ()
    if newest is None:
        return None
    last = parse_timestamp(newest).replace(hour=0, minute=0, second=0, microsecond=0)
    first = last - (days - 1) * DAY
    # One count per day instead of a GROUP BY: destinations truncate timestamps differently, and in other time zones.
    count = f"count(CASE WHEN {column} >= %s AND {column} < %s THEN 1 END)"
    bounds = [first + step * DAY + edge for step in range(days) for edge in (timedelta(), DAY)] + [first, last + DAY]
    query = f"SELECT {', '.join([count] * days)} FROM {table} WHERE {column} >= %s AND {column} < %s"
    [counts] = sql.execute_sql(query, *(as_argument(client, bound) for bound in bounds)) or ()
    return first, [int(number) for number in counts]
