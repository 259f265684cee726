"""What the tables say of themselves, for the checks: one query a resource, in SQL that every destination speaks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from dlt.destinations.job_client_impl import SqlJobClientBase

from analytics_assets.api.catalog import BY_NAME, DELETED_AT, PRIMARY_KEY, Column, Resource
from analytics_assets.api.instants import parse_instant
from analytics_assets.api.source import column_name, undeclared_columns
from analytics_assets.warehouse.pipeline import as_argument, pipeline_name

SHOWN_IDS = 5
"""Ids of wrong rows that are named."""


@dataclass(frozen=True, slots=True)
class Load:
    """A load package that dlt has recorded as complete; 0 is the only status that counts."""

    load_id: str
    status: int
    at: datetime


@dataclass(frozen=True, slots=True)
class Dangling:
    """Live rows whose reference names no live row: how many, and the ids of the first few."""

    rows: int
    ids: list[Any]


@dataclass(frozen=True, slots=True)
class Facts:
    """What was measured in a resource's table. Without a table, all counts are 0.

    `rows` and what is said of the key, of `nulls` (by column) and of `newest_load_id` are about all rows; cursors and
    references are about live ones. `newest` is the newest cursor value that is not in the future. `dangling` is by the
    referring column's name, `None` where the table that it refers to does not exist.
    """

    has_table: bool = False
    undeclared: list[str] = field(default_factory=list)
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
    dangling: dict[str, Dangling | None] = field(default_factory=dict)


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
    return Facts(
        has_table=True,
        # Some destinations fold names, which are in lower case as dlt makes them, to upper case.
        undeclared=undeclared_columns(map(str.lower, existing[resource.name]), resource),
        **measured,
        nulls=dict(zip(required, row[len(counts) :], strict=True)),
        last_load=last_load,
        dangling={
            column.name: _dangling(client, resource, column) if column.references in existing else None
            for column in references(resource)
        },
    )


def _dangling(client: SqlJobClientBase, resource: Resource, column: Column) -> Dangling:
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
    return Dangling(rows[0][1] if rows else 0, [row[0] for row in rows])
