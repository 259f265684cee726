"""The tables that dlt keeps for all pipelines of a dataset: versions of schemas, loads, and states.

dlt makes them with the first load. Of two first loads at once one would fail, because the tables are there already.
"""

from contextlib import AbstractContextManager, nullcontext

from dlt.common.destination.client import WithStagingDataset
from dlt.common.schema import Schema
from dlt.common.schema.utils import normalize_table_identifiers, pipeline_state_table
from dlt.destinations.job_client_impl import SqlJobClientBase

from analytics_assets.warehouse.client import SqlClient
from analytics_assets.warehouse.locks import hold
from analytics_assets.warehouse.pipeline import connect_beside
from analytics_assets.warehouse.session import Session

LOCK = "_dlt_*"
"""Name of the lock around the creation."""


def make_shared_tables(session: Session, timeout: float) -> None:
    """Makes the tables where they are missing, in the dataset and in the staging dataset.

    Args:
        session: Has the destination.
        timeout: Most seconds to wait for another run that makes them.

    Raises:
        BusyError: Another run is still at it.
    """
    beside = connect_beside(session.client)
    with session.client as client:
        if isinstance(client, SqlClient) and not _are_missing(client):
            return
    with hold(session, LOCK, timeout), beside:
        if _are_missing(beside):
            _make(beside.dlt)


def _are_missing(client: SqlClient) -> bool:
    own = client.schema
    if not all(map(client.has_table, (own.version_table_name, own.loads_table_name, own.state_table_name))):
        return True
    with _staging(client.dlt):
        return not client.has_table(own.version_table_name)


def _make(client: SqlJobClientBase) -> None:
    schema = client.schema
    schema.update_table(normalize_table_identifiers(pipeline_state_table(add_dlt_id=True), schema.naming))
    # dlt refuses a schema that was changed since it was made.
    client.schema = Schema.from_dict(schema.to_dict())  # type: ignore[arg-type] # dlt's own two types
    for place, names in ((nullcontext(), schema.tables), (_staging(client), [schema.version_table_name])):
        with place:
            client.initialize_storage()
            client.update_stored_schema(only_tables=list(names))
            # No pipeline has this schema.
            versions = client.sql_client.make_qualified_table_name(schema.version_table_name)
            column = client.sql_client.escape_column_name("schema_name")
            client.sql_client.execute_sql(f"DELETE FROM {versions} WHERE {column} = %s", schema.name)


def _staging(client: SqlJobClientBase) -> AbstractContextManager[object]:
    return client.with_staging_dataset() if isinstance(client, WithStagingDataset) else nullcontext()
