"""When a run may load a table: after it has read the API, alone, and only if nobody has loaded the table meanwhile."""

from collections.abc import Callable, Collection, Sequence
from contextlib import ExitStack, suppress
from typing import Any, Self

import dlt
from dlt.extract.source import DltSource

from analytics_assets.api.catalog import Resource
from analytics_assets.api.reading import Reading
from analytics_assets.api.source import Position
from analytics_assets.warehouse.client import Client
from analytics_assets.warehouse.errors import DestinationError
from analytics_assets.warehouse.locks import can_share, has_locks, hold, is_alone
from analytics_assets.warehouse.session import Session
from analytics_assets.warehouse.shared_tables import make_shared_tables
from analytics_assets.warehouse.sql import first_row
from analytics_assets.warehouse.threads import loading_in_process
from analytics_assets.warehouse.windows import drop_staging, hold_window, staging_of_its_own

Loads = tuple[str | None, int]
"""The newest load of a resource, by its id, and how many there were."""


KEEP_APART = "Keep such runs apart, by the limit of the pool and one Dagster instance."


class OvertakenError(Exception):
    """Another run has loaded the table since this one began to read, so what was read may be older than the table."""


def find_loads(client: Client, session: Session, resource: Resource) -> Loads:
    """The loads of a resource that a run must know of. The client is connected.

    Rows of an append-only resource never change, so that only loads that have moved its cursor count, where locks keep
    their rows apart.
    """
    sql, schema = client.sql_client, client.schema
    # Made last of dlt's tables.
    if not client.has_table(schema.state_table_name):
        return None, loading_in_process(session, resource).loads if is_alone(session) else 0
    loads, states = map(sql.make_qualified_table_name, (schema.loads_table_name, schema.state_table_name))
    load_id, of_state = map(sql.escape_column_name, ("load_id", "_dlt_load_id"))
    query = f"SELECT max({load_id}), count(*) FROM {loads} WHERE schema_name = %s AND status = 0"
    names = [session.connector.pipeline_name(resource)]
    if resource.append_only and has_locks(session):
        query += f" AND {load_id} IN (SELECT {of_state} FROM {states} WHERE pipeline_name = %s)"
        names *= 2
    newest, count = first_row(client, query, *names)
    # No other process loads a DuckDB file meanwhile, but other threads of this one may.
    return newest, loading_in_process(session, resource).loads if is_alone(session) else int(count)


