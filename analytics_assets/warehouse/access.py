"""Whether a destination can be reached and written to."""

from contextlib import suppress
from typing import Any

from dlt.destinations.job_client_impl import SqlJobClientBase
from dlt.destinations.sql_client import SqlClientBase

from analytics_assets.api.redaction import redact
from analytics_assets.warehouse.credentials import secrets_of
from analytics_assets.warehouse.errors import DestinationError
from analytics_assets.warehouse.sql import is_sqlite
from analytics_assets.warehouse.target import DATASET

SCRATCH = "_analytics_check"
"""The table that shows that one can be made. It is never committed."""


def check_reachable(client: SqlJobClientBase) -> None:
    """Connects once.

    Raises:
        DestinationError: The destination cannot be reached or used.
    """
    try:
        with client:
            client.is_storage_initialized()
    except Exception as error:  # each destination's driver has errors of its own
        raise DestinationError(
            f"Cannot use the destination {client.config.destination_type}: {describe_driver_error(error, client)}"
        ) from error


def check_writable(client: SqlJobClientBase) -> bool:
    """Makes a table as a sync would, with the schema if there is none, and takes it back.

    Returns:
        Whether it was tried. Where the destination cannot take a table back, nothing is done.

    Raises:
        DestinationError: The destination refuses.
    """
    # Python's driver of SQLite makes tables outside of transactions, whatever dlt says.
    if not client.capabilities.supports_ddl_transactions or is_sqlite(client):
        return False
    try:
        with suppress(_UndoError), client, client.sql_client.begin_transaction():
            _make_table_and_undo(client.sql_client)
    except Exception as error:  # each destination's driver has errors of its own
        raise DestinationError(
            f"Cannot create a table in {DATASET!r} of the destination {client.config.destination_type}:"
            f" {describe_driver_error(error, client)}"
        ) from error
    return True


def describe_driver_error(error: Exception, client: SqlJobClientBase) -> str:
    """The first line of what a driver says, without the credentials. The others quote statements and rows."""
    return redact(str(error).strip().partition("\n")[0], secrets_of(client.config))


class _UndoError(Exception):
    """Ends a transaction without a trace."""


def _make_table_and_undo(sql: SqlClientBase[Any]) -> None:
    if not sql.has_dataset():
        sql.create_dataset()
    sql.execute_sql(f"CREATE TABLE {sql.make_qualified_table_name(SCRATCH)} (id INTEGER)")
    raise _UndoError
