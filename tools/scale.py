"""Loads a history of events into Postgres by backfills on two hosts, and writes what that took into docs/scale.md.

    python -m tools.scale [--only backfill|killed] [--largest 10000000]

The hosts are network namespaces with the deployment of deploy/distributed/: root on Linux, with Postgres and Redis. The
API makes each row from its id when it is asked for it, so that it needs no memory. After each backfill the table is
compared with it, row by row.
"""

import argparse
import json
import os
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import psycopg2

from analytics_assets_tests.servers.bulk_api import SECOND, START, BulkApi, find_wrong, serve_bulk
from analytics_assets_tests.support.checkout import CHECKOUT
from analytics_assets_tests.support.cluster import Cluster, cluster, instance_config
from analytics_assets_tests.support.hosts import Host, network
from analytics_assets_tests.support.shipped import NAMES
from analytics_assets_tests.support.watch import pid_of
from tools.faults import put
from tools.scale_model import Parameters, forecast, table

DOCUMENT = CHECKOUT / "docs/scale.md"
PARTITIONS = 20
PAGE = 1000
SLICE = 100 * PAGE
"""Rows that are loaded at once, by the slices of the project."""
DAY = timedelta(days=1)
HOSTS = ("alpha", "beta")
MEMORY = {"shared_buffers": "512MB", "max_wal_size": "4GB", "work_mem": "64MB", "autovacuum_naptime": "10s"}
TABLE = NAMES.table(NAMES.connector.by_name["activities"])
HEAD = (
    "activities",
    "hosts",
    "seconds",
    "rows a second",
    "requests",
    "needed",
    "rows in the table",
    "of them wrong",
    "memory of a run: first, last quarter",
    "temporary files of a host",
    "the first sync after it",
)
ENDED = (dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED)
PATIENCE = 2 * 3600
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass
class Seen:
    """What was seen of a process while it lived."""

    host: str
    memory: int = 0
    """Bytes at its peak."""
    cpu: float = 0
    """Seconds."""


@dataclass
class Measured:
    """A backfill."""

    rows: int
    hosts: int
    seconds: float = 0
    requests: int = 0
    found: tuple[int, int, int] = (0, 0, 0)
    """Rows in the table, distinct ids among them, and rows that are not the API's."""
    peaks: list[int] = field(default_factory=list)
    """Bytes of memory of each run, in the order in which they began."""
    disk: int = 0
    """Bytes of temporary files of one host, at the most."""
    worker_cpu: float = 0
    postgres_cpu: float = 0
    stored: int = 0
    """Bytes of the table with its indexes."""
    sent: int = 0
    """Bytes of the API's responses."""
    notes: dict[str, Any] = field(default_factory=dict)

    @property
    def needed(self) -> int:
        return -(-self.rows // PAGE)


class Meter:
    """Looks at the processes of hosts, again and again."""

    def __init__(self, deployed: Cluster) -> None:
        self.deployed = deployed
        self.seen: dict[int, Seen] = {}
        self.disk = 0

    def look(self) -> None:
        for host in self.deployed.hosts:
            for pid in host.pids():
                try:
                    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
                    seen = self.seen.setdefault(pid, Seen(host.root.name))
                    seen.memory = max(seen.memory, int(status.partition("VmHWM:")[2].split()[0]) * 1024)
                    seen.cpu = cpu_of(pid)
                except (OSError, IndexError):
                    continue
            self.disk = max(self.disk, size_of(host.root / "tmp"))


def cpu_of(pid: int, *, with_ended_children: bool = False) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return sum(map(int, fields[11 : 15 if with_ended_children else 13])) / TICKS


def size_of(directory: Path) -> int:
    found = 0
    # Unlike `rglob`, it goes on if a directory is removed meanwhile.
    for parent, _, files in os.walk(directory):
        for file in files:
            with suppress(OSError):
                found += Path(parent, file).stat().st_size
    return found


def postgres_cpu(root: Path) -> float:
    """CPU seconds of the server, its present processes included."""
    pid = int((root / "postgres/data/postmaster.pid").read_text(encoding="utf-8").split()[0])
    while True:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="utf-8").split()
        # A process that ended since is among the server's ended ones now.
        with suppress(FileNotFoundError):
            return sum(cpu_of(int(child)) for child in children) + cpu_of(pid, with_ended_children=True)


