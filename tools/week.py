"""Lives through a week of the hourly schedule, with faults, and writes what became of it into docs/reliability.md.

    python -m tools.week

The processes are the shipped ones: Dagster's daemon with its code server, the runs, and the schedules as a person
switches them on. Their clock is the system's, moved: it runs at its usual speed, and once the rows of an hour are
loaded it is put to the next. So an hour in which all is well takes seconds, and one with a fault as long as the product
needs to get over it.

The API gets new and edited rows before each hour. A hour is loaded as soon as the read copy has all rows of the API. A
reader opens that copy over and over throughout the week, and another keeps the connection of its first hour.

Needs Linux, a C compiler, and root (for a disk that can be filled). Takes about an hour.
"""

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb

from analytics_assets.api.connector import SHIPPED
from analytics_assets.defs.automation.run_tags import UNFINISHED
from analytics_assets.demo.exchange import Request, Row
from analytics_assets_tests.servers.fake_api import TOKEN, Answer, FakeApi, serve
from analytics_assets_tests.servers.webhook import Webhook, listening
from analytics_assets_tests.support.checkout import CHECKOUT
from analytics_assets_tests.support.clock import Clock, new_clock
from analytics_assets_tests.support.environment import CONFIGURED_BY
from analytics_assets_tests.support.holder import holding
from analytics_assets_tests.support.shipped import keys, loaded_keys, shipped_rows
from analytics_assets_tests.support.waiting import until
from analytics_assets_tests.support.watch import pid_of
from tools.faults import put

HOURS = 7 * 24
LATE = timedelta(minutes=15)
"""An hour whose rows are not there by then is lost, unless its fault still lasts."""

DISK_MB = 256
START = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
"""The week begins tomorrow, so that no time of it is before what the machine has stamped already."""

READ = """
import sys, time, duckdb
path, tally = sys.argv[1:]
old = duckdb.connect(path, read_only=True)
first = old.execute("SELECT count(*) FROM analytics.activities").fetchone()
rows = reads = refused = 0
while True:
    try:
        with duckdb.connect(path, read_only=True) as connection:
            (now,) = connection.execute("SELECT count(*) FROM analytics.activities").fetchone()
        assert now >= rows and old.execute("SELECT count(*) FROM analytics.activities").fetchone() == first
        rows = now
    except Exception as error:
        refused += 1
        print(error, file=sys.stderr, flush=True)
    reads += 1
    with open(tally, "w") as file:
        file.write(f"{reads} {refused}")
    time.sleep(0.5)
"""


