"""Windows of events, of which several runs load some at once into one table of Postgres.

Each has staging tables of its own, and no two of them may have the same rows: each would add them.
"""

import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from math import ceil
from typing import Any

from dlt.common.destination.reference import Destination
from dlt.destinations.exceptions import DatabaseException

from analytics_assets.api.reading import Reading
from analytics_assets.warehouse.access import describe_driver_error
from analytics_assets.warehouse.destination import with_staging
from analytics_assets.warehouse.locks import BusyError, hold, last_long
from analytics_assets.warehouse.pipeline import build_client, connect_beside
from analytics_assets.warehouse.session import Session
from analytics_assets.warehouse.sql import first_row

LOOKED_EVERY = 0.5
"""Seconds between two looks whether a window that overlaps is loaded."""

FOREVER = 2**31 - 1
"""Last minute that the key of a lock may be."""

OVERLAPPING = """
    SELECT count(*) FROM pg_locks AS begins JOIN pg_locks AS ends USING (pid, locktype, database, objsubid)
    WHERE locktype = 'advisory' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
        AND objsubid = 2 AND pid <> pg_backend_pid()
        AND begins.classid::bigint = hashtext(%s)::bigint & 4294967295 AND begins.objid::bigint < %s
        AND ends.classid::bigint = hashtext(%s)::bigint & 4294967295 AND ends.objid::bigint > %s
"""
"""Counts windows that others hold and that overlap. Each is held by two locks: its first minute, and that behind it."""


def staging_of_its_own(session: Session) -> tuple[Destination[Any, Any], str]:
    """The destination with a staging dataset that no other run has, and the name of that."""
    destination = with_staging(session.destination, f"_w{os.urandom(6).hex()}")
    client = build_client(session.connector, destination, session.working_dir)
    return destination, client.sql_client.staging_dataset_name


def drop_staging(session: Session, name: str) -> None:
    """Drops a staging dataset, if it exists."""
    with session.client as client:
        client.sql_client.execute_sql(f"DROP SCHEMA IF EXISTS {client.sql_client.escape_column_name(name)} CASCADE")


def drop_forgotten(session: Session) -> None:
    """Drops the staging datasets of windows that were killed."""
    with session.client as client:
        sql = client.sql_client
        names = sql.execute_sql("SELECT nspname FROM pg_namespace") or ()
        forgotten = re.compile(re.escape(sql.staging_dataset_name) + "_w[0-9a-f]{12}")
        for name in (name for (name,) in names if forgotten.fullmatch(name)):
            try:
                with sql.begin_transaction():
                    if first_row(client, "SELECT pg_try_advisory_xact_lock(hashtext(%s))", name)[0]:
                        sql.execute_sql(f"DROP SCHEMA IF EXISTS {sql.escape_column_name(name)} CASCADE")
            except DatabaseException as error:
                session.log(f"{name} was left by a run that died, and stays: {describe_driver_error(error, client)}")


@contextmanager
def hold_window(session: Session, name: str, window: Reading, staging: str, timeout: float) -> Iterator[None]:
    """Holds a window of a table against runs of windows that overlap, and the staging dataset against `drop_forgotten`.

    Args:
        session: Has the destination, which is Postgres.
        name: The resource.
        window: Which rows are loaded.
        staging: Name of the staging dataset.
        timeout: Most seconds to wait for runs of other windows.

    Raises:
        BusyError: A run of a window that overlaps is still at work after `timeout`.
    """
    begins, ends = (f"{session.connector.dataset}.{name} {edge}" for edge in ("begins", "ends"))
    first = min(max(0, int(window.start.timestamp() // 60)), FOREVER - 1) if window.start else 0
    last = min(max(1, ceil(window.end.timestamp() / 60)), FOREVER) if window.end else FOREVER
    deadline = time.monotonic() + timeout
    waits = False
    with (
        connect_beside(session.client) as client,
        client.sql_client.begin_transaction(),
    ):
        last_long(client)
        client.sql_client.execute_sql("SELECT pg_advisory_xact_lock(hashtext(%s))", staging)
        while True:
            # Nobody else may look before this run has said which window it has.
            with hold(session, f"{name} windows", timeout):
                if not first_row(client, OVERLAPPING, begins, last, ends, first)[0]:
                    for edge, minute in ((begins, first), (ends, last)):
                        client.sql_client.execute_sql(
                            "SELECT pg_advisory_xact_lock_shared(hashtext(%s), %s)", edge, minute
                        )
                    break
            if time.monotonic() > deadline:
                raise BusyError(
                    f"Another run is still loading a window of {name} that overlaps this one after {timeout:g} s. Let"
                    " it end, or raise busy_timeout of the resource 'analytics'."
                )
            if not waits:
                session.log(f"Waiting for a run that loads a window of {name} that overlaps this one")
            waits = True
            time.sleep(LOOKED_EVERY)
        yield
