"""Measures what an hour costs if the API cannot filter, and writes it into docs/performance.md.

    python -m tools.quiet_hours [--rounds 5] [--divide 1]

Activities come in the specification's wire format, 20 a page, oldest first, one every 20 seconds. The whole history is
loaded once, by large pages, and then each sync is a process of its own. After each of them every row in the table is
compared with the API's.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import duckdb

from analytics_assets_tests.servers.bulk_api import SECOND, START, BulkApi
from analytics_assets_tests.servers.fake_api import TOKEN
from analytics_assets_tests.servers.running import running
from analytics_assets_tests.support.checkout import CHECKOUT
from benchmarks.arguments import at_least_one
from benchmarks.processes import SECTION, environment
from benchmarks.report import number, spread, table
from benchmarks.scenarios import Conditions
from tools.faults import put

DOCUMENT = CHECKOUT / "docs/performance.md"
HISTORIES = (10_000, 1_000_000)
PAGE, LOADING_PAGE = 20, 1_000
EVERY = 20 * SECOND
NEW, REMOVED = 100, 1_000
MOST_REQUESTS = 60
MOST_GROWTH = 1.2
"""Time after the longest history, in parts of that after the shortest."""

WRONG = f"""
SELECT count(*), count(DISTINCT id), count(*) FILTER (
  WHERE message <> 'Activity ' || id OR device_id <> id % 9973 OR _rescued_data IS NOT NULL
    OR epoch_us(activity_time) <> {int(START.timestamp()) * SECOND} + (id - 1) * {EVERY}
) FROM analytics.activities
"""


class OffsetApi(BulkApi):
    """The same activities in the specification's wire format. The first `gone` of them are no longer listed."""

    gone = 0

    def page(self, query: Any) -> bytes:
        first = self.gone + 1 + int(query["after"])
        return b'{"activities": [%s]}' % self.rows(range(first, min(first + int(query["limit"]), self.count + 1)))


@dataclass
class Hours:
    """Syncs of one kind after one history."""

    what: str
    before: Callable[[OffsetApi], object]
    """Called before each of them: what happens upstream."""
    seconds: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    """CPU seconds of the process."""
    requests: list[int] = field(default_factory=list)


def kinds(removed: int) -> list[Hours]:
    def grow(api: OffsetApi) -> None:
        api.count += NEW

    def grow_and_remove(api: OffsetApi) -> None:
        api.count, api.gone = api.count + NEW, api.gone + removed

    return [
        Hours("nothing is new", lambda _: None),
        Hours(f"{NEW} new ones", grow),
        Hours(f"{NEW} new ones, and the {removed:,} oldest are gone", grow_and_remove),
    ]


def sync(api: OffsetApi, directory: Path, page_size: int) -> tuple[float, float, int]:
    """Syncs in a process of its own, and compares the table.

    Returns:
        Its seconds, its CPU seconds, and its requests for activities.
    """
    database = directory / "measured.duckdb"
    given = Conditions(api.url, database, page_size, in_flight=8)
    more = {f"{SECTION}__RESOURCES": "activities", f"{SECTION}__API_KEY": TOKEN}
    before, began, cpu_before = len(api.requests), time.monotonic(), cpu_of_children()
    command, variables = [sys.executable, "-m", "benchmarks.alone"], environment(directory, given, more)
    done = subprocess.run(command, cwd=directory, env=variables, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    seconds, cpu = time.monotonic() - began, cpu_of_children() - cpu_before
    with closing(duckdb.connect(str(database), read_only=True)) as connection:
        [found] = connection.execute(WRONG).fetchall()
    assert found == (api.count, api.count, 0), f"{found} in the table, {api.count} activities"
    return seconds, cpu, len(api.requests) - before


def cpu_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def measure(histories: list[int], rounds: int, removed: int) -> dict[int, list[Hours]]:
    measured = {history: kinds(removed) for history in histories}
    with ExitStack() as stack:
        places = {}
        for history in histories:
            api = OffsetApi("127.0.0.1", history, EVERY)
            stack.enter_context(running(api))
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="analytics_hours_")))
            print(f"{history:,} loaded: {sync(api, directory, LOADING_PAGE)}", flush=True)
            places[history] = api, directory
        for _ in range(rounds):
            for each in range(len(measured[histories[0]])):
                for history, (api, directory) in places.items():
                    hours = measured[history][each]
                    hours.before(api)
                    seconds, cpu, requests = sync(api, directory, PAGE)
                    print(f"{history:,}, {hours.what}: {seconds:.2f} s ({cpu:.2f}), {requests} requests", flush=True)
                    hours.seconds.append(seconds)
                    hours.cpu.append(cpu)
                    hours.requests.append(requests)
    return measured


def write(measured: dict[int, list[Hours]], rounds: int) -> None:
    head = ("activities before", "since the last sync", "requests for activities", "whole process, s", "its CPU, s")
    rows = [
        (f"{history:,}", hours.what, number(median(hours.requests)), spread(hours.seconds), spread(hours.cpu))
        for history, kinds_of in measured.items()
        for hours in kinds_of
    ]
    put("hours", ["", f"Measured in {rounds} rounds.", "", table(head, rows)], DOCUMENT)


def missed(measured: dict[int, list[Hours]]) -> list[str]:
    shortest, longest = min(measured), max(measured)
    found = []
    for few, many in zip(measured[shortest], measured[longest], strict=True):
        most, growth = max([*few.requests, *many.requests]), median(many.seconds) / median(few.seconds)
        if most > MOST_REQUESTS:
            found.append(f"{few.what}: {most} requests, wanted at most {MOST_REQUESTS}")
        if growth > MOST_GROWTH:
            found.append(f"{few.what}: {growth:.2f} times the time, wanted at most {MOST_GROWTH}")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=at_least_one, default=5)
    parser.add_argument(
        "--divide", type=at_least_one, default=1, help="try it with so much shorter histories, and write nothing"
    )
    given = parser.parse_args()
    # As many fewer are gone. If all were, the new ones would be gone, too, before they were loaded.
    histories, removed = [history // given.divide for history in HISTORIES], max(1, REMOVED // given.divide)
    measured = measure(histories, given.rounds, removed)
    if given.divide == 1:
        write(measured, given.rounds)
    for failure in (failures := missed(measured)):
        print(f"Missed: {failure}")
    return int(bool(failures))


if __name__ == "__main__":
    sys.exit(main())
