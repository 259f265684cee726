"""A nursery of workers: processes that are cheap to start, each for one sync, and that may die at any point of it.

Starting Python with Dagster and dlt takes seconds, so that this file is also a program: it imports all that once,
without running any of it, and then forks a worker for every sync it is asked for. A worker that has ended stays a
zombie until the test asks for its exit code, so that a signal never hits another process of the same number, and an
exit code of -SIGKILL says for sure that the worker was at work when it was killed.

A worker writes down each point that it reaches. It can be told to kill itself with SIGKILL at one of them, which needs
no timing: the same kill leaves the same tables.
"""

import gc
import importlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NamedTuple

import dagster as dg
import dlt
from dlt.destinations.job_client_impl import SqlJobClientBase
from dlt.load.load import Load

from analytics_assets_tests.support.eight import asset_key, defs
from analytics_assets_tests.support.environment import CONFIGURED_BY

RESOURCES = ("organizations", "policies", "activities")
STEPS = ("extract", "normalize", "load")
DROPPED = "dropped"
PREPARED = "prepared"
MERGED = "merged"
AFTER = "after"
END = "end"

POINTS = (*STEPS, DROPPED, PREPARED, MERGED, AFTER)
"""Points of the sync of one resource, in order: the begin of each of dlt's steps; in `load`, when a rebuild has dropped
the table, when the tables wait for rows, and when the rows are merged but the load does not count yet; and when dlt is
done. `dropped` is reached only where there was something to drop, `prepared` and `merged` where there is something to
load."""

IMPORTED_LATE = (
    "analytics_assets.warehouse.duckdb_file",
    "dlt.destinations.impl.duckdb.duck",
    "dlt.sources.rest_api",
    "pyarrow.parquet",
)


class Kill(NamedTuple):
    """Where a worker kills itself: at a point of the sync of a resource."""

    resource: str
    point: str


class Note(NamedTuple):
    """A point that a worker has reached, and when."""

    point: str
    moment: float


# ---- the program


class Diary:
    """Writes down the points that a sync reaches, and ends the process at one of them."""

    def __init__(self, path: Path) -> None:
        self.file = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
        self.kill: Kill | None = None
        self.resource = ""

    def note(self, point: str) -> None:
        os.write(self.file, f"{point} {time.monotonic()}\n".encode())
        if self.kill == (self.resource, point):
            os.kill(os.getpid(), signal.SIGKILL)

    def watch(self, owner: type, method: str, before: str | None = None, after: str | None = None) -> None:
        """Makes a method note a point when it is called, and another when it returns."""
        original = getattr(owner, method)

        def watched(self_: Any, *args: Any, **options: Any) -> Any:
            if isinstance(self_, dlt.Pipeline):
                self.resource = self_.pipeline_name.removeprefix("analytics_")
            if before:
                self.note(before)
            result = original(self_, *args, **options)
            if after:
                self.note(after)
            return result

        setattr(owner, method, watched)


def main(path: Path) -> None:
    """Forks a worker for each order on a line of the input, and waits for it on the line after."""
    diary = Diary(path)
    for step in STEPS:
        diary.watch(dlt.Pipeline, step, before=step, after=AFTER if step == STEPS[-1] else None)
    diary.watch(SqlJobClientBase, "drop_tables", after=DROPPED)
    diary.watch(Load, "initialize_package", after=PREPARED)
    diary.watch(Load, "complete_package", before=MERGED)
    job = warm_up()
    say("ready")
    while line := sys.stdin.readline():
        pid = os.fork()
        if pid == 0:
            work(job, json.loads(line), diary)
        say(pid)
        sys.stdin.readline()
        say(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))


def warm_up() -> dg.JobDefinition:
    """Imports what a sync imports, and opens no database."""
    job = defs().resolve_job_def("analytics_sync")
    for module in IMPORTED_LATE:
        importlib.import_module(module)
    with dg.DagsterInstance.ephemeral():
        pass
    # Threads do not survive a fork, the locks that they hold do.
    assert threading.active_count() == 1
    # What is frozen is not copied into each worker by its garbage collector.
    gc.freeze()
    return job


def work(job: dg.JobDefinition, order: dict[str, Any], diary: Diary) -> None:
    """One sync, and the end of the process."""
    code = 1
    try:
        os.dup2(2, 1)
        os.environ.update(order["environment"])
        diary.kill = order["kill"] and Kill(*order["kill"])
        config = {"ops": {"analytics_api": {"config": {"mode": order["mode"]}}}}
        selection = [asset_key(name) for name in RESOURCES]
        with dg.DagsterInstance.ephemeral() as instance:
            result = job.execute_in_process(config, asset_selection=selection, instance=instance, raise_on_error=False)
            code = 0 if result.success else 2
        diary.note(END)
    except BaseException:
        traceback.print_exc()
        raise
    finally:
        os._exit(code)


def say(what: object) -> None:
    sys.stdout.write(f"{what}\n")
    sys.stdout.flush()


# ---- its user


@dataclass
class Nursery:
    """Workers, one at a time, each with the configuration that stands in the environment when it starts."""

    process: subprocess.Popen[str]
    diary: Path
    log: Path

    def start(self, mode: str = "incremental", kill: Kill | None = None) -> int:
        """Starts a worker and returns its process id."""
        os.truncate(self.diary, 0)
        environment = {name: value for name, value in os.environ.items() if name.startswith(CONFIGURED_BY)}
        self._tell(json.dumps({"environment": environment, "mode": mode, "kill": kill}))
        return int(self.listen())

    def wait(self) -> int:
        """Waits for the worker's end and returns its exit code: 0, 2 if the run failed, -SIGKILL if it was killed."""
        self._tell("wait")
        code = int(self.listen())
        assert code in {0, 2, -signal.SIGKILL}, self.last_words()
        return code

    def run(self, mode: str = "incremental", kill: Kill | None = None) -> int:
        """A worker from start to end; returns its exit code."""
        self.start(mode, kill)
        return self.wait()

    def notes(self) -> list[Note]:
        """The points that the worker has reached so far."""
        lines = self.diary.read_text().splitlines()
        return [Note(point, float(moment)) for point, moment in map(str.split, lines)]

    def last_words(self) -> str:
        """The end of what the workers have logged."""
        return self.log.read_text()[-5_000:]

    def listen(self) -> str:
        line = _pipe(self.process.stdout).readline().strip()
        assert line, self.last_words()
        return line

    def _tell(self, line: str) -> None:
        _pipe(self.process.stdin).write(line + "\n")
        _pipe(self.process.stdin).flush()


def _pipe(stream: IO[str] | None) -> IO[str]:
    assert stream
    return stream


@contextmanager
def nursery() -> Iterator[Nursery]:
    """Starts a nursery, and ends it with all that its workers have left behind."""
    pipe = subprocess.PIPE
    # A killed worker cannot remove its temporary directory.
    with tempfile.TemporaryDirectory() as directory:
        diary, log = Path(directory, "diary"), Path(directory, "log")
        command = [sys.executable, "-m", __name__, str(diary)]
        environment = {**os.environ, "TMPDIR": directory}
        with (
            log.open("wb") as errors,
            subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=errors, text=True, env=environment) as process,
        ):
            found = Nursery(process, diary, log)
            assert found.listen() == "ready"
            yield found


@contextmanager
def copied(database: Path) -> Iterator[Path]:
    """A copy of a database, so that what a killed worker left is the next worker's to repair."""
    with tempfile.TemporaryDirectory(dir=database.parent) as directory:
        for file in database.parent.glob(f"{database.name}*"):
            shutil.copy(file, directory)
        yield Path(directory, database.name)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