@dataclass
class Week:
    """The week's API, disk, clock and processes."""

    disk: Path
    api: FakeApi
    webhook: Webhook
    home: Path
    port: int
    """Port of the code server."""
    clock: Clock
    processes: "list[subprocess.Popen[bytes]]" = field(default_factory=list)
    servers: ExitStack = field(default_factory=ExitStack)

    @property
    def database(self) -> Path:
        return self.disk / "warehouse.duckdb"

    @property
    def workspace(self) -> Path:
        return self.home / "workspace.yaml"

    @property
    def copy(self) -> Path:
        return self.disk / "warehouse_read.duckdb"

    def environment(self) -> dict[str, str]:
        environment = {name: value for name, value in os.environ.items() if not name.startswith(CONFIGURED_BY)}
        return environment | {
            "ALERTS__WEBHOOK_URL": self.webhook.url,
            **self.clock.environment,
            "DAGSTER_HOME": str(self.home),
            "DESTINATION__DUCKDB__CREDENTIALS": str(self.database),
            "DLT_DATA_DIR": str(self.home / "dlt"),
            "DLT_PROJECT_DIR": str(self.home),
            "RUNTIME__DLTHUB_TELEMETRY": "false",
            "SOURCES__ANALYTICS__API_KEY": TOKEN,
            "SOURCES__ANALYTICS__BASE_URL": self.api.url,
            # Dagster's history and temporary files are on another disk, as full as it may get.
            "TMPDIR": str(self.disk),
        }

    def start(self) -> None:
        """Starts Dagster's daemon and the code server, in which runs begin.

        The server is one of its own, as in a deployment. One that the daemon has started would end whenever the clock
        is put, because it had no sign of the daemon for so long.
        """
        server = [sys.executable, "-m", "dagster", "api", "grpc", "--host", "127.0.0.1", "--port", str(self.port)]
        server += ["--module-name", "analytics_assets.definitions", "--location-name", "analytics_assets"]
        daemon = [str(Path(sys.executable).with_name("dagster-daemon")), "run", "-w", str(self.workspace)]
        for command in (server, daemon):
            with (self.home / "dagster.log").open("ab") as log:
                self.processes.append(
                    subprocess.Popen(
                        command, cwd=CHECKOUT, env=self.environment(), stdout=log, stderr=log, start_new_session=True
                    )
                )

    def stop(self, number: signal.Signals = signal.SIGKILL) -> None:
        """Ends the daemon, the code server and all that they have started: the host goes down."""
        for process in self.processes:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, number)
        for process in self.processes:
            process.wait(60)
        self.processes.clear()

    def switch(self, schedule: str, state: str) -> None:
        command = [sys.executable, "-m", "dagster", "schedule", state, schedule, "-w", str(self.workspace)]
        # The code server may still load the definitions.
        until(
            lambda: (
                subprocess.run(
                    command, cwd=CHECKOUT, env=self.environment(), capture_output=True, check=False
                ).returncode
                == 0
            ),
            f"{schedule} that can be {state}ed",
            120,
        )

    def is_loaded(self) -> bool:
        """Whether the read copy has all rows that the API has."""
        return self.copy.exists() and all(
            set(keys(name, rows)) <= set(loaded_keys(self.copy, name)) for name, rows in self.api.rows.items()
        ) and self.newest_edit() == self.api.rows["policies"][0]["name"]  # fmt: skip

    def newest_edit(self) -> Any:
        with duckdb.connect(str(self.copy), read_only=True) as connection:
            key = self.api.rows["policies"][0]["id"]
            return connection.execute("SELECT name FROM analytics.policies WHERE id = ?", [key]).fetchall()[0][0]


def add_rows(week: Week, moment: datetime) -> None:
    """Gives the API what an hour brings: a row of each resource, three of activities, and an edited policy."""
    for name, rows in week.api.rows.items():
        resource = SHIPPED.by_name[name]
        for minutes in (50, 30, 10) if resource.append_only else (30,):
            rows.append(_another(rows, resource.cursor, moment - timedelta(minutes=minutes)))
    policies = week.api.rows["policies"]
    policies[0] = {**policies[0], "name": f"Edited at {moment:%a %H:%M}", "updated": moment.isoformat()}


def _another(rows: list[Row], cursor: str | None, moment: datetime) -> Row:
    last = rows[-1]["id"]
    key = f"Row of {moment.isoformat()}" if isinstance(last, str) else last + 1
    return {**rows[-1], "id": key, **({cursor: moment.isoformat()} if cursor else {})}


@contextmanager
def unreachable(week: Week) -> Iterator[None]:
    """The API refuses connections."""
    week.servers.close()
    yield
    port = int(week.api.url.rpartition(":")[2])
    rows, week.api = week.api.rows, week.servers.enter_context(serve(connector=SHIPPED, port=port))
    week.api.rows = rows


@contextmanager
def answering(week: Week, answer: Answer) -> Iterator[None]:
    """The API gives one answer to all requests."""
    for name in week.api.faults:
        week.api.answer_always(name, answer)
    yield
    for faults in week.api.faults.values():
        faults.clear()


@contextmanager
def full(week: Week) -> Iterator[None]:
    """The disk of the warehouse and of temporary files is full."""
    ballast = week.disk / "ballast"
    with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(64 * 1024))
    yield
    ballast.unlink()


