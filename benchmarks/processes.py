"""Starts servers and contestants, and measures what a process takes."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import duckdb

from analytics_assets.api.connector import SHIPPED
from analytics_assets.project import project_dir
from benchmarks import instructions
from benchmarks.results import ALL_ROWS
from benchmarks.scenarios import SINCE, Conditions, Scenario
from benchmarks.work import find_run, find_work

CONFIGURED_BY = ("SOURCES__", "DESTINATION", "RUNTIME__", "SCHEDULES__", "DLT_", "DAGSTER_", "API_KEY", "START_DATE")
"""Beginnings of the variables that configure the project. Contestants do not inherit them."""
LIMIT = 1_200
"""Seconds that a sync may take. One that takes longer hangs."""
SECTION = "__".join(SHIPPED.section).upper()


@dataclass(frozen=True, slots=True)
class Taken:
    """What a process took."""

    seconds: float
    """Seconds of the whole process; if it prints how long a run in it took, those."""
    work: float | None
    """Seconds after its imports; `None` if the process does not print them."""
    cpu: float | None
    """CPU seconds of the process and its children; `None` if it prints how long a run in it took."""
    instructions: int | None
    """Instructions of the same; `None` if the machine does not count them."""
    memory: float | None
    """Peak memory in MB, of the largest process if there are several; `None` if it prints how long a run in it took."""
    requests: int
    """Requests that the server received."""
    most_in_flight: int
    """Most requests at once, as the server saw them."""
    server_seconds: float
    """CPU seconds of the server."""


class FailedError(Exception):
    """A process has failed. The message is its output; `reason` is its last line, or what Go says above a trace."""

    def __init__(self, output: str, ended: str) -> None:
        super().__init__(f"{output}\n{ended}")
        lines = [line.strip() for line in (output.strip() or ended).splitlines()]
        self.reason = next((line for line in lines if line.startswith(("panic: ", "fatal error: "))), lines[-1])


class Server:
    """A running server: its URL, and the number of its rows by resource."""

    def __init__(self, url: str, counts: dict[str, int]) -> None:
        self.url = url
        self.counts = counts

    def ask(self, path: str) -> Any:  # noqa: ANN401 - whatever JSON holds
        """The JSON response of `/_stats` or `/_reset`."""
        connection = HTTPConnection(urlsplit(self.url).netloc)
        connection.request("GET", path)
        return json.loads(connection.getresponse().read())


@contextmanager
def serving(scenario: Scenario, activities: int) -> Iterator[Server]:
    """Runs a server with the rows of a scenario. It ends with the block."""
    rows = scenario.rows(activities)
    command = [sys.executable, "-m", "benchmarks.server", "--others", str(scenario.others)]
    for name, count in rows.items():
        command += [f"--{name}", str(count)]
    command += ["--latency", str(scenario.latency)]
    if scenario.history:
        command += ["--since", SINCE]
    with subprocess.Popen(command, cwd=project_dir(), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        try:
            url = process.stdout.readline().strip()
            if not url:
                sys.exit("The benchmark's server has not started. Its own messages above say why.")
            yield Server(
                url, {resource.name: rows.get(resource.name, scenario.others) for resource in SHIPPED.resources}
            )
        finally:
            process.kill()


@contextmanager
def workplace() -> Iterator[Path]:
    """A temporary directory for the warehouse, dlt's files and the Dagster instance of a first and a quiet sync."""
    with tempfile.TemporaryDirectory(prefix="analytics_benchmark_") as name:
        directory = Path(name)
        shutil.copy(project_dir() / "dagster.yaml", directory)
        yield directory


def environment(directory: Path, given: Conditions, more: Mapping[str, str]) -> dict[str, str]:
    """The environment of a process: this one's, without its configuration of the project, and that of the scenario."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(CONFIGURED_BY)}
    return {
        **inherited,
        "PYTHONPATH": str(project_dir()),
        "NO_PROXY": "127.0.0.1",
        "DAGSTER_HOME": str(directory),
        "DLT_DATA_DIR": str(directory / "dlt"),
        "RUNTIME__DLTHUB_TELEMETRY": "false",
        "DESTINATION__DUCKDB__CREDENTIALS": str(given.database),
        f"{SECTION}__BASE_URL": given.url,
        f"{SECTION}__API_KEY": "any",
        f"{SECTION}__PAGE_SIZE": str(given.page_size),
        f"{SECTION}__REQUESTS_IN_FLIGHT": str(given.in_flight),
        **more,
    }


def take(command: list[str], variables: Mapping[str, str], server: Server) -> Taken:
    """Runs a process and measures it.

    Raises:
        FailedError: The process has failed.
    """
    directory = Path(variables["DAGSTER_HOME"])
    file, counts = directory / "taken.json", directory / "instructions.csv"
    server.ask("/_reset")
    launcher = [sys.executable, "-I", "-S", str(Path(__file__).with_name("launch.py")), str(file)]
    launcher += instructions.counting(counts)
    output = _run([*launcher, *command], directory, variables)
    taken = json.loads(file.read_text(encoding="utf-8"))
    if taken["status"]:
        raise FailedError(output, f"Exit status {taken['status']} of {' '.join(command)}")
    stats = server.ask("/_stats")
    run = find_run(output)
    return Taken(
        seconds=taken["seconds"] if run is None else run,
        work=find_work(output),
        cpu=taken["cpu"] if run is None else None,
        instructions=instructions.read(counts) if run is None else None,
        memory=taken["memory"] if run is None else None,
        requests=stats["requests"],
        most_in_flight=stats["most_in_flight"],
        server_seconds=stats["cpu_seconds"],
    )


def _run(command: list[str], directory: Path, variables: Mapping[str, str]) -> str:
    """Runs a process in a session of its own, and returns its output. If it takes too long, the whole session ends."""
    with subprocess.Popen(
        command,
        cwd=directory,
        env=variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    ) as process:
        try:
            output, _ = process.communicate(timeout=LIMIT)
        except BaseException as error:
            os.killpg(process.pid, signal.SIGKILL)
            if isinstance(error, subprocess.TimeoutExpired):
                raise FailedError("", f"it took more than {LIMIT:,} s") from None
            raise
    said = output.decode(errors="replace")
    if process.returncode:
        raise FailedError(said, f"Exit status {process.returncode} of {' '.join(command)}")
    return said


def compare_rows(database: Path, server: Server) -> str:
    """Compares the tables of a contestant with the API: `ALL_ROWS`, or how many rows are missing or too many."""
    missing, extra = [], []
    with duckdb.connect(str(database), read_only=True) as connection:
        for name, count in server.counts.items():
            query = f"SELECT count(*), count(DISTINCT id) FROM {SHIPPED.dataset}.{name}"
            try:
                [(rows, ids)] = connection.execute(query).fetchall()
            except duckdb.CatalogException:
                rows = ids = 0
            missing.append(max(0, count - ids))
            extra.append(rows - min(ids, count))
    wrong = [
        f"{sum(found):,} {what}, in {sum(map(bool, found))} tables"
        for what, found in (("missing", missing), ("too many", extra))
        if any(found)
    ]
    return "; ".join(wrong) or ALL_ROWS
