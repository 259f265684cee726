"""Advisory locks in Postgres: only one run at a time loads a table."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from dlt.destinations.exceptions import DatabaseException

from analytics_assets.warehouse.access import describe_driver_error
from analytics_assets.warehouse.errors import DestinationError
from analytics_assets.warehouse.pipeline import build_client
from analytics_assets.warehouse.session import Session
from analytics_assets.warehouse.sql import POSTGRES, first_row


@contextmanager
def advisory_locks(session: Session, names: Iterable[str], timeout: float) -> Iterator[None]:
    """Locks the tables of some resources in Postgres, against runs of any Dagster instance.

    dlt loads through a staging table, and two runs at once would mix their rows in it. Other destinations need no lock:
    a run holds its DuckDB file alone, and within one instance the pool keeps runs apart.

    Args:
        session: Has the destination, and the log for the message that the run waits. The locks are held by a connection
            of their own and end with it.
        names: Names of the resources whose tables to lock, in the order of a run, so that two runs never wait for each
            other.
        timeout: Most seconds to wait for another run, per table.

    Raises:
        DestinationError: Another run still holds a table after `timeout`.
    """
    if not session.destination.destination_type.endswith(POSTGRES):
        yield
        return
    with build_client(session.connector, session.destination, session.working_dir) as client:
        for name in (f"{session.connector.dataset}.{each}" for each in names):
            if not first_row(client, "SELECT pg_try_advisory_lock(hashtext(%s))", name)[0]:
                session.log(f"Waiting for another run that is loading {name}, {timeout:g} s at most")
                client.sql_client.execute_sql("SELECT set_config('lock_timeout', %s, false)", f"{timeout * 1000:.0f}ms")
                try:
                    client.sql_client.execute_sql("SELECT pg_advisory_lock(hashtext(%s))", name)
                except DatabaseException as error:
                    raise DestinationError(
                        f"Another run is still loading {name} after {timeout:g} s. Let it end, or raise busy_timeout"
                        f" of the resource 'analytics'. The database says: {describe_driver_error(error, client)}"
                    ) from error
        yield
