"""Whose a table is. Others may load into the same dataset: another connector, or a pipeline of dlt outside this one."""

import json
from typing import Any

from analytics_assets.api.catalog import Resource
from analytics_assets.api.connector import Connector
from analytics_assets.warehouse.client import Client
from analytics_assets.warehouse.errors import CatalogChangeError


def schema_names(client: Client) -> set[str]:
    """Names of the schemas that dlt keeps in the dataset. A schema of ours has the name of its pipeline."""
    versions = client.schema.version_table_name
    if not client.has_table(versions):
        return set()
    sql = client.sql_client
    column, table = sql.escape_column_name("schema_name"), sql.make_qualified_table_name(versions)
    return {name for (name,) in sql.execute_sql(f"SELECT DISTINCT {column} FROM {table}") or ()}


def stored_tables(client: Client, schema: str) -> dict[str, Any]:
    """The tables in dlt's newest version of a schema, by name."""
    stored = client.stored_schema(schema)
    tables: dict[str, Any] = json.loads(stored.schema)["tables"] if stored else {}
    return tables


def other_owner(client: Client, own: str, table: str) -> str | None:
    """Another schema of the dataset that has the table, given the name of ours; `None` if there is none."""
    others = sorted(schema_names(client) - {own})
    return next((schema for schema in others if table in stored_tables(client, schema)), None)


def refuse_made_by_others(client: Client, connector: Connector, resource: Resource, *, may_be_ours: bool) -> None:
    """Fails if no load tells whose a table is, and dlt's schemas say that something else made it.

    Args:
        client: Asks the destination; it is connected.
        connector: The connector of the resource.
        resource: The resource whose table exists.
        may_be_ours: Whether the table is ours if no schema has it. A kill leaves such a table without rows, where the
            database has no transactions for tables: dlt makes the table, and stores the schema next.

    Raises:
        CatalogChangeError: The table is not ours.
    """
    own = connector.pipeline_name(resource)
    if own in schema_names(client) and resource.name in stored_tables(client, own):
        return
    other = other_owner(client, own, resource.name)
    if other or not may_be_ours:
        raise not_ours(connector, resource, other)


def not_ours(connector: Connector, resource: Resource, other: str | None) -> CatalogChangeError:
    """The error of a table that belongs to something else: to another schema, if one is known."""
    owner = f"to the pipeline {other}" if other else "to something else, as no load of ours made it"
    return CatalogChangeError(
        f"{resource.name}: the table {connector.dataset}.{resource.name} does not belong to the connector"
        f" {connector.name}, but {owner}. Each would mark the other's rows as deleted, so no request was made, and the"
        " table stays as it is, even with mode: rebuild. Give the connector another dataset (dataset_name) or the"
        " resource another name, or drop the table if nothing needs it any more."
    )
