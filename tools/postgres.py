"""Measures what loading into Postgres costs beside loading into DuckDB, and writes it into docs/performance.md.

    python -m tools.postgres [--rounds 5] [--rows 200000] [--csv]

Both get the same activities from the same API, first into an empty warehouse, and then, when each was edited, into the
table that has them. Each load is a process of its own, and they take turns. The CPU seconds of Postgres are added to
those of the process. After each load every row is compared with the API's.

Needs Linux, and Postgres on this machine.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from pathlib import Path
from statistics import median
from typing import Any

import duckdb
import psycopg2

from analytics_assets_tests.servers.bulk_api import SECOND, START, BulkApi
from analytics_assets_tests.servers.fake_api import TOKEN
from analytics_assets_tests.servers.running import running
from analytics_assets_tests.support.checkout import CHECKOUT
from analytics_assets_tests.support.postgres import create_database, postgres_binaries, serve_postgres
from benchmarks.arguments import at_least_one
from benchmarks.processes import SECTION, environment
from benchmarks.report import spread, table
from benchmarks.scenarios import Conditions
from tools.faults import put
from tools.quiet_hours import cpu_of_children
from tools.scale import postgres_cpu

DOCUMENT = CHECKOUT / "docs/performance.md"
ROWS, PAGE = 200_000, 1_000
MOST = 1.5
"""CPU seconds of a load into Postgres, in parts of those into DuckDB."""
DUCKDB, POSTGRES, CSV = "DuckDB", "Postgres", "Postgres, CSV files"
FIRST, MERGE = "first load", "merge of the same rows, edited"
LATER = 1_000_000 * SECOND
"""Microseconds by which an edit moves the time of each row."""

WRONG = """
SELECT count(*), count(DISTINCT id), count(*) FILTER (WHERE
  activity_time IS DISTINCT FROM timestamptz '{start}' + (id - 1) * interval '1 second'
  OR message IS DISTINCT FROM '{message}' || id OR device_id IS DISTINCT FROM id % 9973
  OR subject IS DISTINCT FROM 'Workstation ' || (id % 9973) OR status IS DISTINCT FROM 'Software added'
  OR (((data -> 'message') -> 'params') ->> 'name') IS DISTINCT FROM 'Package ' || (id % 9973)
  OR _rescued_data IS NOT NULL
) FROM analytics.activities
"""


class EditedApi(BulkApi):
    """The activities in the specification's wire format. A page is made once, so that hardly any load waits for it."""

    is_edited = False

    def __init__(self, count: int) -> None:
        super().__init__("127.0.0.1", count)
        self.made = cache(self.make)

    @property
    def message(self) -> str:
        return "Edited " if self.is_edited else "Activity "

    @property
    def later(self) -> int:
        return LATER if self.is_edited else 0

    def page(self, query: Any) -> bytes:
        return self.made(int(query["after"]), int(query["limit"]), self.message, self.later)

    def make(self, after: int, limit: int, message: str, later: int) -> bytes:
        rows = self.rows(range(after + 1, min(after + limit, self.count) + 1), later)
        return b'{"activities": [%s]}' % rows.replace(b"Activity ", message.encode())


@dataclass(frozen=True, slots=True)
class Cost:
    """Seconds of one load."""

    wall: float
    process: float
    """CPU of the process that loads."""
    server: float
    """CPU of the Postgres server."""

    @property
    def cpu(self) -> float:
        return self.process + self.server


Costs = dict[tuple[str, str], list[Cost]]
"""By kind of load, and warehouse."""


