"""What the tables say of themselves, for checks and previews, in SQL that every destination speaks."""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from dlt.destinations.exceptions import DatabaseException
from dlt.destinations.job_client_impl import SqlJobClientBase

from analytics_assets.api.catalog import BY_NAME, DELETED_AT, PRIMARY_KEY, RESCUED, Column, Resource
from analytics_assets.api.source import undeclared_columns
from analytics_assets.api.values import REPLACEMENT, column_name, parse_instant
from analytics_assets.warehouse.pipeline import POSTGRES, as_argument, pipeline_name

SHOWN_IDS = 5
"""Ids of wrong rows that are named."""

ROWS_AT_ONCE = 1_000

DAY = timedelta(days=1)

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Load:
    """A load package that dlt has recorded as complete; 0 is the only status that counts."""

    load_id: str
    status: int
    at: datetime


@dataclass(slots=True)
class Odd:
    """Live rows with something odd about them: how many, and the ids of the first few."""

    rows: int = 0
    ids: list[Any] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Facts:
    """What was measured in a resource's table. Without a table, all counts are 0.

    `rows` and what is said of the key, of `nulls` (by column) and of `newest_load_id` are about all rows; cursors and
    references are about live ones. `newest` is the newest cursor value that is not in the future. `dangling` is by the
    referring column's name, `None` where the table that it refers to does not exist: rows whose reference names no live
    row.

    `undeclared` are the columns of fields that the catalogue does not know, by field; `columnless` are such fields that
    have none. `rescued` are rows with a value that did not fit, by field, `replaced` those with characters that no
    database stores, by column. `unseen` says why they could not be looked at, if so.
    """

    has_table: bool = False
    undeclared: dict[str, str] = field(default_factory=dict)
    columnless: set[str] = field(default_factory=set)
    rescued: dict[str, Odd] = field(default_factory=dict)
    replaced: dict[str, Odd] = field(default_factory=dict)
    unseen: list[str] = field(default_factory=list)
    rows: int = 0
    live_rows: int = 0
    null_keys: int = 0
    repeated_keys: int = 0
    nulls: dict[str, int] = field(default_factory=dict)
    rows_without_cursor: int = 0
    rows_in_future: int = 0
    newest: datetime | None = None
    newest_load_id: str | None = None
    last_load: Load | None = None
    dangling: dict[str, Odd | None] = field(default_factory=dict)


def required_columns(resource: Resource) -> list[Column]:
    """The declared columns that must not be null, the key aside."""
    return [column for column in resource.columns if not column.nullable and column.name != PRIMARY_KEY]


def references(resource: Resource) -> list[Column]:
    """The declared columns that hold the id of another resource."""
    return [column for column in resource.columns if column.references]


def is_live(client: SqlJobClientBase, resource: Resource, prefix: str = "") -> str:
    """The condition that a row is not marked as deleted."""
    return "1 = 1" if resource.append_only else f"{prefix}{client.sql_client.escape_column_name(DELETED_AT)} IS NULL"


def measure(client: SqlJobClientBase, resources: Sequence[Resource], horizon: datetime) -> dict[str, Facts]:
    """Measures the tables of some resources, by name. The client is connected.

    Args:
        client: Asks the destination.
        resources: Whose tables.
        horizon: Cursor values beyond it are in the future.
    """
    parents = {column.references for resource in resources for column in references(resource) if column.references}
    loads_table = client.schema.loads_table_name
    names = {resource.name for resource in resources} | parents | {loads_table}
    existing = {name: columns for name, columns in client.get_storage_tables(sorted(names)) if columns}
    loads = _last_loads(client) if loads_table in existing else {}
    return {
        resource.name: _measure(client, resource, horizon, loads.get(pipeline_name(resource)), existing)
        for resource in resources
    }


def _last_loads(client: SqlJobClientBase) -> dict[str, Load]:
    """The last load of each schema."""
    escape = client.sql_client.escape_column_name
    schema, load_id, status, at = map(escape, ("schema_name", "load_id", "status", "inserted_at"))
    loads = client.sql_client.make_qualified_table_name(client.schema.loads_table_name)
    newest = f"SELECT max({load_id}) FROM {loads} GROUP BY {schema}"
    query = f"SELECT {schema}, {load_id}, {status}, {at} FROM {loads} WHERE {load_id} IN ({newest}) ORDER BY {load_id}"
    rows = client.sql_client.execute_sql(query) or ()
    return {row[0]: Load(row[1], row[2], parse_instant(row[3])) for row in rows}


