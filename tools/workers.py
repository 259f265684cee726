"""How much faster several workers are, and that together they keep the rate of the API.

    python -m tools.workers [--pages 1500]

Eight listings are loaded into a Postgres of the tool's own, each by a step in a process of its own. Every request takes
50 ms, and each worker has two in flight. The times are those at which requests reach the server. The tables are put
into docs/scale.md.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import dagster as dg

from analytics_assets.definitions import build_definitions
from analytics_assets.defs.execution import read_executor
from analytics_assets.defs.names import name_all
from analytics_assets.demo.exchange import Request
from analytics_assets_tests.servers.fake_api import TOKEN, FakeApi, serve
from analytics_assets_tests.support.checkout import CHECKOUT
from analytics_assets_tests.support.postgres import create_database, postgres_binaries, serve_postgres
from analytics_assets_tests.support.rates import busiest_second
from analytics_assets_tests.support.redis_server import serve_redis
from analytics_assets_tests.support.rows import organization
from analytics_assets_tests.support.specification import EIGHT
from tools.faults import put

LATENCY = 0.05
"""Seconds that the API takes for a request."""

LISTINGS = [f"listing_{number}" for number in range(1, 9)]

RATE = 40
"""Requests per second that all workers may send together."""

PAGES_AT_RATE = 60
"""Pages of each listing where the rate is measured."""

MODULE = "tools.workers"

_dialect = EIGHT.dialects[0]
CONNECTOR = replace(
    EIGHT,
    name="listings",
    resources=tuple(replace(EIGHT.by_name["organizations"], name=name) for name in LISTINGS),
    dialects=(
        replace(
            _dialect,
            endpoints={
                name: replace(_dialect.endpoints["organizations"], path=f"/v2/{name.replace('_', '-')}")
                for name in LISTINGS
            },
        ),
    ),
)
"""Eight resources that are listed by offset, as workers need work of the same kind."""


@dg.definitions
def defs() -> dg.Definitions:
    """What the processes load in which steps run."""
    return dg.Definitions.merge(build_definitions(name_all(CONNECTOR)), dg.Definitions(executor=read_executor()))


@contextmanager
def serving(pages: int) -> Iterator[tuple[FakeApi, list[float]]]:
    """An API with as many pages in each listing, and the times at which requests come."""
    times: list[float] = []

    def note(_: Request) -> None:
        times.append(time.monotonic())
        time.sleep(LATENCY)

    with serve(connector=CONNECTOR) as api:
        for name in LISTINGS:
            # Each page begins on the last row of the page before.
            api.rows[name] = [organization(number) for number in range(1, pages * (_dialect.page_size - 1))]
            api.faults[name].append(note)
        yield api, times


def sync(workers: int, pages: int, postgres: str, **settings: object) -> tuple[float, list[float]]:
    """Loads all listings into an empty database. Returns the seconds, and when requests came.

    Args:
        workers: Steps at work at once.
        pages: Pages of each listing.
        postgres: The server.
        settings: Settings of the API.
    """
    config = {
        "max_concurrent": workers,
        "start_method": {"forkserver": {"preload_modules": [MODULE]}},
    }
    with serving(pages) as (api, times), tempfile.TemporaryDirectory() as home:
        configured = {"base_url": api.url, "api_key": TOKEN, "requests_in_flight": 8, "workers": 4, **settings}
        environment = os.environ | {
            "DAGSTER_HOME": home,
            "DLT_PROJECT_DIR": home,
            "DESTINATION_TYPE": "postgres",
            "DESTINATION__POSTGRES__CREDENTIALS": create_database(postgres),
            "EXECUTION__SPLIT": "true",
            "EXECUTION__EXECUTOR": "multiprocess",
            "EXECUTION__CONFIG": json.dumps(config),
            "PYTHONPATH": str(CHECKOUT),
            "RUNTIME__DLTHUB_TELEMETRY": "false",
            **{f"SOURCES__LISTINGS__{key.upper()}": str(value) for key, value in configured.items()},
        }
        command = [
            str(Path(sys.executable).with_name("dagster")),
            "job",
            "execute",
            "-m",
            MODULE,
            "-j",
            "listings_sync",
        ]
        began = time.monotonic()
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        seconds = time.monotonic() - began
    if done.returncode:
        raise RuntimeError(done.stderr[-5_000:])
    return seconds, times


def measure_speed(pages: int, postgres: str) -> list[str]:
    """A row for each number of workers."""
    table = ["| workers | requests | seconds | requests a second | times as fast |", "|---:|---:|---:|---:|---:|"]
    alone = 0.0
    for workers in (1, 2, 4):
        seconds, times = sync(workers, pages, postgres)
        alone = alone or seconds
        rate = len(times) / seconds
        table.append(f"| {workers} | {len(times):,} | {seconds:.1f} | {rate:.1f} | {alone / seconds:.2f} |")
        print(table[-1], flush=True)
    return table


def measure_rate(postgres: str) -> list[str]:
    """A row for each way in which four workers keep the rate."""
    head = "| four workers with 40 requests a second | requests | requests a second | most in any second |"
    table = [head, "|---|---:|---:|---:|"]
    with serve_redis() as redis:
        ways: dict[str, dict[str, object]] = {
            "shared in Redis": {"rate_limit_url": redis},
            "shared in Postgres": {"rate_limit_url": postgres},
            "divided by 4": {},
        }
        for way, settings in ways.items():
            _, times = sync(4, PAGES_AT_RATE, postgres, requests_per_second=RATE, **settings)
            mean = (len(times) - 1) / (times[-1] - times[0])
            table.append(f"| {way} | {len(times):,} | {mean:.1f} | {busiest_second(times)} |")
            print(table[-1], flush=True)
    return table


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tools.workers")
    parser.add_argument("--pages", type=int, default=1_500, help="pages of each listing (default: 1500)")
    given = parser.parse_args()
    binaries = postgres_binaries()
    assert binaries, "no Postgres on this machine"
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="analytics_postgres_")))
        postgres = next(server := serve_postgres(binaries, directory))
        stack.callback(lambda: next(server, None))
        rate = measure_rate(postgres)
        speed = measure_speed(given.pages, postgres)
    put("workers", [*speed, "", *rate], CHECKOUT / "docs" / "scale.md")


if __name__ == "__main__":
    main()
