"""The table of a report: made of its query, counted, and shown."""

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

from analytics_assets.api.catalog import Resource
from analytics_assets.api.values.timestamps import parse_timestamp
from analytics_assets.warehouse.client import Client
from analytics_assets.warehouse.portable_sql import DUCKDB_DIALECT, spell
from analytics_assets.warehouse.profile import is_live
from analytics_assets.warehouse.samples import TableRow
from analytics_assets.warehouse.sql import first_row, qualified_table


def make_table(client: Client, schema: str, name: str, query: str, inputs: Sequence[Resource]) -> str:
    """Makes the table of a report anew. Readers have its old rows until they have all of the new ones.

    Args:
        client: Asks the destination; it is connected.
        schema: Schema of the table. It is created if it is missing.
        name: Name of the table.
        query: The SELECT, in DuckDB's SQL. It names the tables of the inputs without a schema.
        inputs: The resources whose tables it reads. They exist.

    Returns:
        The table as SQL names it.

    Raises:
        DestinationError: The query cannot be spelled for the destination.
    """
    dialect = _dialect(client)
    if dialect != DUCKDB_DIALECT:
        # DuckDB itself may get what sqlglot does not know. It finds the tables, as dlt has set its search path.
        query = spell(query, dialect, {each.name: qualified_table(client, each) for each in inputs})
    return client.replace_table(schema, name, query)


def _dialect(client: Client) -> str:
    return client.capabilities.sqlglot_dialect or DUCKDB_DIALECT


def count(client: Client, table: str, key: Sequence[str], counts: str | None, source: Resource) -> dict[str, int]:
    """Counts a report's rows and repeated keys, the live input rows that it accounts for, and those that there are.

    Args:
        client: Asks the destination; it is connected.
        table: The report's table, as SQL names it.
        key: Columns that tell its rows apart.
        counts: Column that says for how many live rows of the input a row stands; `None` if for one.
        source: The input.
    """
    escape = client.sql_client.escape_column_name
    distinct = f"SELECT DISTINCT {', '.join(map(escape, key))} FROM {table}"
    repeated = f"count(*) - (SELECT count(*) FROM ({distinct}) different)"
    counted = f"coalesce(sum({escape(counts)}), 0)" if counts else "count(*)"
    rows_of_input = f"SELECT count(*) FROM {qualified_table(client, source)} WHERE {is_live(client, source)}"
    numbers = first_row(client, f"SELECT count(*), {repeated}, {counted}, ({rows_of_input}) FROM {table}")
    return dict(zip(("rows", "repeated_keys", "counted", "rows_of_input"), map(int, numbers), strict=True))


def first_rows(client: Client, table: str, key: Sequence[str], types: Mapping[str, str], most: int) -> list[TableRow]:
    """The first rows of a report by its key.

    Args:
        client: Asks the destination; it is connected.
        table: The report's table, as SQL names it.
        key: Columns that tell its rows apart.
        types: DuckDB's types of the columns. Values are as Python has them, whatever the driver returns.
        most: Number of rows.
    """
    query = spell(f"SELECT * FROM made ORDER BY {', '.join(key)} LIMIT {most}", _dialect(client), {"made": table})
    with client.sql_client.execute_query(query) as cursor:
        names = [name.lower() for name in cursor.columns_schema]
        rows = cursor.fetchall()
    return [{name: _as_python(value, types.get(name)) for name, value in zip(names, row, strict=True)} for row in rows]


def _as_python(value: Any, type_: str | None) -> Any:  # noqa: ANN401 - whatever a table holds
    match type_:
        case "BOOLEAN" if value is not None:
            return bool(value)
        case "DATE" if isinstance(value, str):
            return date.fromisoformat(value)
        case "TIMESTAMP WITH TIME ZONE" if value is not None:
            return parse_timestamp(value)
    return value
