"""Measures tables for the checks, in SQL that every destination speaks."""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from dlt.destinations.exceptions import DatabaseException

from analytics_assets.api.catalog import DELETED_AT, RESCUED, Column, Resource
from analytics_assets.api.connector import Connector
from analytics_assets.api.values.columns import column_name, key_columns, undeclared_columns
from analytics_assets.api.values.timestamps import parse_timestamp
from analytics_assets.api.values.tokens import REPLACEMENT
from analytics_assets.warehouse.client import Client
from analytics_assets.warehouse.owner import stored_tables
from analytics_assets.warehouse.session import Session
from analytics_assets.warehouse.sql import as_argument, as_text

SHOWN_IDS = 5
"""Most ids of wrong rows that a check names."""

ROWS_AT_ONCE = 1_000
"""Rows fetched at a time, so that a table full of misfits does not fill the memory."""


@dataclass(frozen=True, slots=True)
class Load:
    """A load that dlt has recorded in `_dlt_loads`."""

    load_id: str
    """Epoch seconds as text."""
    status: int
    """0 if the load is complete."""
    at: datetime
    """When dlt recorded it, in UTC."""


@dataclass(slots=True)
class Odd:
    """Live rows that share a defect: their number, and the ids of the first `SHOWN_IDS`."""

    rows: int = 0
    ids: list[Any] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class TableProfile:
    """What was measured in a resource's table. Without a table, all counts are 0."""

    has_table: bool = False
    """Whether the destination has the table."""
    undeclared: dict[str, str] = field(default_factory=dict)
    """Columns of fields that the catalog does not know, by field."""
    columnless: set[str] = field(default_factory=set)
    """Fields that the catalog does not know and that have no column, because the table has too many already."""
    rescued: dict[str, Odd] = field(default_factory=dict)
    """Live rows with a value that does not fit its column, by field."""
    replaced: dict[str, Odd] = field(default_factory=dict)
    """Live rows with U+FFFD in place of a character that no database stores, by column."""
    unseen: list[str] = field(default_factory=list)
    """Why `columnless`, `rescued` and `replaced` could not be measured, in the driver's words; empty if they were."""
    rows: int = 0
    """All rows, those marked as deleted included."""
    live_rows: int = 0
    """Rows that are not marked as deleted."""
    null_keys: int = 0
    """Rows without a key, among all rows."""
    repeated_keys: int = 0
    """Rows whose key another row has already, among all rows."""
    nulls: dict[str, int] = field(default_factory=dict)
    """Nulls among all rows in each column that must have none, by column."""
    rows_without_cursor: int = 0
    """Live rows whose cursor is null."""
    rows_in_future: int = 0
    """Live rows whose cursor is beyond the horizon of `measure`."""
    newest: datetime | None = None
    """Newest cursor value of a live row, of those that are not in the future."""
    newest_load_id: str | None = None
    """Largest load id among all rows."""
    last_load: Load | None = None
    """The last load that dlt has recorded for the resource."""
    dangling: dict[str, Odd | None] = field(default_factory=dict)
    """Live rows whose reference names no live row, by referring field; `None` if there is no table to refer to."""


def required_columns(resource: Resource) -> list[Column]:
    """The declared columns that must not be null, without the key."""
    return [column for column in resource.columns if not column.nullable and column.name not in resource.key_names]


def references(resource: Resource) -> list[Column]:
    """The declared columns that hold the key of another resource."""
    return [column for column in resource.columns if column.references]


def is_live(client: Client, resource: Resource, prefix: str = "") -> str:
    """The SQL condition that a row is not marked as deleted; `prefix` goes before the column's name."""
    return "1 = 1" if resource.append_only else f"{prefix}{client.sql_client.escape_column_name(DELETED_AT)} IS NULL"


