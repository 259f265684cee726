"""The state of a resource's table before and after a sync."""

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from dlt.common.schema.typing import TTableSchemaColumns

from analytics_assets.api.catalog import Resource
from analytics_assets.api.connector import Connector
from analytics_assets.api.order import Order, has_order, is_usable, read_order
from analytics_assets.api.reading import Gap, Reading, read_gap
from analytics_assets.api.settings import Settings
from analytics_assets.api.values.columns import column_name
from analytics_assets.warehouse.client import Client
from analytics_assets.warehouse.errors import CatalogChangeError
from analytics_assets.warehouse.owner import not_ours, refuse_made_by_others, stored_tables
from analytics_assets.warehouse.shape import SHAPE, declared_shape, find_unfilled
from analytics_assets.warehouse.sql import as_argument, first_row, qualified_table

if TYPE_CHECKING:
    import pyarrow as pa

LOAD_ID = "_dlt_load_id"
"""Column in which dlt keeps the load of a row."""


@dataclass(frozen=True, slots=True)
class TableState:
    """The table of a resource before a sync."""

    is_empty: bool
    """Whether the table has no row, or does not exist."""
    is_torn: bool = False
    """Whether the last load died after its rows were merged and before dlt recorded it. dlt then restores the state of
    the load before, which does not know these rows."""
    cursor: datetime | None = None
    """The cursor that syncs have left, or `None`. Windows leave none."""
    gap: Gap | None = None
    """The gap that earlier syncs of a sliced listing have left, or `None`."""
    order: Order | None = None
    """The order of the listing that the last sync has found, or `None`."""
    unfilled: tuple[str, ...] = ()
    """Declared fields that rows may lack, because they were loaded before the field was declared."""
    mismatch: CatalogChangeError | None = None
    """Why only a rebuild makes the table fit the catalog; `None` if it fits."""


def read_table_state(client: Client, connector: Connector, resource: Resource) -> TableState:
    """The state of a resource's table. The client is connected.

    Raises:
        CatalogChangeError: The table belongs to something else, so that no sync may touch it.
    """
    columns = client.columns_of([resource.name]).get(resource.name)
    if columns is None:
        return TableState(is_empty=True)
    if LOAD_ID not in map(str.lower, columns):
        raise not_ours(connector, resource, None)
    load_id = client.sql_client.escape_column_name(LOAD_ID)
    [newest] = first_row(client, f"SELECT max({load_id}) FROM {qualified_table(client, resource)}")
    if newest is None:
        refuse_made_by_others(client, connector, resource, may_be_ours=True)
        return TableState(is_empty=True)
    loads = client.sql_client.make_qualified_table_name(client.schema.loads_table_name)
    query = f"SELECT schema_name FROM {loads} WHERE load_id = %s AND status = 0"
    recorded = client.sql_client.execute_sql(query, newest)
    if not recorded:
        refuse_made_by_others(client, connector, resource, may_be_ours=False)
    elif recorded[0][0] != connector.pipeline_name(resource):
        raise not_ours(connector, resource, recorded[0][0])
    state = _stored_state(client, connector, resource)
    unfilled: tuple[str, ...] = ()
    mismatch = None
    # As it is with every sync but the first after a change of the catalog.
    if state.get(SHAPE) != declared_shape(resource):
        try:
            unfilled = find_unfilled(resource, state.get(SHAPE), _stored_columns(client, connector, resource))
        except CatalogChangeError as error:
            mismatch = error
    incremental = state.get("incremental", {}).get(column_name(resource.cursor), {}) if resource.cursor else {}
    return TableState(
        is_empty=False,
        is_torn=not recorded,
        cursor=incremental.get("last_value"),
        gap=read_gap(state),
        order=read_order(state),
        unfilled=unfilled,
        mismatch=mismatch,
    )


def usable_order(
    table: TableState | Exception, resource: Resource, settings: Settings, reading: Reading | None = None
) -> Order | None:
    """The order by which a listing can be read; `None` if it has to be read whole.

    Args:
        table: The table of the resource, or why it could not be looked at.
        resource: The resource.
        settings: The settings of the API.
        reading: How much to read; by default new rows only.
    """
    if isinstance(table, Exception) or table.is_torn or table.unfilled or reading not in {None, Reading()}:
        return None
    if table.order is None or table.cursor is None or not has_order(resource, settings):
        return None
    return table.order if is_usable(table.order, table.cursor, resource, settings) else None


def find_refusals(client: Client, connector: Connector) -> dict[str, CatalogChangeError]:
    """Why a sync would not load a table, by resource. The client is connected."""
    found = {}
    for resource in connector.resources:
        try:
            refusal = read_table_state(client, connector, resource).mismatch
        except CatalogChangeError as error:
            refusal = error
        if refusal:
            found[resource.name] = refusal
    return found


def _stored_state(client: Client, connector: Connector, resource: Resource) -> dict[str, Any]:
    """What the last complete load left in the state of the resource."""
    name = connector.pipeline_name(resource)
    # The source has the name of the pipeline.
    resources = (client.stored_state(name).get("sources", {}).get(name) or {}).get("resources", {})
    found: dict[str, Any] = resources.get(resource.name, {})
    return found


def _stored_columns(client: Client, connector: Connector, resource: Resource) -> TTableSchemaColumns:
    """The columns of the table in dlt's newest schema of it."""
    tables = stored_tables(client, connector.pipeline_name(resource))
    columns: TTableSchemaColumns = tables.get(resource.name, {}).get("columns", {})
    return columns


def count_rows(client: Client, resource: Resource) -> int:
    """Number of rows of the resource's table, those marked as deleted included."""
    [count] = first_row(client, f"SELECT count(*) FROM {qualified_table(client, resource)}")
    return int(count)


def count_between(client: Client, resource: Resource, start: datetime, end: datetime) -> int:
    """Number of rows of the resource's table with a cursor value from a start to an end, the end excluded."""
    assert resource.cursor  # noqa: S101 - only tables with a cursor are asked
    cursor = client.sql_client.escape_column_name(column_name(resource.cursor))
    query = f"SELECT count(*) FROM {qualified_table(client, resource)} WHERE {cursor} >= %s AND {cursor} < %s"
    [count] = first_row(client, query, as_argument(client, start), as_argument(client, end))
    return int(count)


def has_any_key(client: Client, resource: Resource, keys: "pa.Table") -> bool:
    """Whether a table in DuckDB has one of the keys. The client is connected.

    Args:
        client: Asks a DuckDB database.
        resource: The resource.
        keys: The columns of its key.
    """
    if not client.has_table(resource.name):
        return False
    connection = client.sql_client.native_connection
    connection.register("loaded_keys", keys)
    names = ", ".join(map(client.sql_client.escape_column_name, keys.column_names))
    query = f"FROM {qualified_table(client, resource)} SEMI JOIN loaded_keys USING ({names}) SELECT 1 LIMIT 1"
    try:
        return bool(client.sql_client.execute_sql(query))
    finally:
        connection.unregister("loaded_keys")