@contextmanager
def changed_type(week: Week) -> Iterator[None]:
    """The API sends texts where the catalog declares integers."""
    policies = week.api.rows["policies"]
    before = list(policies)
    policies[:] = [
        {**row, "parentPolicyId": f"policy {row['id']}", "updated": week.clock.now().isoformat()} for row in policies
    ]
    yield
    policies[:] = before + [row | {"parentPolicyId": None} for row in policies[len(before) :]]


@contextmanager
def new_field(week: Week) -> Iterator[None]:
    """The API sends a field that the catalog does not know."""
    groups = week.api.rows["groups"]
    groups[-1] = {**groups[-1], "colour": "red"}
    yield


@contextmanager
def switched_off(week: Week) -> Iterator[None]:
    """Somebody switches the schedule off, and on again."""
    week.switch("analytics_sync", "stop")
    yield
    week.switch("analytics_sync", "start")


@contextmanager
def down(week: Week) -> Iterator[None]:
    """The host is down."""
    week.stop()
    yield
    week.start()


def in_mid_run(strike: Callable[[Week], object]) -> Callable[[Week], "contextlib.AbstractContextManager[None]"]:
    """Strikes while the run of the hour waits for an answer."""

    @contextmanager
    def fault(week: Week) -> Iterator[None]:
        once = threading.Lock()

        def wait(_: Request) -> Answer | None:
            if once.acquire(blocking=False):
                strike(week)
            return None

        week.api.faults["roles"].append(wait)
        yield
        week.api.faults["roles"].clear()

    return fault


def kill_run(week: Week) -> None:
    """Kills the process of the run, and nothing else."""
    with dg.DagsterInstance.from_config(str(week.home)) as instance:
        [run] = instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED]))
        os.kill(pid_of(instance, run.run_id), signal.SIGKILL)


def restart(week: Week, number: signal.Signals) -> None:
    week.stop(number)
    week.start()


def for_seconds(seconds: float, fault: Callable[[Week], Any]) -> Callable[[Week], Any]:
    """A fault that is over after some seconds, within its hour."""

    @contextmanager
    def short(week: Week) -> Iterator[None]:
        stack = ExitStack()
        stack.enter_context(fault(week))
        timer = threading.Timer(seconds, stack.close)
        timer.start()
        yield
        timer.join()

    return short


@dataclass(frozen=True)
class Fault:
    """What goes wrong, and when. It begins with the tick of its first hour."""

    name: str
    sign: str
    """Its letter in the table."""
    hour: int
    make: Callable[[Week], Any]
    hours: int = 0
    """How many hours it lasts; 0 if it is over by itself within the first."""
    waits: bool = True
    """Whether runs start while it lasts."""


FAULTS = [
    Fault("the run is killed (SIGKILL)", "K", 9, in_mid_run(kill_run)),
    Fault("the host dies in mid-run and is back at once", "H", 21, in_mid_run(partial(restart, number=signal.SIGKILL))),
    Fault("the host is down for five hours", "D", 30, down, 5, waits=False),
    Fault("the API is unreachable for three hours", "U", 45, unreachable, 3),
    Fault("the API answers 503 for a minute", "S", 57, for_seconds(60, partial(answering, answer=Answer(503)))),
    Fault("a notebook holds the warehouse for 100 s", "L", 66, for_seconds(100, lambda week: holding(week.database))),
    Fault("a notebook holds the warehouse for two hours", "L", 75, lambda week: holding(week.database), 2),
    Fault("the disk is full for two hours", "F", 87, full, 2),
    Fault("the API sends a new field", "N", 99, new_field),
    Fault("the API changes a type for two hours", "T", 108, changed_type, 2),
    Fault("the token is refused for two hours", "A", 120, partial(answering, answer=Answer(401)), 2),
    Fault("a deployment (SIGTERM) in mid-run", "R", 132, in_mid_run(partial(restart, number=signal.SIGTERM))),
    Fault("somebody switches the schedule off for two hours", "O", 141, switched_off, 2, waits=False),
    Fault("the host dies in mid-run, twice", "H", 153, in_mid_run(partial(restart, number=signal.SIGKILL))),
    Fault("the host dies in mid-run, twice", "H", 154, in_mid_run(partial(restart, number=signal.SIGKILL))),
]  # fmt: skip