def measure(session: Session, resources: Sequence[Resource], horizon: datetime) -> dict[str, TableProfile]:
    """Measures the tables of some resources.

    Args:
        session: Has the connector; its client is connected.
        resources: Whose tables.
        horizon: Cursor values beyond this point in time count as in the future.

    Returns:
        A profile for each resource, by name.
    """
    client, connector = session.client, session.connector
    parents = {column.references for resource in resources for column in references(resource) if column.references}
    loads_table = client.schema.loads_table_name
    names = {resource.name for resource in resources} | parents | {loads_table}
    existing = client.columns_of(names)
    loads = _last_loads(client) if loads_table in existing else {}
    return {
        resource.name: _measure(session, resource, horizon, loads.get(connector.pipeline_name(resource)), existing)
        for resource in resources
    }


def _last_loads(client: Client) -> dict[str, Load]:
    """The last recorded load of each schema, by name of the schema."""
    escape = client.sql_client.escape_column_name
    schema, load_id, status, at = map(escape, ("schema_name", "load_id", "status", "inserted_at"))
    loads = client.sql_client.make_qualified_table_name(client.schema.loads_table_name)
    newest = f"SELECT max({load_id}) FROM {loads} GROUP BY {schema}"
    query = f"SELECT {schema}, {load_id}, {status}, {at} FROM {loads} WHERE {load_id} IN ({newest}) ORDER BY {load_id}"
    rows = client.sql_client.execute_sql(query) or ()
    return {row[0]: Load(row[1], row[2], parse_timestamp(row[3])) for row in rows}