def measure(rows: int, hosts: int, *, kill: bool = False) -> Measured:
    """A backfill of all partitions into an empty warehouse."""
    found = Measured(rows, hosts)
    every = PARTITIONS * 86_400 * SECOND // rows
    with tempfile.TemporaryDirectory(prefix="analytics_hosts_") as name, ExitStack() as stack:
        root = Path(name)
        root.chmod(0o755)
        address, names = stack.enter_context(network(root, *HOSTS[:hosts]))
        api = stack.enter_context(serve_bulk(address, rows, every))
        config = {
            "base_url": api.url,
            "allow_http": True,
            "dialect": "ninjaone",
            "start_date": START.isoformat(),
            "backfill_partitions": "daily",
        }
        deployed = stack.enter_context(cluster(root, address, names, config, instance_config(hosts), 1, **MEMORY))
        meter, before = Meter(deployed), postgres_cpu(root)
        days = [f"{START + number * DAY:%Y-%m-%d}" for number in range(PARTITIONS)]
        job = ("--job", NAMES.derived("backfill"), "--from", days[0], "--to", days[-1], "--noprompt")
        deployed.call("dagster", "job", "backfill", *job)
        await_backfill(deployed, meter, found, kill=kill)
        found.requests, found.sent = len(api.requests), api.sent
        found.postgres_cpu = postgres_cpu(root) - before
        found.disk = meter.disk
        describe_runs(deployed, meter, found)
        found.found, found.stored = look_into(deployed, every)
        print(found, flush=True)
        if not kill:
            found.notes["sync"] = sync_after(deployed, api)
            found.notes["merge"] = [merge_again(deployed, api, root, index=index) for index in (False, True)]
    print(found, flush=True)
    return found


def await_backfill(deployed: Cluster, meter: Meter, found: Measured, *, kill: bool) -> None:
    """Waits until each partition has a run that succeeded; kills a host when a quarter of them have, if asked for."""
    instance, deadline, done = deployed.instance, time.monotonic() + PATIENCE, 0
    while done < PARTITIONS:
        assert time.monotonic() < deadline, f"{done} partitions are done"
        meter.look()
        time.sleep(0.5)
        ended = instance.get_runs(
            dg.RunsFilter(statuses=[dg.DagsterRunStatus.SUCCESS], job_name=NAMES.derived("backfill"))
        )
        done = len({run.tags["dagster/partition"] for run in ended})
        if kill and done >= PARTITIONS // 4 and (victims := runs_of(deployed, deployed.hosts[0])):
            deployed.hosts[0].kill()
            found.notes["killed"] = time.time()
            found.notes["victims"] = victims
            kill = False


def runs_of(deployed: Cluster, host: Host) -> list[str]:
    """The runs that are at work on a host."""
    pids = set(host.pids())
    started = deployed.instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED]))
    return [run.run_id for run in started if pid_of(deployed.instance, run.run_id) in pids]


def describe_runs(deployed: Cluster, meter: Meter, found: Measured) -> None:
    instance = deployed.instance
    records = instance.get_run_records(dg.RunsFilter(job_name=NAMES.derived("backfill")), ascending=True)
    begun = sorted((each for each in records if each.start_time), key=lambda each: each.start_time or 0)
    ended = [each.end_time or 0 for each in begun]
    found.seconds = max(ended) - (begun[0].start_time or 0)
    for each in begun:
        if seen := meter.seen.get(pid_of(instance, each.dagster_run.run_id)):
            found.peaks.append(seen.memory)
            found.worker_cpu += seen.cpu
    if victims := found.notes.get("victims"):
        dead = [each for each in begun if each.dagster_run.run_id in victims]
        found.notes["noticed"] = max(each.end_time or 0 for each in dead) - found.notes["killed"]
        found.notes["retried"] = len(begun) - PARTITIONS
        found.notes["rest"] = max(ended) - found.notes["killed"]


def look_into(deployed: Cluster, every: int) -> tuple[tuple[int, int, int], int]:
    with closing(psycopg2.connect(deployed.warehouse)) as connection, connection.cursor() as cursor:
        cursor.execute(find_wrong(TABLE, every))
        rows = cursor.fetchall()[0]
        cursor.execute(f"SELECT pg_total_relation_size('{TABLE}')")
        return rows, cursor.fetchall()[0][0]


def run(deployed: Cluster, job: str, config: dict[str, Any]) -> dg.DagsterRun:
    """Has a worker do a run, and waits for its end."""
    before = {each.run_id for each in deployed.instance.get_runs()}
    deployed.call("dagster", "job", "launch", "--job", job, "--config-json", json.dumps(config))
    while True:
        [new] = [each for each in deployed.instance.get_runs(dg.RunsFilter(job_name=job)) if each.run_id not in before]
        if new.status in ENDED:
            assert new.is_success, deployed.messages(new.run_id)
            return new
        time.sleep(0.5)