def _measure(
    client: SqlJobClientBase,
    resource: Resource,
    horizon: datetime,
    last_load: Load | None,
    existing: Mapping[str, Mapping[str, Any]],
) -> Facts:
    if resource.name not in existing:
        return Facts(last_load=last_load)
    escape = client.sql_client.escape_column_name
    key, live = escape(PRIMARY_KEY), is_live(client, resource)
    counts = {
        "rows": "count(*)",
        "live_rows": f"count(CASE WHEN {live} THEN 1 END)",
        "null_keys": f"count(*) - count({key})",
        "repeated_keys": f"count({key}) - count(DISTINCT {key})",
        "newest_load_id": f"max({escape('_dlt_load_id')})",
    }
    arguments: list[Any] = []
    if resource.cursor:
        cursor = escape(column_name(resource.cursor))
        counts["rows_without_cursor"] = f"count(CASE WHEN {live} AND {cursor} IS NULL THEN 1 END)"
        counts["rows_in_future"] = f"count(CASE WHEN {live} AND {cursor} > %s THEN 1 END)"
        counts["newest"] = f"max(CASE WHEN {live} AND {cursor} <= %s THEN {cursor} END)"
        arguments = [as_argument(client, horizon)] * 2
    required = [column_name(column.name) for column in required_columns(resource)]
    expressions = [*counts.values(), *(f"count(*) - count({escape(name)})" for name in required)]
    table = client.sql_client.make_qualified_table_name(resource.name)
    [row] = client.sql_client.execute_sql(f"SELECT {', '.join(expressions)} FROM {table}", *arguments) or ()
    measured: dict[str, Any] = dict(zip(counts, row, strict=False))
    if measured.get("newest") is not None:
        measured["newest"] = parse_instant(measured["newest"])
    facts = Facts(
        has_table=True,
        # Some destinations fold names, which are in lower case as dlt makes them, to upper case.
        undeclared=_undeclared(client, resource, map(str.lower, existing[resource.name])),
        **measured,
        nulls=dict(zip(required, row[len(counts) :], strict=True)),
        last_load=last_load,
        dangling={
            column.name: _dangling(client, resource, column) if column.references in existing else None
            for column in references(resource)
        },
    )
    try:
        _look_at_values(client, resource, facts, {name.lower() for name in existing[resource.name]})
    except DatabaseException as error:
        # Rows that are larger than a database may read at once are no reason not to tell of the rest.
        facts.unseen.append(str(error).strip().partition("\n")[0])
    return facts


def _undeclared(client: SqlJobClientBase, resource: Resource, columns: Iterable[str]) -> dict[str, str]:
    """Those of a table's columns that the catalogue does not know, by field, as far as dlt's schema has it."""
    stored = client.get_stored_schema(pipeline_name(resource))
    tables = json.loads(stored.schema)["tables"] if stored else {}
    fields = undeclared_columns(tables.get(resource.name, {}).get("columns", {}), resource)
    spellings = {name: spelling for spelling, name in fields.items()}
    declared = {column_name(column.name) for column in resource.table_columns}
    return {spellings.get(name, name): name for name in columns if name not in declared and not name.startswith("_dlt")}


def _look_at_values(client: SqlJobClientBase, resource: Resource, facts: Facts, columns: Collection[str]) -> None:
    """Adds what did not fit, and what was replaced, to the facts; `columns` are those that the table has so far."""
    if RESCUED not in columns:
        return
    escape = client.sql_client.escape_column_name
    declared = {column.name for column in resource.columns}
    texts = {column_name(column.name): "{}" for column in resource.columns if column.type == "text"}
    nested = [column_name(column.name) for column in resource.columns if column.type == "json"]
    texts |= dict.fromkeys([*nested, *facts.undeclared.values()], "CAST({} AS VARCHAR)")
    texts = {name: cast for name, cast in texts.items() if name in columns}
    likes = [f"{cast.format(escape(name))} LIKE %s" for name, cast in texts.items()]
    rescued = escape(RESCUED)
    query = (
        f"SELECT {escape(PRIMARY_KEY)}, {rescued}, {', '.join(f'CASE WHEN {like} THEN 1 END' for like in likes)}"
        f" FROM {client.sql_client.make_qualified_table_name(resource.name)}"
        f" WHERE {is_live(client, resource)} AND ({' OR '.join([f'{rescued} IS NOT NULL', *likes])})"
    )
    with client.sql_client.execute_query(query, *[f"%{REPLACEMENT}%"] * (2 * len(likes))) as cursor:
        while rows := cursor.fetchmany(ROWS_AT_ONCE):
            for key, kept, *marks in rows:
                # Some drivers have read the JSON already.
                for name in json.loads(kept) if isinstance(kept, str) else kept or ():
                    if name in declared or name in facts.undeclared:
                        _note(facts.rescued, name, key)
                    else:
                        facts.columnless.add(name)
                for name, mark in zip(texts, marks, strict=True):
                    if mark:
                        _note(facts.replaced, name, key)


def _note(odd: dict[str, Odd], name: str, key: Any) -> None:  # noqa: ANN401 - a key of whatever type
    found = odd.setdefault(name, Odd())
    found.rows += 1
    if len(found.ids) < SHOWN_IDS:
        found.ids.append(key)