def load(api: EditedApi, directory: Path, given: dict[str, str], root: Path) -> Cost:
    conditions = Conditions(api.url, directory / "measured.duckdb", PAGE, in_flight=8)
    more = {f"{SECTION}__RESOURCES": "activities", f"{SECTION}__API_KEY": TOKEN, **given}
    command, variables = [sys.executable, "-m", "benchmarks.alone"], environment(directory, conditions, more)
    server, process, began = postgres_cpu(root), cpu_of_children(), time.monotonic()
    done = subprocess.run(command, cwd=directory, env=variables, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    wall = time.monotonic() - began
    return Cost(wall, cpu_of_children() - process, postgres_cpu(root) - server if given else 0)


def compare(api: EditedApi, directory: Path, given: dict[str, str]) -> None:
    """Fails unless the table has each row as the API has it, once."""
    start = START + timedelta(microseconds=api.later)
    query = WRONG.format(start=start.isoformat(), message=api.message)
    if url := given.get("DESTINATION__POSTGRES__CREDENTIALS"):
        with closing(psycopg2.connect(url)) as postgres, postgres.cursor() as cursor:
            cursor.execute(query)
            found = cursor.fetchall()
    else:
        with closing(duckdb.connect(str(directory / "measured.duckdb"), read_only=True)) as connection:
            found = connection.execute(query).fetchall()
    assert found == [(api.count, api.count, 0)], f"{found} in the table, {api.count} activities"


def measure(rows: int, rounds: int, *, csv: bool) -> Costs:
    costs: Costs = {}
    binaries = postgres_binaries()
    if not binaries:
        sys.exit("There is no Postgres on this machine: install Debian's postgresql, or Homebrew's.")
    with tempfile.TemporaryDirectory(prefix="analytics_postgres_") as name, ExitStack() as stack:
        root, api = Path(name), EditedApi(rows)
        (root / "postgres").mkdir()
        root.chmod(0o755)
        stack.enter_context(running(api))
        server = stack.enter_context(contextmanager(serve_postgres)(binaries, root / "postgres", fsync="on"))
        for number in range(rounds):
            places: dict[str, dict[str, str]] = {DUCKDB: {}}
            for place in (POSTGRES, CSV) if csv else (POSTGRES,):
                url = create_database(server)
                places[place] = {"DESTINATION_TYPE": "postgres", "DESTINATION__POSTGRES__CREDENTIALS": url}
            if csv:
                places[CSV]["NORMALIZE__LOADER_FILE_FORMAT"] = "csv"
            with tempfile.TemporaryDirectory(dir=root) as directory:
                for kind in (FIRST, MERGE):
                    api.is_edited = kind == MERGE
                    for place in list(places)[:: -1 if number % 2 else 1]:
                        cost = load(api, Path(directory), places[place], root)
                        compare(api, Path(directory), places[place])
                        costs.setdefault((kind, place), []).append(cost)
                        print(f"{kind}, {place}: {cost}", flush=True)
            drop(server, [each["DESTINATION__POSTGRES__CREDENTIALS"] for each in places.values() if each])
    return costs


def drop(server: str, urls: list[str]) -> None:
    """Drops databases, so that no vacuum of theirs is counted in the next round."""
    with closing(psycopg2.connect(server)) as connection, connection.cursor() as cursor:
        connection.autocommit = True
        for url in urls:
            cursor.execute(f"DROP DATABASE {url.rpartition('/')[2]} WITH (FORCE)")


def ratio(costs: Costs, kind: str, place: str, of: Callable[[Cost], float]) -> float:
    """The median of the ratios to DuckDB, round by round."""
    pairs = zip(costs[kind, place], costs[kind, DUCKDB], strict=True)
    return median(of(one) / of(other) for one, other in pairs)


def write(costs: Costs, rows: int, rounds: int) -> None:
    head = ("", "into", "CPU, s", "of it Postgres, s", "/ DuckDB", "wall, s", "wall / DuckDB")
    lines = [
        (
            kind,
            place,
            spread([each.cpu for each in found]),
            "-" if place == DUCKDB else spread([each.server for each in found]),
            f"{ratio(costs, kind, place, lambda each: each.cpu):.2f} x",
            spread([each.wall for each in found]),
            f"{ratio(costs, kind, place, lambda each: each.wall):.2f} x",
        )
        for (kind, place), found in costs.items()
    ]
    put("postgres", ["", f"{rows:,} rows, {rounds} rounds.", "", table(head, lines)], DOCUMENT)


def missed(costs: Costs) -> list[str]:
    times = {kind: ratio(costs, kind, POSTGRES, lambda each: each.cpu) for kind in (FIRST, MERGE)}
    return [
        f"{kind}: {found:.2f} times the CPU seconds of DuckDB, wanted at most {MOST}"
        for kind, found in times.items()
        if found > MOST
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=at_least_one, default=5)
    parser.add_argument("--rows", type=at_least_one, default=ROWS, help="another number, and nothing is written")
    parser.add_argument("--csv", action="store_true", help="load by CSV files, too, as without the ADBC driver")
    given = parser.parse_args()
    costs = measure(given.rows, given.rounds, csv=given.csv)
    if given.rows == ROWS:
        write(costs, given.rows, given.rounds)
    for kind, place in costs:
        print(f"{kind}, {place}: {ratio(costs, kind, place, lambda each: each.cpu):.2f} x in CPU seconds")
    for failure in (failures := missed(costs)):
        print(f"Missed: {failure}")
    return int(bool(failures))


if __name__ == "__main__":
    sys.exit(main())
