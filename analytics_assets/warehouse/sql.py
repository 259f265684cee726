"""Small helpers for SQL that every destination speaks."""

from datetime import UTC, datetime
from typing import Any

from dlt.destinations.job_client_impl import SqlJobClientBase

from analytics_assets.api.catalog import Resource

POSTGRES = "postgres"
SQLITE = "sqlite"


def is_sqlite(client: SqlJobClientBase) -> bool:
    """Whether the destination is SQLite, which dlt reaches through SQLAlchemy."""
    return client.capabilities.sqlglot_dialect == SQLITE


def as_argument(client: SqlJobClientBase, moment: datetime) -> datetime | str:
    """A point in time as an argument of a query.

    SQLite stores timestamps as texts and compares them as such, so the argument is spelled like SQLAlchemy's texts.
    """
    if not is_sqlite(client):
        return moment
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(" ", "microseconds")


def qualified_table(client: SqlJobClientBase, resource: Resource) -> str:
    """The resource's table as SQL names it, with its dataset."""
    return client.sql_client.make_qualified_table_name(resource.name)


def first_row(client: SqlJobClientBase, query: str, *arguments: object) -> tuple[Any, ...]:
    """The first row of a query that always returns one, such as an aggregate."""
    rows = client.sql_client.execute_sql(query, *arguments)
    assert rows  # noqa: S101 - an aggregate has one row
    return tuple(rows[0])