class Turn:
    """The turn of one run to load one table. It begins when a reading ends, and lasts until the rows are counted.

    A window of events needs no turn, because it leaves the cursor alone, and its rows never change. Where a destination
    can share locks, such windows load beside each other, as long as the table has all their columns.

    Args:
        session: Has the destination.
        resource: Whose table.
        loads: The loads before reading began.
        timeout: Most seconds to wait for another run.
        window: Such a window.

    Attributes:
        session: As given.
        destination: Where to load.
        is_apart: Whether the run loads such a window.
        is_overtaken: Whether another run has loaded the table since this one began to read. The turn lasts then, and
            the run has to read again.
    """

    def __init__(
        self, session: Session, resource: Resource, loads: Loads, timeout: float, window: Reading | None = None
    ) -> None:
        self.is_overtaken = False
        self.destination = session.destination
        self.session, self._resource, self._timeout = session, resource, timeout
        self._loads, self._window = loads, window
        self.is_apart = window is not None
        self._held = ExitStack()
        self._process, self._has_lock = loading_in_process(session, resource), False
        self._staging: str | None = None
        if window and can_share(session):
            self.destination, self._staging = staging_of_its_own(session)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        # What stays, the next run drops.
        with self._held, suppress(Exception):
            if self._staging:
                drop_staging(self.session, self._staging)

    @property
    def leaves_state_alone(self) -> bool:
        """Whether the run must not change the state: it would put that of before the window over a newer one."""
        return self.is_apart and self._loads[0] is not None

    def take(self, columns: Collection[str], *, alone: bool) -> None:
        """Waits until the run may load what it has read. Called in dlt's pipe, behind the last row.

        Args:
            columns: The columns of the rows.
            alone: Whether other windows may not load meanwhile, because they may have the same rows.

        Raises:
            OvertakenError: Another run has loaded the table since this one began to read.
            DestinationError: Another run has the table for too long or has loaded it again, or the clocks of two hosts
                differ.
        """
        if is_alone(self.session):
            self._take_from_threads()
            return
        if has_locks(self.session):
            make_shared_tables(self.session, self._timeout)
        if self._window:
            self._join(self._window, columns, alone=alone)
            return
        if not self.is_overtaken:
            self._held.enter_context(hold(self.session, self._resource.name, self._timeout))
        loads, own = self._find_loads(), dlt.current.load_package_state()["load_id"]
        # dlt restores the state of the load with the greatest id.
        is_late = own <= (loads[0] or "")
        has_news = loads != self._loads
        if has_news and self.is_overtaken:
            raise DestinationError(
                f"{self._resource.name}: another run has loaded the table twice while this one read the API, and"
                f" {self.session.target.type} has no lock that would make it wait. Nothing was written. {KEEP_APART}"
            )
        if is_late and self.is_overtaken:
            raise self._late(own, loads)
        if is_late or has_news:
            self.is_overtaken, self._loads = True, loads
            raise OvertakenError

    def give_back(self) -> None:
        """Lets others load the table between two loads of this run. An overtaken run keeps its turn."""
        if is_alone(self.session):
            return
        self._loads = self._find_loads()
        if not self.is_overtaken:
            self._held.close()

    def settle(self, own: Sequence[str]) -> None:
        """Makes sure that nobody else has loaded meanwhile, where no lock keeps runs apart.

        Of two such runs, the one whose load counts last finds that of the other. Then neither may count: the rows of
        one may be gone, or older, and the cursor of the other may have passed them.

        Args:
            own: The loads that this run has just made.

        Raises:
            DestinationError: Another run has loaded the table.
        """
        if not own or has_locks(self.session):
            return
        if is_alone(self.session):
            self._process.loads += 1
            self._loads = None, self._process.loads
            return
        newest, count = self._loads
        if self._find_loads() == (max(own), count + len(own)):
            return
        with self.session.client as client:
            client.forget_loads(self.session.connector.pipeline_name(self._resource), newest or "")
        raise DestinationError(
            f"{self._resource.name}: another run has loaded the table at the same time, and {self.session.target.type}"
            " has no lock that would keep them apart. Neither load counts, so that the next sync loads the rows of both"
            f" once more. {KEEP_APART}"
        )

    def _take_from_threads(self) -> None:
        """Waits for another thread of this process, as `take` does for another run.

        The clock may have been put back since the newest load.
        """
        name, process = self._resource.name, self._process
        if not self._has_lock:
            if not process.lock.acquire(timeout=self._timeout):
                raise DestinationError(
                    f"{name}: another thread of this process still loads the table after {self._timeout:.0f} s."
                )
            self._has_lock = True
            self._held.callback(process.lock.release)
        own = dlt.current.load_package_state()["load_id"]
        if own <= (self._loads[0] or ""):
            raise self._late(own, self._loads)
        if self._loads[1] != process.loads:
            self.is_overtaken, self._loads = True, (None, process.loads)
            raise OvertakenError

    def _late(self, own: str, loads: Loads) -> DestinationError:
        """The error of a load that would not be the newest: dlt would go on to restore the state of the one that is."""
        return DestinationError(
            f"{self._resource.name}: the newest load of the table is of {loads[0]}, in seconds since 1970, and this"
            f" one would be of {own}. Set the clocks of the hosts that load the table, and run again. If they are"
            " right, that load is of one that was not: delete it from _dlt_loads, and run with mode: rebuild."
        )

    def _find_loads(self) -> Loads:
        with self.session.client as client:
            return find_loads(client, self.session, self._resource)

    def _join(self, window: Reading, columns: Collection[str], *, alone: bool) -> None:
        session, name = self.session, self._resource.name
        if self._staging:
            self._held.enter_context(hold_window(session, name, window, self._staging, self._timeout))
        if not self._has(columns):
            making = ExitStack()
            making.enter_context(hold(session, name, self._timeout))
            if not self._has(columns):
                self._held.push(making)
                return
            # Another run has made the table meanwhile, and others shall not wait.
            making.close()
        self._held.enter_context(hold(session, name, self._timeout, shared=not alone))

    def _has(self, columns: Collection[str]) -> bool:
        with self.session.client as client:
            found = client.columns_of([self._resource.name]).get(self._resource.name, {})
        return bool(found) and set(columns) <= found.keys()


def await_turn(source: DltSource, resource: Resource, begin: Callable[[Collection[str]], None]) -> None:
    """Adds a step that calls a function with all columns as soon as the listing has ended, before a file is handed on.

    Args:
        source: The source of the resource.
        resource: The resource.
        begin: Called once.
    """
    from analytics_assets.api.incremental import is_end  # noqa: PLC0415 - definitions need no Arrow

    columns: set[str] = set()

    def pass_on(table: Any, _meta: object = None) -> Any:  # noqa: ANN401 - Arrow is imported late
        columns.update(table.column_names)
        if is_end(table):
            begin(columns)
        return table

    source.resources[resource.name].add_step(pass_on, insert_at=Position.WRITER)