PROSE = """\
## A week of hours

`make week` lives through a week of the hourly schedule: the shipped daemon, its runs and a webhook, under a clock that
is put to the next hour once the rows of an hour are loaded. Before each hour the API gets new and edited rows. An hour
counts as loaded when the copy for readers has them all. A reader opens that copy over and over all week long, and
another keeps the connection of the first hour.

✓ is loaded within a minute, a time is how long it took, ✗ is not loaded within 15 minutes. Hours of a lasting fault are
not waited for; the hours after it bring their rows as well.
"""


@dataclass
class Hour:
    """What became of an hour."""

    fault: Fault | None
    late: float | None
    """Seconds from the full hour until its rows were in the read copy; `None` if they were not."""
    told: list[str]
    """Alerts during the hour."""


def live(week: Week, instance: dg.DagsterInstance, hour: int, open_faults: dict[Fault, ExitStack]) -> Hour:
    """Lives through one hour."""
    moment = START + timedelta(hours=hour)
    told = len(week.webhook.texts)
    add_rows(week, moment)
    fault = next((each for each in open_faults), None)
    for each in FAULTS:
        if each.hour == hour:
            fault, open_faults[each] = each, ExitStack()
            open_faults[each].enter_context(each.make(week))
    week.clock.put(moment - timedelta(seconds=1))
    lasts = fault is not None and hour < fault.hour + fault.hours
    late = None
    while week.clock.now() < moment + LATE and not (lasts and fault and not fault.waits):
        if not lasts and week.is_loaded():
            late = (week.clock.now() - moment).total_seconds()
            break
        if lasts and _is_settled(instance, moment):
            break
        time.sleep(0.5)
    # The next tick would be skipped, while a run of this hour evaluates its checks.
    while late is not None and week.clock.now() < moment + LATE and instance.get_runs(UNFINISHED_RUNS, limit=1):
        time.sleep(0.5)
    for each in list(open_faults):
        if hour >= each.hour + each.hours - 1:
            open_faults.pop(each).close()
    return Hour(fault, late, week.webhook.texts[told:])


UNFINISHED_RUNS = dg.RunsFilter(statuses=UNFINISHED)


def _is_settled(instance: dg.DagsterInstance, moment: datetime) -> bool:
    """Whether a run of the hour is over, with all its retries."""
    records = instance.get_run_records(limit=1)
    if not records or records[0].create_timestamp < moment:
        return False
    run = records[0].dagster_run
    return run.is_finished and (run.is_success or run.tags.get("dagster/will_retry") == "false")


def describe(hours: list[Hour], reads: str) -> list[str]:
    """The tables: what became of each hour, and of each fault."""
    lines = [
        *PROSE.splitlines(),
        "",
        "| day | " + " | ".join(f"{hour:02}" for hour in range(24)) + " |",
        "|---" * 25 + "|",
    ]
    for day in range(7):
        cells = [_cell(hour) for hour in hours[24 * day : 24 * day + 24]]
        lines.append(f"| {day + 1} | " + " | ".join(cells) + " |")
    lines += ["", "| sign | fault | hours | the hour after it was loaded | what was told |", "|---|---|---|---|---|"]
    for fault in FAULTS:
        last = fault.hour + max(fault.hours - 1, 0)
        after = hours[last + 1 if fault.hours else last]
        texts = [_short(text) for hour in hours[fault.hour : last + 2] for text in hour.told]
        span = f"{fault.hour}" if last == fault.hour else f"{fault.hour} to {last}"
        told = "; ".join(dict.fromkeys(texts)) or "nothing"
        lines.append(f"| {fault.sign} | {fault.name} | {span} | {_minutes(after.late)} | {told} |")
    read, refused = reads.split()
    lines += ["", f"The reader opened the read copy {int(read):,} times and was refused {refused} times."]
    return lines