def said_of(deployed: Cluster, run_id: str) -> dict[str, Any]:
    """What the materialization of the activities says in a run."""
    kind = dg.DagsterEventType.ASSET_MATERIALIZATION
    for event in deployed.instance.all_logs(run_id, of_type=kind):
        if event.asset_materialization and event.asset_materialization.asset_key == NAMES.asset_key("activities"):
            return {name: value.value for name, value in event.asset_materialization.metadata.items()}
    raise LookupError(run_id)


def sync_after(deployed: Cluster, api: BulkApi) -> dict[str, Any]:
    """The first sync after the backfill, which has nothing to load."""
    before = len(api.requests)
    said = said_of(deployed, run(deployed, NAMES.sync, {}).run_id)
    return {"requests": len(api.requests) - before, "rows": said["rows_loaded"], "seconds": said["seconds"]}


def merge_again(deployed: Cluster, api: BulkApi, root: Path, *, index: bool) -> float:
    """CPU seconds of Postgres for a window of one slice that is there already, with or without an index on the key."""
    with closing(psycopg2.connect(deployed.warehouse)) as connection, connection.cursor() as cursor:
        connection.autocommit = True
        if index:
            cursor.execute(f"CREATE INDEX ON {TABLE} (id)")
        cursor.execute(f"VACUUM ANALYZE {TABLE}")
    middle = START + PARTITIONS // 2 * DAY
    end = middle + timedelta(microseconds=min(SLICE, api.count // 4) * api.every)
    window = {"start": middle.isoformat(), "end": end.isoformat()}
    before = postgres_cpu(root)
    run(deployed, NAMES.sync, NAMES.run_config(**window))
    return postgres_cpu(root) - before


def tabulate(measured: Sequence[Measured]) -> list[str]:
    return table(
        HEAD,
        *map(_cells, measured),
    )


def _cells(each: Measured) -> list[object]:
    quarter = max(1, len(each.peaks) // 4)
    first, last = (max(peaks) / 1e6 for peaks in (each.peaks[:quarter], each.peaks[-quarter:]))
    rows, ids, wrong = each.found
    sync = each.notes["sync"]
    return [
        f"{each.rows:,}",
        each.hosts,
        f"{each.seconds:,.0f}",
        f"{each.rows / each.seconds:,.0f}",
        f"{each.requests:,}",
        f"{each.needed:,}",
        f"{rows:,}",
        wrong + rows - ids,
        f"{first:.0f}, {last:.0f} MB",
        f"{each.disk / 1e6:.0f} MB",
        f"{sync['rows']} rows, {sync['requests']} requests",
    ]


def tabulate_merges(measured: Sequence[Measured]) -> list[str]:
    return table(
        ("rows in the table", "CPU seconds of Postgres for a window of one slice", "with an index on `id`", "on disk"),
        *(
            (f"{each.rows:,}", *(f"{seconds:.1f}" for seconds in each.notes["merge"]), f"{each.stored / 1e9:.2f} GB")
            for each in measured
        ),
    )


def tabulate_killed(each: Measured) -> list[str]:
    rows, ids, wrong = each.found
    return table(
        ("what", "how many"),
        ("activities", f"{each.rows:,}"),
        ("runs at work on the host that was killed", len(each.notes["victims"])),
        ("seconds until they were declared dead", f"{each.notes['noticed']:.0f}"),
        ("seconds from the kill until all was loaded", f"{each.notes['rest']:.0f}"),
        ("runs beyond one a partition", each.notes["retried"]),
        ("rows in the table", f"{rows:,}"),
        ("of them wrong or twice", wrong + rows - ids),
        ("requests", f"{each.requests:,} of {each.needed:,} needed"),
    )


def exact(each: Measured) -> bool:
    return each.found == (each.rows, each.rows, 0) and each.requests <= 1.1 * each.needed


def main() -> int:
    """Measures, and writes the tables; the exit status says whether a row was wrong or too much was asked for."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--only", choices=("backfill", "killed"))
    parser.add_argument("--largest", type=int, default=10_000_000, help="activities of the largest backfill")
    given = parser.parse_args()
    measured: list[Measured] = []
    if given.only != "killed":
        tenth = given.largest // 10
        measured = [measure(tenth, 1), measure(tenth, 2), measure(given.largest, 2)]
        put("backfill", tabulate(measured), DOCUMENT)
        put("merges", tabulate_merges(measured[1:]), DOCUMENT)
        put("model", forecast(Parameters.of(measured[-1])), DOCUMENT)
    if given.only != "backfill":
        killed = measure(given.largest // 10, 2, kill=True)
        put("killed", tabulate_killed(killed), DOCUMENT)
        killed.requests = 0  # what was read twice was needed
        measured.append(killed)
    return int(not all(map(exact, measured)))


if __name__ == "__main__":
    raise SystemExit(main())
