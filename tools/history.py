"""Measures what the sync of the demo leaves in Dagster's history, and what the purge gives back.

    python -m tools.history [--syncs 60] [--postgres]

The syncs run in one process, each as `python -m analytics_assets sync` runs it. A run of the daemon has its log lines
in a file as well. With `--postgres` the history is in a server that is started for it.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
import psycopg2

from analytics_assets.commands import QUIET
from analytics_assets.definitions import defs
from analytics_assets.defs.automation import purge
from analytics_assets.defs.automation.purge import KEEP_DAYS
from analytics_assets_tests.support.checkout import CHECKOUT
from analytics_assets_tests.support.postgres import postgres_binaries, serve_postgres

HOURS = 365 * 24
STORAGE = """
storage:
  postgres:
    postgres_url: {url}
"""


def on_disk(directory: Path) -> int:
    """Bytes of the blocks that a directory takes."""
    return sum(path.lstat().st_blocks * 512 for path in directory.rglob("*"))


@contextmanager
def history(directory: Path, *, postgres: bool) -> Iterator[tuple[dg.DagsterInstance, Callable[[], int]]]:
    """An instance as it is shipped, and a function that measures it."""
    home = directory / "home"
    home.mkdir()
    configured = (CHECKOUT / "dagster.yaml").read_text(encoding="utf-8")
    server = serve(directory) if postgres else iter([""])
    url = next(server)
    (home / "dagster.yaml").write_text(configured + (STORAGE.format(url=url) if url else ""), encoding="utf-8")

    def measure() -> int:
        if not url:
            return on_disk(home)
        with psycopg2.connect(url) as connection, connection.cursor() as cursor:
            cursor.execute("SELECT pg_database_size(current_database())")
            [size] = cursor.fetchone() or [0]
        return on_disk(home) + int(size)

    with dg.DagsterInstance.from_config(str(home)) as instance:
        yield instance, measure
    next(server, None)


def serve(directory: Path) -> Iterator[str]:
    binaries = postgres_binaries()
    assert binaries, "no Postgres on this machine: install Debian's postgresql, or Homebrew's"
    place = directory / "postgres"
    place.mkdir()
    directory.chmod(0o755)
    return serve_postgres(binaries, place)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--syncs", type=int, default=60)
    parser.add_argument("--postgres", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, history(Path(name), postgres=given.postgres) as (instance, measure):
        os.environ["DESTINATION__DUCKDB__CREDENTIALS"] = f"{name}/warehouse.duckdb"

        def run(job: str, times: int = 1) -> int:
            definition = defs().resolve_job_def(job)
            for _ in range(times):
                assert definition.execute_in_process(run_config=QUIET, instance=instance).success
            return measure()

        purge.SHORTEST_KEPT = 0
        os.environ["HISTORY__KEEP_DAYS"] = "0.00001"
        tenth, half = given.syncs // 10, given.syncs // 2
        first = run("analytics_sync", tenth)
        before = run("analytics_sync", given.syncs - tenth)
        each = (before - first) / (given.syncs - tenth)
        begun = time.monotonic()
        after = run("analytics_purge")
        seconds = time.monotonic() - begun
        again = run("analytics_sync", half)
    print(f"One sync leaves {each / 1e3:,.0f} KB: by the hour {each * HOURS / 1e9:.1f} GB a year, and with a purge")
    print(f"{each * 24 * KEEP_DAYS / 1e9:.1f} GB in all. {before / 1e6:.1f} MB after {given.syncs} syncs became")
    print(f"{after / 1e6:.1f} MB by a purge of {seconds:.0f} seconds, and {again / 1e6:.1f} MB after {half} more.")


if __name__ == "__main__":
    main()
