"""A copy of the DuckDB file for readers, made anew after each run that changed the file.

DuckDB lets nobody read a file while a process writes to it, and lets nobody write while it is read. Notebooks, BI and
dbt open the copy: no run ever has it open, and each new copy takes its name at once. Who has the former one open keeps
it as it was.
"""

import errno
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from analytics_assets.warehouse import copy_file

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

GIGABYTE = 1_000_000_000

WRITE_BITS = 0o222

MARK = b"\nread copy made by analytics_assets, "
"""Begins the mark at the end of each copy, behind the last block, where DuckDB looks for nothing. It tells a copy from
a file of somebody's own, and which state of the database it is, on file systems with coarse times or no modes, too."""

MARK_BYTES = 160

_ROOM = "Free some room: a copy needs as much as the file, and is made before the former one goes."
_PERMISSION = "Let the user of the run write into its directory."

ADVICE = {
    errno.ENOENT: "Create its directory.",
    errno.ENOTDIR: "Create its directory.",
    errno.ENOSPC: _ROOM,
    errno.EDQUOT: _ROOM,
    errno.EFBIG: _ROOM,
    errno.EACCES: _PERMISSION,
    errno.EPERM: _PERMISSION,
    errno.EROFS: _PERMISSION,
}
"""What helps against an error of the system, by its number."""

OTHERWISE = "Or set read_copy to another path, or to false."


class NoCopyError(Exception):
    """Something that stands where the copy is to be and is none, or a database that changed while it was copied."""


def path_beside(database: Path) -> Path:
    """Where the copy of a database is by default: `data/warehouse_read.duckdb` for `data/warehouse.duckdb`."""
    return database.with_stem(f"{database.stem}_read")


def publish(
    connection: "DuckDBPyConnection", database: Path, copy: Path, max_gb: float, log: Callable[[str], None]
) -> None:
    """Puts a copy of the database in place of the former one, unless the former one is as the database is.

    It never raises: the rows are loaded, and what is wrong with a copy must not fail their run. Then no part of a copy
    remains, and the former one stays.

    Args:
        connection: An open connection to the database. No transaction is open in this process.
        database: The DuckDB file.
        copy: Path of the copy. Its directory has to be there.
        max_gb: Gigabytes of the database above which no copy is made.
        log: Called with a message if no copy was made, and what helps.
    """
    try:
        connection.execute("CHECKPOINT")
        state = database.stat()
        if _is_copy_of(copy, state):
            return
        _check_place(copy)
        if state.st_size > max_gb * GIGABYTE:
            log(
                f"The read copy {copy} was not made, because {database} has {state.st_size / GIGABYTE:.1f} GB and"
                f" read_copy_max_gb is {max_gb:g}. {_describe_former(copy)} Raise read_copy_max_gb, or load into"
                " DuckLake or Postgres, which are read while they are written to. read_copy = false ends this message."
            )
            return
        _replace(database, state, copy)
    except OSError as error:
        problem = os.strerror(error.errno) if error.errno else str(error)
        advice = f"{ADVICE.get(error.errno or 0, '')} {OTHERWISE}".strip()
        log(f"The read copy {copy} was not made: {problem}. {_describe_former(copy)} {advice}")
    except Exception as error:  # noqa: BLE001 - the rows are loaded, whatever becomes of the copy
        problem = str(error).strip().partition("\n")[0] or f"{type(error).__name__}."
        log(f"The read copy {copy} was not made: {problem} {_describe_former(copy)}")


def _mark(state: os.stat_result) -> bytes:
    """The mark of a copy of a database in this state: as it was last written to, and with these readers."""
    text = f"{state.st_size} bytes, {state.st_mtime_ns}, {state.st_mode:o}, {state.st_uid}:{state.st_gid}\n"
    return MARK + text.encode().rjust(MARK_BYTES - len(MARK))


def _read_mark(copy: Path) -> bytes | None:
    """The mark of a copy; `None` of what is none."""
    try:
        if copy.is_symlink() or not copy.is_file():
            return None
        with copy.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - MARK_BYTES))
            found = file.read()
    except OSError:
        return None
    return found if found.startswith(MARK) else None


def _is_copy_of(copy: Path, state: os.stat_result) -> bool:
    return _read_mark(copy) == _mark(state)


def _check_place(copy: Path) -> None:
    """Refuses to replace what is no copy of ours: a wrong path must not cost somebody's database."""
    if copy.is_symlink():
        raise NoCopyError("That is a symbolic link, which a copy would replace. Set read_copy to where it leads.")
    if copy.is_dir():
        raise NoCopyError("That is a directory. Set read_copy to the path of a file.")
    if copy.exists() and _read_mark(copy) is None:
        raise NoCopyError(
            "There is a file of that name which is none of our copies, or was written to since. Move it away, or set"
            " read_copy to another path."
        )


def _describe_former(copy: Path) -> str:
    if _read_mark(copy) is None:
        return "There is no former one."
    made = datetime.fromtimestamp(copy.stat().st_mtime, UTC)
    return f"Readers keep the former one, of {made:%Y-%m-%d %H:%M} UTC."


def _replace(database: Path, state: os.stat_result, copy: Path) -> None:
    prefix, suffix = f".{copy.name}.", ".tmp"
    for left in copy.parent.iterdir():
        # A run that was killed while it copied has left it.
        if left.name.startswith(prefix) and left.name.endswith(suffix):
            left.unlink(missing_ok=True)
    descriptor, name = tempfile.mkstemp(suffix, prefix, copy.parent)
    made = Path(name)
    try:
        try:
            _copy(database, descriptor)
            if os.fstat(descriptor).st_size != state.st_size or _mark(database.stat()) != _mark(state):
                raise NoCopyError("The database changed meanwhile. The next run makes it.")
            with open(descriptor, "ab", closefd=False) as file:
                file.write(_mark(state))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        _protect(made, database, state)
        # What a careless writer has left in its log would be replayed into the new copy.
        copy.with_name(f"{copy.name}.wal").unlink(missing_ok=True)
        made.replace(copy)
    finally:
        made.unlink(missing_ok=True)


def _copy(database: Path, descriptor: int) -> None:
    """Copies the bytes in a process of its own.

    A process that closes a file gives up all locks that it has on the file: if this one opened the database, DuckDB's
    lock would be gone, and another process could write to it.
    """
    command = [sys.executable, "-I", "-S", copy_file.__file__, str(database)]
    done = subprocess.run(command, stdout=descriptor, stderr=subprocess.PIPE, text=True, check=False)  # noqa: S603 - our own
    if done.returncode:
        said = done.stderr.strip()
        raise (
            OSError(int(said), os.strerror(int(said))) if said.isdigit() else NoCopyError(f"the copying ended: {said}")
        )


def _protect(made: Path, database: Path, state: os.stat_result) -> None:
    """Gives the copy the database's time, and its readers.

    Nobody may write to it: who opens a file for writing, as most programs do if they are not told otherwise, locks all
    others out, and writes into something that the next run replaces.
    """
    readers = state.st_mode & 0o777 & ~WRITE_BITS
    try:
        os.chown(made, -1, state.st_gid)
    except OSError:
        # The group of the process, which the copy has, is not the one that may read the database.
        readers &= ~0o070
    with suppress(OSError):
        # Only root can, and only a database that root did not make needs it.
        os.chown(made, state.st_uid, -1)
    shutil.copystat(database, made)
    made.chmod(readers)
