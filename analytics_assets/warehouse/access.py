"""Tests whether a destination can be reached and written to."""

from contextlib import suppress
from typing import Any

from dlt.destinations.sql_client import SqlClientBase

from analytics_assets.api.redaction import redact
from analytics_assets.warehouse.client import Client
from analytics_assets.warehouse.credentials import secrets_of
from analytics_assets.warehouse.errors import DestinationError

SCRATCH = "_analytics_check"
"""Name of the table that `check_writable` creates. It is never committed."""


def check_reachable(client: Client) -> None:
    """Connects once.

    Raises:
        DestinationError: The driver raised an error. The message quotes its first line.
    """
    try:
        with client:
            client.is_storage_initialized()
    except Exception as error:  # each destination's driver has errors of its own
        raise DestinationError(
            f"Cannot use the destination {client.config.destination_type}: {describe_driver_error(error, client)}"
        ) from error


def check_writable(client: Client) -> bool:
    """Creates a table as a sync would, and its schema if that is missing, and rolls both back.

    Returns:
        Whether it was tried. A destination that cannot roll a table back is left untouched.

    Raises:
        DestinationError: The destination refuses.
    """
    if not client.capabilities.supports_ddl_transactions:
        return False
    try:
        with suppress(_UndoError), client, client.sql_client.begin_transaction():
            _make_table_and_undo(client.sql_client)
    except Exception as error:  # each destination's driver has errors of its own
        raise DestinationError(
            f"Cannot create a table in {client.sql_client.dataset_name!r} of the destination"
            f" {client.config.destination_type}: {describe_driver_error(error, client)}"
        ) from error
    return True


def describe_driver_error(error: Exception, client: Client) -> str:
    """The first line of a driver's error, with the credentials redacted. Later lines may quote statements and rows."""
    said = redact(str(error).strip().partition("\n")[0], secrets_of(client.config))
    if said.endswith("unable to open database file"):
        # SQLite does not say which.
        file = client.sql_client.database_name
        said += f" {file}. Its directory has to exist, and this user has to be able to write there."
    return said


class _UndoError(Exception):
    """Rolls a transaction back."""


def _make_table_and_undo(sql: SqlClientBase[Any]) -> None:
    if not sql.has_dataset():
        sql.create_dataset()
    sql.execute_sql(f"CREATE TABLE {sql.make_qualified_table_name(SCRATCH)} (id INTEGER)")
    raise _UndoError