def _dangling(client: SqlJobClientBase, resource: Resource, column: Column) -> Odd:
    assert column.references  # noqa: S101 - the caller has looked
    qualify, escape = client.sql_client.make_qualified_table_name, client.sql_client.escape_column_name
    parent, key = BY_NAME[column.references], escape(PRIMARY_KEY)
    # Rows are counted beside the first few rather than limited to them, for which destinations have different words.
    query = (
        f"SELECT child.{key}, count(*) OVER () FROM {qualify(resource.name)} child"
        f" LEFT JOIN (SELECT {key} FROM {qualify(parent.name)} WHERE {is_live(client, parent)}) parent"
        f" ON parent.{key} = child.{escape(column_name(column.name))}"
        f" WHERE {is_live(client, resource, 'child.')} AND parent.{key} IS NULL ORDER BY child.{key}"
    )
    with client.sql_client.execute_query(query) as cursor:
        rows = cursor.fetchmany(SHOWN_IDS)
    return Odd(rows[0][1] if rows else 0, [row[0] for row in rows])


def newest_rows(client: SqlJobClientBase, resource: Resource, count: int) -> list[Row]:
    """The newest live rows, first by cursor, without dlt's columns. The table exists and the client is connected.

    `_rescued_data` is there if one of them has some. Instants are date-times and JSON is its text, however the
    destination's driver has them. Where there is no cursor, the rows are those of the newest load with the largest ids.
    """
    escape = client.sql_client.escape_column_name
    newest = escape(column_name(resource.cursor) if resource.cursor else "_dlt_load_id")
    # Destinations do not agree on where nulls stand.
    order = f"CASE WHEN {newest} IS NULL THEN 1 ELSE 0 END, {newest} DESC, {escape(PRIMARY_KEY)} DESC"
    table = client.sql_client.make_qualified_table_name(resource.name)
    query = f"SELECT * FROM {table} WHERE {is_live(client, resource)} ORDER BY {order} LIMIT {count}"
    _, columns = client.get_storage_table(resource.name)
    # Some destinations fold names, which are in lower case as dlt makes them, to upper case.
    types = {name.lower(): column.get("data_type") for name, column in columns.items()}
    decodes = client.config.destination_type == POSTGRES
    with client.sql_client.execute_query(query) as cursor:
        names = [name.lower() for name in cursor.columns_schema]
        rows = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
    shown = [name for name in names if not name.startswith("_dlt") and name not in {DELETED_AT, RESCUED}]
    if any(row.get(RESCUED) is not None for row in rows):
        shown.append(RESCUED)
    return [{name: _as_python(row[name], types.get(name), decodes=decodes) for name in shown} for row in rows]


def _as_python(value: Any, type_: str | None, *, decodes: bool) -> Any:  # noqa: ANN401 - whatever a table holds
    """A value by its column's type, with JSON as text. Whether the driver `decodes` JSON, a text does not tell."""
    match type_:
        case "timestamp" if value is not None:
            return parse_instant(value)
        case "bool" if value is not None:
            return bool(value)
        case "json" if value is not None and (decodes or not isinstance(value, str)):
            return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return value


def rows_per_day(
    client: SqlJobClientBase, resource: Resource, cursor: str, horizon: datetime, days: int
) -> tuple[datetime, list[int]] | None:
    """Rows by day in UTC of their cursor, over the days that end with the newest. The table exists.

    Args:
        client: Asks the destination; it is connected.
        resource: Whose table.
        cursor: The field of the API that tells the day.
        horizon: Cursor values beyond it are in the future and left out.
        days: How many days, those without a row included.

    Returns:
        The first day and the numbers from there on; `None` if no row has a day.
    """
    sql = client.sql_client
    table, column = sql.make_qualified_table_name(resource.name), sql.escape_column_name(column_name(cursor))
    newest_past = f"SELECT max({column}) FROM {table} WHERE {column} <= %s"
    [(newest,)] = sql.execute_sql(newest_past, as_argument(client, horizon)) or ()
    if newest is None:
        return None
    last = parse_instant(newest).replace(hour=0, minute=0, second=0, microsecond=0)
    first = last - (days - 1) * DAY
    # A count for each day: destinations do not agree on how a day is made of an instant, nor in which time zone.
    count = f"count(CASE WHEN {column} >= %s AND {column} < %s THEN 1 END)"
    bounds = [first + step * DAY + edge for step in range(days) for edge in (timedelta(), DAY)] + [first, last + DAY]
    query = f"SELECT {', '.join([count] * days)} FROM {table} WHERE {column} >= %s AND {column} < %s"
    [counts] = sql.execute_sql(query, *(as_argument(client, bound) for bound in bounds)) or ()
    return first, [int(number) for number in counts]
