"""Locks: one run at a time loads a table, of whatever Dagster instance, process or host it is.

dlt loads through a staging table, in which two runs would mix their rows. And the cursor of a run must not be committed
over rows that another run has loaded meanwhile. A run holds its DuckDB file alone, so that it needs no lock there.
"""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from hashlib import blake2b
from pathlib import Path

from dlt.destinations.exceptions import DatabaseException

from analytics_assets.warehouse.access import describe_driver_error
from analytics_assets.warehouse.client import Client
from analytics_assets.warehouse.errors import DestinationError
from analytics_assets.warehouse.pipeline import connect_beside
from analytics_assets.warehouse.session import Session
from analytics_assets.warehouse.sql import MYSQL, POSTGRES, SQLITE, first_row

LONGEST_NAME = 64
"""Most characters that MySQL has for the name of a lock."""


class BusyError(DestinationError):
    """Another run still has a lock."""


def is_alone(session: Session) -> bool:
    """Whether no other run can use the destination meanwhile: a run holds its DuckDB file."""
    return session.connection is not None


def has_locks(session: Session) -> bool:
    """Whether the destination has locks that `hold` knows."""
    return _dialect(session) in {POSTGRES, MYSQL, SQLITE}


def can_share(session: Session) -> bool:
    """Whether several runs may hold a lock together."""
    return _dialect(session) == POSTGRES


@contextmanager
def hold(session: Session, name: str, timeout: float, *, shared: bool = False) -> Iterator[None]:
    """Holds a lock while the context is open. Where the destination has no locks, it does nothing.

    A lock is held by a connection of its own and ends with it, so also when the process dies.

    Args:
        session: Has the destination, and the log for the message that the run waits.
        name: What to lock in the dataset: a resource, for its table.
        timeout: Most seconds to wait for another run.
        shared: Whether others may hold the lock, too, if they share it as well. Only Postgres can share one.

    Raises:
        BusyError: Another run still has the lock after `timeout`.
        DestinationError: The lock was lost while it was held.
    """
    full_name = f"{session.connector.dataset}.{name}"
    dialect = _dialect(session)
    if dialect == SQLITE:
        with _lock_file(session, full_name, timeout):
            yield
    elif dialect in {POSTGRES, MYSQL}:
        # A transaction, whose end frees the lock: behind PgBouncer, only that keeps the connection to the server.
        with (
            connect_beside(session.client) as client,
            client.sql_client.begin_transaction(),
        ):
            if dialect == POSTGRES:
                last_long(client)
            _wait(session, full_name, timeout, lambda seconds: _try(client, dialect, full_name, seconds, shared=shared))
            try:
                yield
                _check_held(client, full_name)
            finally:
                if dialect == MYSQL:
                    # SQLAlchemy keeps the connection for others.
                    with suppress(DatabaseException):
                        client.sql_client.execute_sql("SELECT RELEASE_LOCK(%s)", _short(full_name))
    else:
        yield


def last_long(client: Client) -> None:
    """Lets the transaction of a client idle while rows are loaded: a Postgres may end such transactions, and locks."""
    names = "('idle_in_transaction_session_timeout', 'transaction_timeout')"
    client.sql_client.execute_sql(f"SELECT set_config(name, '0', true) FROM pg_settings WHERE name IN {names}")


def _dialect(session: Session) -> str | None:
    return session.client.capabilities.sqlglot_dialect


def _wait(session: Session, name: str, timeout: float, attempt: Callable[[float], str | None]) -> None:
    """Takes a lock, given what waits for it so many seconds and returns why it has not got it."""
    if attempt(0) is None:
        return
    if timeout:
        session.log(f"Waiting for another run that is loading {name}, {timeout:g} s at most")
    if (problem := attempt(timeout) if timeout else "") is not None:
        raise BusyError(
            f"Another run is still loading {name} after {timeout:g} s. Let it end, or raise busy_timeout of the"
            f" resource 'analytics'.{problem}"
        )


def _try(client: Client, dialect: str, name: str, seconds: float, *, shared: bool) -> str | None:
    """Takes a lock of the database, or says why it has not."""
    if dialect == MYSQL:
        return None if first_row(client, "SELECT GET_LOCK(%s, %s)", _short(name), seconds)[0] == 1 else ""
    how = "_shared" if shared else ""
    if not seconds:
        return None if first_row(client, f"SELECT pg_try_advisory_xact_lock{how}(hashtext(%s))", name)[0] else ""
    sql = client.sql_client
    try:
        sql.execute_sql("SELECT set_config('lock_timeout', %s, true)", f"{seconds * 1000:.0f}ms")
        sql.execute_sql(f"SELECT pg_advisory_xact_lock{how}(hashtext(%s))", name)
    except DatabaseException as error:
        return f" The database says: {describe_driver_error(error, client)}"
    return None


def _short(name: str) -> str:
    """A name as MySQL takes it."""
    return name if len(name) <= LONGEST_NAME else blake2b(name.encode(), digest_size=16).hexdigest()


def _check_held(client: Client, name: str) -> None:
    """Fails if the connection that holds a lock has broken meanwhile."""
    try:
        client.sql_client.execute_sql("SELECT 1")
    except DatabaseException as error:
        raise DestinationError(
            f"The connection that held the lock of {name} broke while the rows were loaded, so that another run may"
            " have loaded the table at the same time. Run with mode: full, which reads everything again. The database"
            f" says: {describe_driver_error(error, client)}"
        ) from error


@contextmanager
def _lock_file(session: Session, name: str, timeout: float) -> Iterator[None]:
    """Locks a file of its own beside a SQLite file: SQLite has no other lock that a run could keep while it loads."""
    database = Path(session.client.sql_client.database_name or "")
    path = database.with_name(f"{database.stem}__{name}.lock")
    # Each connection waits by itself, so it is made anew.
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:

        def attempt(seconds: float) -> str | None:
            try:
                connection.execute(f"PRAGMA busy_timeout = {seconds * 1000:.0f}")
                connection.execute("BEGIN EXCLUSIVE")
            except sqlite3.OperationalError:
                return ""
            return None

        _wait(session, name, timeout, attempt)
        yield
