"""Small helpers for SQL that every destination speaks."""

from datetime import UTC, datetime
from typing import Any

from analytics_assets.api.catalog import Resource
from analytics_assets.warehouse.client import Client

POSTGRES = "postgres"
SQLITE = "sqlite"
MYSQL = "mysql"
"""dlt's name of the dialect, which is that of MariaDB, too."""


def as_argument(client: Client, moment: datetime) -> datetime | str:
    """A point in time as an argument of a query.

    SQLite stores timestamps as texts and compares them as such, so the argument is spelled like SQLAlchemy's texts.
    MySQL's drivers drop offsets.
    """
    if client.capabilities.sqlglot_dialect not in {SQLITE, MYSQL}:
        return moment
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(" ", "microseconds")


def as_text(client: Client, column: str) -> str:
    """SQL for a column of any type as text, given the column's escaped name."""
    # MySQL's columns are texts already, and what it casts has another collation, in which many characters are the same.
    return column if client.capabilities.sqlglot_dialect == MYSQL else f"CAST({column} AS VARCHAR)"


def qualified_table(client: Client, resource: Resource) -> str:
    """The resource's table as SQL names it, with its dataset."""
    return client.sql_client.make_qualified_table_name(resource.name)


def first_row(client: Client, query: str, *arguments: object) -> tuple[Any, ...]:
    """The first row of a query that always returns one, such as an aggregate."""
    rows = client.sql_client.execute_sql(query, *arguments)
    assert rows  # noqa: S101 - an aggregate has one row
    return tuple(rows[0])