def _measure(
    session: Session,
    resource: Resource,
    horizon: datetime,
    last_load: Load | None,
    existing: Mapping[str, Mapping[str, Any]],
) -> TableProfile:
    if resource.name not in existing:
        return TableProfile(last_load=last_load)
    client, connector = session.client, session.connector
    escape = client.sql_client.escape_column_name
    live = is_live(client, resource)
    table = client.sql_client.make_qualified_table_name(resource.name)
    keyed, distinct = _key_counts([escape(name) for name in key_columns(resource)], table)
    counts = {
        "rows": "count(*)",
        "live_rows": f"count(CASE WHEN {live} THEN 1 END)",
        "null_keys": f"count(*) - {keyed}",
        "repeated_keys": f"{keyed} - {distinct}",
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
    [row] = client.sql_client.execute_sql(f"SELECT {', '.join(expressions)} FROM {table}", *arguments) or ()
    measured: dict[str, Any] = dict(zip(counts, row, strict=False))
    if measured.get("newest") is not None:
        measured["newest"] = parse_timestamp(measured["newest"])
    profile = TableProfile(
        has_table=True,
        # Some destinations fold names, which are in lower case as dlt makes them, to upper case.
        undeclared=_undeclared(client, connector, resource, map(str.lower, existing[resource.name])),
        **measured,
        nulls=dict(zip(required, row[len(counts) :], strict=True)),
        last_load=last_load,
        dangling={
            column.name: _dangling(client, connector, resource, column) if column.references in existing else None
            for column in references(resource)
        },
    )
    try:
        _look_at_values(client, resource, profile, {name.lower() for name in existing[resource.name]})
    except DatabaseException as error:
        # Rows may be too large for the memory of the database. The checks still need the rest of the profile.
        profile.unseen.append(str(error).strip().partition("\n")[0])
    return profile


def _key_counts(key: Sequence[str], table: str) -> tuple[str, str]:
    """SQL for the number of rows with a key, and of different keys; `key` has its columns, escaped."""
    if len(key) == 1:
        return f"count({key[0]})", f"count(DISTINCT {key[0]})"
    # Only some destinations count distinct rows of several columns.
    has_key = " AND ".join(f"{name} IS NOT NULL" for name in key)
    distinct = f"SELECT DISTINCT {', '.join(key)} FROM {table} WHERE {has_key}"
    return f"count(CASE WHEN {has_key} THEN 1 END)", f"(SELECT count(*) FROM ({distinct}) distinct_keys)"


def _undeclared(client: Client, connector: Connector, resource: Resource, columns: Iterable[str]) -> dict[str, str]:
    """Columns of a table that the catalog does not know, by field. Without an entry in dlt's schema, by column."""
    tables = stored_tables(client, connector.pipeline_name(resource))
    fields = undeclared_columns(tables.get(resource.name, {}).get("columns", {}), resource)
    spellings = {name: spelling for spelling, name in fields.items()}
    declared = {column_name(column.name) for column in resource.table_columns}
    return {spellings.get(name, name): name for name in columns if name not in declared and not name.startswith("_dlt")}


def _look_at_values(client: Client, resource: Resource, profile: TableProfile, columns: Collection[str]) -> None:
    """Adds rescued and replaced values to the profile. `columns` are those that the table has."""
    if RESCUED not in columns:
        return
    escape = client.sql_client.escape_column_name
    declared = {column.name for column in resource.columns}
    texts = {
        column_name(column.name): escape(column_name(column.name))
        for column in resource.columns
        if column.type == "text"
    }
    nested = [column_name(column.name) for column in resource.columns if column.type == "json"]
    texts |= {name: as_text(client, escape(name)) for name in (*nested, *profile.undeclared.values())}
    texts = {name: text for name, text in texts.items() if name in columns}
    likes = [f"{text} LIKE %s" for text in texts.values()]
    rescued, key = escape(RESCUED), list(map(escape, key_columns(resource)))
    query = (
        f"SELECT {', '.join(key)}, {rescued}, {', '.join(f'CASE WHEN {like} THEN 1 END' for like in likes)}"
        f" FROM {client.sql_client.make_qualified_table_name(resource.name)}"
        f" WHERE {is_live(client, resource)} AND ({' OR '.join([f'{rescued} IS NOT NULL', *likes])})"
    )
    with client.sql_client.execute_query(query, *[f"%{REPLACEMENT}%"] * (2 * len(likes))) as cursor:
        while rows := cursor.fetchmany(ROWS_AT_ONCE):
            for row in rows:
                found, (kept, *marks) = _shown_key(row, key), row[len(key) :]
                # Some drivers return JSON already decoded.
                for name in json.loads(kept) if isinstance(kept, str) else kept or ():
                    if name in declared or name in profile.undeclared:
                        _note(profile.rescued, name, found)
                    else:
                        profile.columnless.add(name)
                for name, mark in zip(texts, marks, strict=True):
                    if mark:
                        _note(profile.replaced, name, found)


def _shown_key(row: Sequence[Any], key: Sequence[str]) -> Any:  # noqa: ANN401 - a key of whatever type
    """The key that a row begins with: a value, or a tuple if it has several columns."""
    return row[0] if len(key) == 1 else tuple(row[: len(key)])


def _note(odd: dict[str, Odd], name: str, key: Any) -> None:  # noqa: ANN401 - a key of whatever type
    found = odd.setdefault(name, Odd())
    found.rows += 1
    if len(found.ids) < SHOWN_IDS:
        found.ids.append(key)


def _dangling(client: Client, connector: Connector, resource: Resource, column: Column) -> Odd:
    assert column.references  # noqa: S101 - the caller has looked
    qualify, escape = client.sql_client.make_qualified_table_name, client.sql_client.escape_column_name
    parent = connector.by_name[column.references]
    # The catalog declares no reference to a resource with several: see `mistakes`.
    [parent_key] = map(escape, key_columns(parent))
    key = list(map(escape, key_columns(resource)))
    child_key = ", ".join(f"child.{name}" for name in key)
    # The window counts all rows while only the first few are fetched: destinations spell LIMIT differently.
    query = (
        f"SELECT {child_key}, count(*) OVER () FROM {qualify(resource.name)} child"
        f" LEFT JOIN (SELECT {parent_key} FROM {qualify(parent.name)} WHERE {is_live(client, parent)}) parent"
        f" ON parent.{parent_key} = child.{escape(column_name(column.name))}"
        f" WHERE {is_live(client, resource, 'child.')} AND parent.{parent_key} IS NULL ORDER BY {child_key}"
    )
    with client.sql_client.execute_query(query) as cursor:
        rows = cursor.fetchmany(SHOWN_IDS)
    return Odd(rows[0][-1] if rows else 0, [_shown_key(row, key) for row in rows])
