"""Small helpers for SQL that every destination speaks."""

from datetime import UTC, datetime
from typing import Any

from analytics_assets.api.catalog import Resource
from analytics_assets.warehouse.client import Client
from analytics_assets.warehouse.replace_table import TSQL

POSTGRES = "postgres"
SQLITE = "sqlite"
MYSQL = "mysql"
"""dlt's name of the dialect, which is that of MariaDB, too."""


AS_TEXT = {
    # They are texts already, and what MySQL casts has another collation, in which many characters are the same.
    MYSQL: "{}",
    "bigquery": "TO_JSON_STRING({})",
    "redshift": "JSON_SERIALIZE({})",
    "databricks": "CAST({} AS STRING)",
    "clickhouse": "CAST({} AS Nullable(String))",
    # Without a length it would be cut after 30 characters.
    **dict.fromkeys(TSQL, "CAST({} AS NVARCHAR(MAX))"),
}
"""How a json column becomes text, by sqlglot's name of the database, where it is no cast to VARCHAR."""


def as_argument(client: Client, moment: datetime) -> datetime | str:
    """A point in time as an argument of a query.

    SQLite stores timestamps as texts and compares them as such, so the argument is spelled like SQLAlchemy's texts.
    MySQL's drivers drop offsets.
    """
    if client.capabilities.sqlglot_dialect not in {SQLITE, MYSQL}:
        return moment
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(" ", "microseconds")


def as_text(client: Client, column: str) -> str:
    """SQL for a json column as text, given the column's escaped name."""
    return AS_TEXT.get(client.capabilities.sqlglot_dialect or "", "CAST({} AS VARCHAR)").format(column)


def at_most(client: Client, query: str, count: int) -> str:
    """A SELECT with a limit."""
    if client.capabilities.sqlglot_dialect in TSQL:
        return query.replace("SELECT ", f"SELECT TOP {count} ", 1)
    return f"{query} LIMIT {count}"


def qualified_table(client: Client, resource: Resource) -> str:
    """The resource's table as SQL names it, with its dataset."""
    return client.sql_client.make_qualified_table_name(resource.name)


def first_row(client: Client, query: str, *arguments: object) -> tuple[Any, ...]:
    """The first row of a query that always returns one, such as an aggregate."""
    rows = client.sql_client.execute_sql(query, *arguments)
    assert rows  # noqa: S101 - an aggregate has one row
    return tuple(rows[0])
