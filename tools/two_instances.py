"""Two instances sync the same tables at once, one what is new and the other everything, while rows change upstream.

    python -m tools.two_instances [--rounds 50] [postgres pgbouncer mariadb sqlite delta iceberg]

The instances are processes that share nothing but the warehouse. First, when it is empty, eight load into it at once.
In each round rows are added, edited and deleted before both begin, and more of them while the API's answers are under
way. Each answer has the rows of the moment at which it was asked for, and comes up to `SLOWEST` seconds later. Then a
sync of what is new must bring the tables to what the API has.

"Lost" are rows of the API that a table lacks, or has in an old version, and "duplicated" are ids that a table holds
more than once. A row that was deleted upstream may be live until the next round reads everything. With all warehouses,
it writes the table of docs/reliability.md.

It needs Debian's postgresql, pgbouncer and mariadb-server.
"""

import argparse
import os
import random
import shutil
import sqlite3
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import psycopg2
from psycopg2.extensions import parse_dsn
from sqlalchemy import create_engine, text

from analytics_assets.demo.exchange import Request
from analytics_assets_tests.servers.fake_api import TOKEN, Answer, FakeApi, serve
from analytics_assets_tests.support import rows as make
from analytics_assets_tests.support.lake import Lake
from analytics_assets_tests.support.mariadb import mariadb_binaries, serve_mariadb
from analytics_assets_tests.support.postgres import free_port, postgres_binaries, serve_postgres
from analytics_assets_tests.support.syncing import Syncing, syncing
from tools.faults import put

SLOWEST = 0.3
RESOURCES = ("organizations", "policies", "activities")
CURSORS = {"policies": "updated", "activities": "activityTime"}
NAMES = {"activities": "message"}
MAKERS = {"organizations": make.organization, "policies": make.policy, "activities": make.activity}

TITLES = {
    "postgres": "Postgres",
    "pgbouncer": "Postgres behind PgBouncer, in transaction mode",
    "mariadb": "MariaDB",
    "sqlite": "SQLite",
    "delta": "Delta tables in a directory, which have no lock",
    "iceberg": "Iceberg tables in a directory, which have no lock",
}
COLUMNS = (
    "rounds",
    "syncs",
    "waited",
    "read once more",
    "failed",
    "false shrunk",
    "lost",
    "duplicated",
    "live rows marked",
)

Query = Callable[[str], list[tuple[Any, ...]]]


def now() -> str:
    return datetime.now(UTC).isoformat()


class Upstream:
    """Rows that change."""

    def __init__(self, api: FakeApi, seed: int) -> None:
        self._api, self._random = api, random.Random(seed)
        self._next = 1
        for name in RESOURCES:
            api.rows[name] = []
            api.faults[name].append(self.answer_late)
        for _ in range(30):
            self.change(growing=True)

    def change(self, *, growing: bool = False) -> None:
        """Adds a row to each resource, edits one and deletes one."""
        for name, maker in MAKERS.items():
            rows = self._api.rows[name]
            fields = {CURSORS[name]: now()} if name in CURSORS else {}
            new = maker(self._next) | fields
            if name == "activities":
                rows.append(new)
                continue
            left = list(rows)
            if left and not growing:
                left.remove(self._random.choice(left))
            if left:
                edited = self._random.randrange(len(left))
                left[edited] = left[edited] | {"name": f"Edited at {time.time()}"} | fields
            # At once: answers are given meanwhile.
            rows[:] = [*left, new]
        self._next += 1

    def answer_late(self, request: Request) -> Answer:
        """Answers with the rows of now, a little later, and maybe changes them meanwhile."""
        reply = self._api.wire_format.answer(request, datetime.now(UTC))
        time.sleep(self._random.random() * SLOWEST)
        if self._random.random() < 0.3:
            self.change()
        return Answer(reply.status, reply.body)


