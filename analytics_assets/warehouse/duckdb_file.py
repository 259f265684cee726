"""Opens the DuckDB file, the default warehouse. While a process writes to it, no other can even read it."""

import math
import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import duckdb

from analytics_assets.project import read_umask
from analytics_assets.warehouse.duckdb_options import DUCKDB_MEMORY, DUCKDB_STORAGE, duckdb_options
from analytics_assets.warehouse.errors import DestinationError

_UMASK_LOCK = threading.Lock()

_UMASKS: list[int] = []
"""The umasks that were in force before each file that is open now. The first is the process's own."""

FIRST_PAUSE = 0.25
"""Seconds before the second attempt to open a file that is in use. Each later pause is twice as long."""

LONGEST_PAUSE = 5.0
"""Seconds between two attempts at most, so that a file that becomes free is noticed soon."""

MADE_WITHIN = 5.0
"""Seconds in which another process writes the head of a new file."""

HALF_MADE = ("not a valid DuckDB", "Could not read enough bytes")
"""What DuckDB says of a file that does not have its head yet."""

LOGGED_EVERY = 30.0
"""Seconds between two lines that say what is being waited for."""


@contextmanager
def open_duckdb(
    path: Path, timeout: float, memory_limit: str | None, log: Callable[[str], None]
) -> Iterator[duckdb.DuckDBPyConnection]:
    """Holds a connection for a whole run. dlt's loads and our queries share it, so no other process can get between.

    Args:
        path: The database file. It need not exist; its directory is created.
        timeout: Most seconds to wait while another process holds the file.
        memory_limit: Most memory that DuckDB uses, as DuckDB spells sizes (`512MB`); beyond it DuckDB writes to disk.
        log: Called with a message while the file is in use.

    Raises:
        DestinationError: Another process still holds the file, or the file cannot be created or opened.
    """
    with _as_private_as(path), closing(_connect(path, duckdb_options(memory_limit), timeout, log)) as connection:
        yield connection


def free_blocks(connection: duckdb.DuckDBPyConnection, memory_limit: str | None) -> None:
    """Makes DuckDB forget blocks of the file that nobody uses now. By itself it keeps all that its limit allows.

    Args:
        connection: An open connection.
        memory_limit: The limit with which the file was opened.
    """
    # DuckDB has no statement for it. It frees blocks for a lower limit, and refuses one that is below what is in use.
    with suppress(duckdb.OutOfMemoryException):
        connection.execute("SET memory_limit = '16MB'")
    connection.execute(f"SET memory_limit = '{memory_limit or DUCKDB_MEMORY}'")


@contextmanager
def _as_private_as(path: Path) -> Iterator[None]:
    """Gives files that DuckDB writes inside the block (the database, its log) the permissions of the database file.

    A new database has those that `UMASK` leaves, by default its owner's alone; later `chmod` changes them. The umask of
    the whole process is set, because DuckDB has no option for permissions.

    Raises:
        DestinationError: `UMASK` is not an octal number, or the path leads nowhere.
    """
    try:
        umask = ~path.stat().st_mode & 0o077 if path.exists() else read_umask()
    except ValueError as error:
        raise DestinationError(f"UMASK = {os.environ['UMASK']!r} is no octal number such as 077 or 027.") from error
    except OSError as error:
        raise DestinationError(f"Cannot open the DuckDB file {path}: {error.strerror}.") from error
    with _UMASK_LOCK:
        # Two threads may each have a file open. Only the last to close restores the process's own umask.
        _UMASKS.append(os.umask(umask))
    try:
        yield
    finally:
        with _UMASK_LOCK:
            if len(_UMASKS) == 1:
                os.umask(_UMASKS[0])
            _UMASKS.pop()


def _connect(
    path: Path, options: dict[str, Any], timeout: float, log: Callable[[str], None]
) -> duckdb.DuckDBPyConnection:
    deadline = time.monotonic() + timeout
    pause = FIRST_PAUSE
    logged = -math.inf
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DestinationError(f"Cannot create the directory of the DuckDB file {path}: {error.strerror}.") from error
    while True:
        try:
            return duckdb.connect(str(path), config=options)
        except duckdb.Error as error:
            if "newer version of DuckDB" in str(error):
                raise DestinationError(_describe_newer_file(path, error)) from error
            is_late = time.monotonic() + pause > deadline
            if "Could not set lock" not in str(error) and (is_late or not _is_being_made(path, error)):
                raise DestinationError(f"Cannot open the DuckDB file {path}: {error}") from error
            if is_late:
                raise DestinationError(
                    f"The DuckDB file {path} is still in use after {timeout:.0f} s: {_holder(error)} holds it. Close"
                    " that program (a notebook, a SQL client, another run) and try again."
                ) from error
            if time.monotonic() >= logged + LOGGED_EVERY:
                logged = time.monotonic()
                log(f"Waiting for the DuckDB file {path}, {timeout:.0f} s at most: {_holder(error)} holds it")
            time.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)


def _is_being_made(path: Path, error: duckdb.Error) -> bool:
    """Whether DuckDB has found a file that another process may have begun to make: no other bytes than a head has."""
    if not path.exists() or not any(text in str(error) for text in HALF_MADE):
        return False
    with path.open("rb") as file:
        magic = file.read(12)[8:].strip(b"\0")
    return magic in {b"", b"DUCK"} and time.time() - path.stat().st_mtime < MADE_WITHIN


def _holder(error: duckdb.Error) -> str:
    """The program that holds the file, as DuckDB names it with its process id, or "another process"."""
    named = re.search(r"lock is held in (.+ \(PID \d+\))", str(error))
    return named[1] if named else "another process"


def _describe_newer_file(path: Path, error: duckdb.Error) -> str:
    file, copy = (str(name).replace("'", "''") for name in (path, path.with_name(f"{path.name}.copy")))
    return (
        f"Cannot open the DuckDB file {path}, which a newer DuckDB than {duckdb.__version__} has made. Copy it with the"
        " newer DuckDB, and put the copy in its place; the copy has all rows and cursors:"
        f" ATTACH '{file}' AS newer; ATTACH '{copy}' AS older (STORAGE_VERSION '{DUCKDB_STORAGE}');"
        f" COPY FROM DATABASE newer TO older; DuckDB says: {str(error).splitlines()[0]}"
    )