def _short(text: str) -> str:
    """The first line of an alert, without ids and links."""
    return re.sub(r" (http\S+|[0-9a-f]{8}-[0-9a-f-]{27})", "", text.partition("\n")[0]).replace("|", "\\|")


def _cell(hour: Hour) -> str:
    sign = hour.fault.sign if hour.fault else ""
    return (
        f"{sign} {'✗' if hour.late is None else _minutes(hour.late) if hour.fault or hour.late >= 60 else '✓'}".strip()
    )


def _minutes(seconds: float | None) -> str:
    return "never" if seconds is None else f"{int(seconds // 60)}:{int(seconds % 60):02}"


@contextmanager
def new_week(directory: Path) -> Iterator[Week]:
    """The disk, the API with some rows, the webhook, and Dagster's daemon with the schedules switched on."""
    disk, home = directory / "disk", directory / "home"
    disk.mkdir()
    home.mkdir()
    shutil.copy(CHECKOUT / "dagster.yaml", home)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m", "none", str(disk)], check=True)
    try:
        with ExitStack() as servers, listening() as webhook:
            api = servers.enter_context(serve(connector=SHIPPED))
            api.rows = shipped_rows()
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                port = probe.getsockname()[1]
            week = Week(disk, api, webhook, home, port, new_clock(home), servers=servers)
            week.workspace.write_text(
                f"load_from: [{{grpc_server: {{host: 127.0.0.1, port: {port}, location_name: analytics_assets}}}}]"
            )
            week.clock.put(START - timedelta(minutes=5))
            with dg.DagsterInstance.from_config(str(home)) as instance:
                # It makes the tables of the history, in which two processes at once would get in each other's way.
                instance.get_runs(limit=1)
            week.start()
            try:
                for schedule in ("analytics_sync", "analytics_reconcile"):
                    week.switch(schedule, "start")
                yield week
            finally:
                week.stop()
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def main() -> int:
    """Lives through the week; the exit status says whether an hour was lost, a reader refused, or a row wrong."""
    hours: list[Hour] = []
    # A shell has what it starts in the background ignore Ctrl-C, and then Dagster ignores SIGTERM as well.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with tempfile.TemporaryDirectory() as name, new_week(Path(name)) as week, ExitStack() as stack:
        instance = stack.enter_context(dg.DagsterInstance.from_config(str(week.home)))
        open_faults: dict[Fault, ExitStack] = {}
        tally = week.home / "tally"
        reader: subprocess.Popen[bytes] | None = None
        for hour in range(int(os.environ.get("HOURS", HOURS))):
            hours.append(live(week, instance, hour, open_faults))
            print(f"{START + timedelta(hours=hour):%a %H:%M} {_cell(hours[-1])} {hours[-1].told}", flush=True)
            if reader is None:
                reader = subprocess.Popen([sys.executable, "-c", READ, str(week.copy), str(tally)])
                stack.callback(reader.kill)
        reads = tally.read_text(encoding="utf-8")
        wrong = [name for name, rows in week.api.rows.items() if loaded_keys(week.copy, name) != keys(name, rows)]
    print(reads, wrong)
    lost = [hour for hour in hours if hour.late is None and not (hour.fault and hour.fault.hours)]
    if len(hours) == HOURS:
        put("week", describe(hours, reads))
    return int(bool(lost or wrong or reads.split()[1] != "0" or reader is None or reader.poll() is not None))


if __name__ == "__main__":
    raise SystemExit(main())
