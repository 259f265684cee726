"""The default warehouse: a DuckDB file, which has one writer at a time and not even a reader beside it."""

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import duckdb

from analytics_assets.project import read_umask
from analytics_assets.warehouse.duckdb_options import DUCKDB_STORAGE, duckdb_options
from analytics_assets.warehouse.errors import DestinationError

_UMASK_LOCK = threading.Lock()

_UMASKS: list[int] = []
"""What the process's umask was before each warehouse that is open; the first is the process's own."""

FIRST_PAUSE = 0.25

LONGEST_PAUSE = 5.0


@contextmanager
def open_duckdb(
    path: Path, timeout: float, memory_limit: str | None, log: Callable[[str], None]
) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection for a whole run: dlt's loads and our reads share it, and no other process gets the file in between.

    Args:
        path: The database file, which need not exist; its directory is created.
        timeout: Seconds to wait at most while another process holds the file.
        memory_limit: What DuckDB keeps in memory at most, as it spells sizes; more of it goes to disk.
        log: Is told what is being waited for.

    Raises:
        DestinationError: Another process still holds the file, it or it cannot be opened.
    """
    with _as_private_as(path), closing(_connect(path, duckdb_options(memory_limit), timeout, log)) as connection:
        yield connection


@contextmanager
def _as_private_as(path: Path) -> Iterator[None]:
    """Makes what is written meanwhile (the file, DuckDB's log beside it) readable for the file's readers only.

    Of a new one that is its owner, or whom `UMASK` leaves; later `chmod` decides. The umask is the whole process's:
    DuckDB can be told in no other way.

    Raises:
        DestinationError: `UMASK` is no umask.
    """
    try:
        refused = ~path.stat().st_mode & 0o077 if path.exists() else read_umask()
    except ValueError as error:
        raise DestinationError(f"UMASK = {os.environ['UMASK']!r} is no octal number such as 077 or 027.") from error
    with _UMASK_LOCK:
        # Two at a time, in two threads: the first has kept what was before both.
        _UMASKS.append(os.umask(refused))
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
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DestinationError(f"Cannot create the directory of the DuckDB file {path}: {error.strerror}.") from error
    while True:
        try:
            return duckdb.connect(str(path), config=options)
        except duckdb.Error as error:
            if "newer version of DuckDB" in str(error):
                raise DestinationError(_made_by_a_newer_one(path, error)) from error
            if "Could not set lock" not in str(error):
                raise DestinationError(f"Cannot open the DuckDB file {path}: {error}") from error
            if time.monotonic() + pause > deadline:
                raise DestinationError(
                    f"The DuckDB file {path} is still in use after {timeout:.0f} s. Close the program that holds it"
                    f" (a notebook, a SQL client, another run) and try again. DuckDB says: {error}"
                ) from error
            log(f"Waiting for the DuckDB file {path}, which another process holds: {error}")
            time.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)


def _made_by_a_newer_one(path: Path, error: duckdb.Error) -> str:
    file, copy = (str(name).replace("'", "''") for name in (path, path.with_name(f"{path.name}.copy")))
    return (
        f"Cannot open the DuckDB file {path}, which a newer DuckDB than {duckdb.__version__} has made. Copy it with"
        " that one, and put the copy in its place; all rows and cursors are in it:"
        f" ATTACH '{file}' AS newer; ATTACH '{copy}' AS older (STORAGE_VERSION '{DUCKDB_STORAGE}');"
        f" COPY FROM DATABASE newer TO older; DuckDB says: {str(error).splitlines()[0]}"
    )
