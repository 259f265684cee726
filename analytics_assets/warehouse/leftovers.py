"""What is left in the warehouse of resources that the catalog no longer lists, because they were removed or renamed."""

from collections.abc import Iterable, Sequence

from dlt.common.destination.client import WithStagingDataset
from dlt.destinations.job_client_impl import SqlJobClientBase

from analytics_assets.api.catalog import Resource
from analytics_assets.api.source import SOURCE_NAME
from analytics_assets.warehouse.pipeline import pipeline_name
from analytics_assets.warehouse.sql import first_row

PREFIX = f"{SOURCE_NAME}_"
"""What the names of our pipelines, and so of dlt's schemas, begin with."""


def find_leftovers(client: SqlJobClientBase, resources: Iterable[Resource]) -> list[str]:
    """Names of the resources that were loaded into the dataset, and are not among `resources`. The client is connected.

    dlt's schema tells: it is stored before the table is made.
    """
    versions = client.schema.version_table_name
    if not client.get_storage_table(versions)[0]:
        return []
    sql = client.sql_client
    column, table = sql.escape_column_name("schema_name"), sql.make_qualified_table_name(versions)
    names = {name for (name,) in sql.execute_sql(f"SELECT DISTINCT {column} FROM {table}") or ()}
    names -= {pipeline_name(resource) for resource in resources}
    return sorted(name.removeprefix(PREFIX) for name in names if name.startswith(PREFIX))


def describe_leftovers(names: Sequence[str]) -> str:
    """A sentence that names the leftovers and the command that drops them."""
    name, it = (names[0], "it") if len(names) == 1 else ("<name>", "each of them")
    return (
        f"The warehouse still has what was loaded of {', '.join(names)}, and api/catalog.py no longer lists {it}."
        f" `python -m analytics_assets drop {name}` drops the table and its state"
    )


def count_leftover(client: SqlJobClientBase, name: str) -> int | None:
    """Number of rows that a leftover has; `None` if it has no table."""
    if not client.get_storage_table(name)[0]:
        return None
    [count] = first_row(client, f"SELECT count(*) FROM {client.sql_client.make_qualified_table_name(name)}")
    return int(count)


def drop_leftover(client: SqlJobClientBase, name: str) -> None:
    """Drops a leftover: its table, its staging table, and what dlt keeps of it (schema, loads, state)."""
    schema = client.schema
    with client.sql_client.begin_transaction():
        if isinstance(client, WithStagingDataset):
            with client.with_staging_dataset():
                _drop(client, name, {schema.version_table_name: "schema_name"})
        # The schema is last: by it, a leftover is found again if a database without transactions fails halfway.
        kept = {schema.state_table_name: "pipeline_name", schema.loads_table_name: "schema_name"}
        _drop(client, name, {**kept, schema.version_table_name: "schema_name"})


def _drop(client: SqlJobClientBase, name: str, kept: dict[str, str]) -> None:
    """Drops a table of one dataset, and its rows in tables of dlt. Those are given with the column to find it by."""
    sql = client.sql_client
    if client.get_storage_table(name)[0]:
        sql.execute_sql(f"DROP TABLE {sql.make_qualified_table_name(name)}")
    for table, column in kept.items():
        if client.get_storage_table(table)[0]:
            where = f"{sql.escape_column_name(column)} = %s"
            sql.execute_sql(f"DELETE FROM {sql.make_qualified_table_name(table)} WHERE {where}", PREFIX + name)
