"""What the syncs of one run share: checked settings, an open destination, and a working directory."""

import gc
import logging
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dlt.common.destination.reference import Destination

from analytics_assets.api.connector import Connector
from analytics_assets.api.redaction import redact
from analytics_assets.api.settings import Settings
from analytics_assets.api.settings_reader import read_settings
from analytics_assets.demo.embedded import resolve_demo
from analytics_assets.warehouse.access import check_reachable
from analytics_assets.warehouse.client import Client
from analytics_assets.warehouse.connections import keep_connections
from analytics_assets.warehouse.credentials import secrets_of
from analytics_assets.warehouse.destination import build_destination
from analytics_assets.warehouse.errors import DestinationError
from analytics_assets.warehouse.missing import describe_missing, first_line
from analytics_assets.warehouse.pipeline import build_client, file_format, staging_secrets
from analytics_assets.warehouse.read_copy import publish
from analytics_assets.warehouse.target import Target, read_target

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

BUSY_TIMEOUT = 60.0
"""Most seconds to wait for a file or table that another run holds, unless the Dagster resource has another value."""

Connect = Callable[[Path, str | None, Callable[[str], None]], "AbstractContextManager[DuckDBPyConnection]"]
"""Opens a DuckDB file, given its path, the most memory that it may take, and what is called while the file is busy."""


@dataclass(frozen=True, slots=True)
class Session:
    """What the syncs of one run share."""

    settings: Settings
    """The API's settings, with the demo's address and credentials in place of `base_url = demo`."""
    target: Target
    """Which destination, and which DuckDB file."""
    destination: Destination[Any, Any]
    """dlt's destination, with an open connection if it is a DuckDB file."""
    client: Client
    """Asks the destination by SQL. It connects in `with client:`."""
    working_dir: str
    """Directory of the pipelines. It is deleted when the session ends."""
    log: Callable[[str], None]
    """Called with messages for the person who watches the run."""
    connection: "DuckDBPyConnection | None" = None
    """The open connection, if the destination is a DuckDB file."""

    @property
    def connector(self) -> Connector:
        """The API that is read, and the names of its tables."""
        return self.settings.connector

    @property
    def secrets(self) -> list[str]:
        """Values of the destination's configuration that no message may show."""
        return [*secrets_of(self.client.config), *staging_secrets()]

    def free_memory(self) -> None:
        """Frees what a load leaves: dlt's pipelines, which refer to themselves, and DuckDB's blocks in memory."""
        gc.collect()
        if self.connection:
            from analytics_assets.warehouse.duckdb_file import free_blocks  # noqa: PLC0415 - definitions need no DuckDB

            free_blocks(self.connection, self.settings.duckdb_memory)

    def publish(self) -> None:
        """Makes the copy for readers, where there is to be one (see `read_copy`). It never raises."""
        target = self.target
        if self.connection and target.duckdb_path and target.read_copy:
            publish(self.connection, target.duckdb_path, target.read_copy, self.settings.read_copy_max_gb, self.log)


@contextmanager
def open_session(
    settings: Settings | None = None,
    target: Target | None = None,
    credentials: str | None = None,
    *,
    log: Callable[[str], None] | None = None,
    connect: Connect | None = None,
) -> Iterator[Session]:
    """Opens the destination for one run. No request is made to the API.

    Args:
        settings: Settings of the API; by default those that dlt finds in `.dlt` and the environment.
        target: Where to load; by default the configured target.
        credentials: Credentials of a destination that is not DuckDB; by default those of dlt's configuration.
        log: Called with a message when the session has to wait; by default a logger of this module.
        connect: Opens a DuckDB file; by default without Dagster.

    Raises:
        SettingsError: A setting of the API is missing or wrong.
        DestinationError: The destination is unknown, unsuitable, busy or out of reach.
    """
    settings = settings or read_settings()
    target = target or read_target(settings)
    log = log or logging.getLogger(__name__).warning
    with ExitStack() as stack:
        stack.enter_context(keep_connections())
        working_dir = stack.enter_context(tempfile.TemporaryDirectory(prefix="analytics_assets_"))
        connection = None
        if target.duckdb_path:
            connection = stack.enter_context((connect or _open_duckdb)(target.duckdb_path, settings.duckdb_memory, log))
        destination, client = _open_destination(
            settings.connector, target, credentials if connection is None else connection, working_dir
        )
        check_reachable(client)
        yield Session(resolve_demo(settings), target, destination, client, working_dir, log, connection)


def _open_destination(
    connector: Connector,
    target: Target,
    credentials: Any,  # noqa: ANN401 - an open connection or credentials
    working_dir: str,
) -> tuple[Destination[Any, Any], Client]:
    """The destination, and a client that is not connected yet."""
    destination = None
    try:
        destination = build_destination(target, credentials)
        # A wrong format is said before any request.
        file_format(destination)
        return destination, build_client(connector, destination, working_dir)
    except DestinationError:
        raise
    except Exception as error:  # some drivers are imported late, and some configuration is read late
        if missing := describe_missing(target.type, error):
            raise missing from error
        secrets = secrets_of(destination.configuration(destination.spec(), accept_partial=True)) if destination else ()
        why = redact(first_line(error), secrets)
        raise DestinationError(f"Cannot use the destination {target.type}: {why}") from error


@contextmanager
def scratch_file(target: Target) -> Iterator[Target]:
    """The target itself, or a temporary DuckDB file in its place if the target's file does not exist yet.

    Creating the target's own file and removing it again could remove rows that another process has written meanwhile.

    Raises:
        DestinationError: The temporary file cannot be created beside the target's.
    """
    path = target.duckdb_path
    with ExitStack() as stack:
        try:
            if path and not path.exists():
                existing = next(parent for parent in path.parents if parent.exists())
                directory = tempfile.TemporaryDirectory(prefix=".analytics_check_", dir=existing)
                target = replace(target, duckdb_path=Path(stack.enter_context(directory), path.name))
        except OSError as error:
            raise DestinationError(f"Cannot create the DuckDB file {path}: {error.strerror}.") from error
        yield target


def _open_duckdb(
    path: Path, memory: str | None, log: Callable[[str], None]
) -> "AbstractContextManager[DuckDBPyConnection]":
    from analytics_assets.warehouse.duckdb_file import open_duckdb  # noqa: PLC0415 - definitions need no DuckDB

    return open_duckdb(path, BUSY_TIMEOUT, memory, log)