def wrong(api: FakeApi, query: Query) -> Counter[str]:
    """What is wrong in the tables."""
    found: Counter[str] = Counter()
    for name, rows in api.rows.items():
        if name not in RESOURCES:
            continue
        text_ = NAMES.get(name, "name")
        table = query(f"SELECT id, {text_} FROM analytics.{name}")
        versions: dict[Any, Any] = dict(table)
        found["duplicated"] += len(table) - len(versions)
        missing = [row for row in rows if versions.get(row["id"]) != row[text_]]
        found["lost"] += len(missing)
        if name == "activities":
            continue
        marked = {id_ for (id_,) in query(f"SELECT id FROM analytics.{name} WHERE deleted_at IS NOT NULL")}
        found["live rows marked"] += len(marked & {row["id"] for row in rows})
    return found


def try_warehouse(kind: str, directory: Path, rounds: int) -> Counter[str]:
    """Runs the rounds, and counts what is wrong."""
    counts: Counter[str] = Counter()
    with serve() as api, ExitStack() as stack:
        configured, query = stack.enter_context(SERVERS[kind](directory))
        upstream = Upstream(api, seed=len(kind))
        environment = {**os.environ, **configured, "DLT_PROJECT_DIR": str(directory), "DLT_DATA_DIR": str(directory)}
        environment |= {"SOURCES__ANALYTICS__BASE_URL": api.url, "SOURCES__ANALYTICS__API_KEY": TOKEN}
        # One page, as a listing that changes faster than it can be read would fail.
        environment |= {"SOURCES__ANALYTICS__PAGE_SIZE": "1000"}
        environment |= {"RUNTIME__DLTHUB_TELEMETRY": "false", "RUNTIME__LOG_LEVEL": "CRITICAL"}
        with ExitStack() as first:
            eight = [first.enter_context(syncing(environment)) for _ in range(8)]
            note(counts, eight, [{"resources": [name]} for name in (*RESOURCES, *RESOURCES, *RESOURCES[:2])])
        instances = [stack.enter_context(syncing(environment)) for _ in range(2)]
        for each in range(rounds):
            upstream.change()
            note(counts, instances, [{"resources": RESOURCES}, {"resources": RESOURCES, "everything": True}])
            api.faults = {name: [] for name in api.faults}
            note(counts, instances[:1], [{"resources": RESOURCES}])
            counts += wrong(api, query)
            counts["rounds"] += 1
            print(f"{kind} {each + 1}: {dict(counts)}", flush=True)
            for name in RESOURCES:
                api.faults[name].append(upstream.answer_late)
    return counts


def note(counts: Counter[str], instances: list[Syncing], syncs: list[dict[str, Any]]) -> None:
    """Runs syncs at once, one in each instance, and counts what they say."""
    for instance, sync in zip(instances, syncs, strict=True):
        instance.begin(**sync)
    for instance in instances[: len(syncs)]:
        answer = instance.end()
        counts["syncs"] += 1
        counts["read once more"] += sum("read once more" in line for line in answer["said"])
        counts["waited"] += sum(line.startswith("Waiting") for line in answer["said"])
        for why in answer["failed"].values():
            counts["false shrunk" if "lacks" in why else "failed"] += 1
            print(why, flush=True)


def query_postgres(url: str, sql: str) -> list[tuple[Any, ...]]:
    with closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchall()


@contextmanager
def postgres(directory: Path) -> Iterator[tuple[Mapping[str, str], Query]]:
    binaries = postgres_binaries()
    assert binaries, "install Debian's postgresql"
    with contextmanager(serve_postgres)(binaries, directory) as url:
        yield (
            {"DESTINATION_TYPE": "postgres", "DESTINATION__POSTGRES__CREDENTIALS": url},
            partial(query_postgres, url),
        )


@contextmanager
def pgbouncer(directory: Path) -> Iterator[tuple[Mapping[str, str], Query]]:
    """Postgres behind PgBouncer, which gives a client another connection for each transaction."""
    behind = directory / "postgres"
    behind.mkdir()
    directory.chmod(0o755)
    with postgres(behind) as (_, query):
        parts = parse_dsn(query.args[0])  # type: ignore[attr-defined] # it is partial
        server = " ".join(f"{key}={value}" for key, value in parts.items())
        user, port = "nobody", free_port()
        (directory / "pgbouncer.ini").write_text(PGBOUNCER.format(server=server, port=port), encoding="utf-8")
        command = [shutil.which("pgbouncer") or "/usr/sbin/pgbouncer", str(directory / "pgbouncer.ini")]
        with (directory / "pgbouncer.log").open("w") as log:
            process = subprocess.Popen(command, user=user if os.geteuid() == 0 else None, stdout=log, stderr=log)
        url = f"postgresql://loader:pw-canary@127.0.0.1:{port}/warehouse"
        try:
            wait_for(lambda: query_postgres(url, "SELECT 1"))
            yield {"DESTINATION_TYPE": "postgres", "DESTINATION__POSTGRES__CREDENTIALS": url}, query
        finally:
            process.terminate()
            process.wait()


PGBOUNCER = """
[databases]
warehouse = {server}

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
auth_type = any
pool_mode = transaction
default_pool_size = 30
ignore_startup_parameters = options,extra_float_digits
"""


@contextmanager
def mariadb(directory: Path) -> Iterator[tuple[Mapping[str, str], Query]]:
    binary = mariadb_binaries()
    assert binary, "install Debian's mariadb-server"
    with contextmanager(serve_mariadb)(binary, directory) as url:
        engine = create_engine(url)

        def query(sql: str) -> list[tuple[Any, ...]]:
            with engine.connect() as connection:
                found = connection.execute(text(sql))
                return [tuple(row) for row in found] if found.returns_rows else []

        query("CREATE DATABASE warehouse")
        yield {"DESTINATION_TYPE": "sqlalchemy", "DESTINATION__SQLALCHEMY__CREDENTIALS": f"{url}warehouse"}, query


@contextmanager
def sqlite(directory: Path) -> Iterator[tuple[Mapping[str, str], Query]]:
    def query(sql: str) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(directory / "warehouse__analytics.db")) as connection:
            return connection.execute(sql.replace("analytics.", "")).fetchall()

    url = f"sqlite:///{directory}/warehouse.db"
    yield {"DESTINATION_TYPE": "sqlalchemy", "DESTINATION__SQLALCHEMY__CREDENTIALS": url}, query


@contextmanager
def lake(table_format: str, directory: Path) -> Iterator[tuple[Mapping[str, str], Query]]:
    """Tables of files, which have no lock: of two runs that meet, one fails, and the next sync makes up for both."""
    found = Lake(table_format, str(directory / "lake"))
    found.create()

    def query(sql: str) -> list[tuple[Any, ...]]:
        with found.connect(list(RESOURCES)) as connection:
            return connection.execute(sql.replace("analytics.", "")).fetchall()

    yield found.environment, query


SERVERS: Mapping[str, Callable[[Path], Any]] = {
    "postgres": postgres,
    "pgbouncer": pgbouncer,
    "mariadb": mariadb,
    "sqlite": sqlite,
    "delta": partial(lake, "delta"),
    "iceberg": partial(lake, "iceberg"),
}


def wait_for(ready: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            ready()
        except Exception:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
        else:
            return


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("warehouses", nargs="*", choices=[*SERVERS, []], default=list(SERVERS))
    parser.add_argument("--rounds", type=int, default=50)
    arguments = parser.parse_args()
    found = {}
    for kind in arguments.warehouses:
        with tempfile.TemporaryDirectory(prefix="two_instances_") as name:
            found[kind] = try_warehouse(kind, Path(name), arguments.rounds)
    lines = [
        f"| warehouse | {' | '.join(COLUMNS)} |",
        f"|---|{'---|' * len(COLUMNS)}",
        *(
            f"| {TITLES[kind]} | {' | '.join(str(counts[name]) for name in COLUMNS)} |"
            for kind, counts in found.items()
        ),
    ]
    print("\n".join(lines))
    if found.keys() == SERVERS.keys():
        put("two instances", lines)


if __name__ == "__main__":
    main()
