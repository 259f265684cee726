"""A worker that is killed at any moment costs nothing but its own work.

A sync in a random mode is killed with SIGKILL again and again, at random moments of dlt's three steps (extract,
normalize, load) and of what the project does after them, while the API's rows change in between. After the next sync
that is left alone, the tables are equal to what the API serves.
"""

import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import cycle, pairwise
from pathlib import Path
from typing import Any

import duckdb
import pytest

from analytics_assets_tests.servers.fake_api import FakeApi
from analytics_assets_tests.support.nursery import AFTER, DROPPED, END, STEPS, Kill, Note, Nursery, copied, nursery
from analytics_assets_tests.support.rows import activity, organization, policy

SCHEMAS = ("analytics", "analytics_staging")
CONTENT = {"organizations": "name", "policies": "name", "activities": "message"}
MODES = {"incremental": 60, "full": 20, "rebuild": 20}
"""How many of a hundred attempts go to each."""
KILLS = 50
ATTEMPTS_A_ROUND = 8
MOST_ATTEMPTS = 100
PATIENCE = 60.0
MOST_VERSIONS = (3, 6)
"""Of a resource's schema, by dataset: that of the load into an empty table, which is appended, that of those which are
merged, and that of those of which it is not known that no id is there twice. Among the staging tables each with dlt's
table of pipeline states and without it, as a rebuild that dies when it has dropped the table, and not yet its staging
table, leaves what is there behind."""
SEED = 20240501
START = datetime(2024, 5, 1, tzinfo=UTC)


@dataclass
class Workers:
    """Workers of a nursery, each for one sync of a database.

    `stretches` are, by mode, the steps of the last worker that was left alone, in order, with their seconds.
    """

    nursery: Nursery
    database: Path
    patch: pytest.MonkeyPatch
    stretches: dict[str, list[tuple[str, float]]] = field(default_factory=dict)
    killed_in: Counter[tuple[str, str]] = field(default_factory=Counter)

    def sync(self, mode: str) -> None:
        self._start(mode)
        code = self.nursery.wait()
        assert code == 0, self.nursery.last_words()
        self.stretches[mode] = [(step, later - earlier) for (step, earlier), (_, later) in pairwise(self._notes())]

    def kill(self, chance: random.Random) -> bool:
        """Kills a worker at a random moment of a random step. Returns whether it was still at work then."""
        [mode] = chance.choices(list(MODES), list(MODES.values()))
        stretches = self.stretches[mode]
        weights = [3 if step in STEPS else 1 for step, _ in stretches]
        [stretch] = chance.choices(range(len(stretches)), weights)
        delay = chance.uniform(0, stretches[stretch][1])
        pid = self._start(mode)
        self._wait_for(stretch)
        time.sleep(delay)
        os.kill(pid, signal.SIGKILL)
        code = self.nursery.wait()
        assert code in {0, -signal.SIGKILL}, self.nursery.last_words()
        if code == 0:
            return False
        self.killed_in[mode, self._notes()[-1].point] += 1
        return True

    def kills(self) -> int:
        """Kills in the middle of one of dlt's steps."""
        return sum(self.killed_in[mode, step] for mode in MODES for step in STEPS)

    def _wait_for(self, stretch: int) -> None:
        deadline = time.monotonic() + PATIENCE
        while not (notes := self._notes()) or (len(notes) <= stretch and notes[-1].point != END):
            assert time.monotonic() < deadline, self.nursery.last_words()
            time.sleep(0.003)

    def _notes(self) -> list[Note]:
        return [note for note in self.nursery.notes() if note.point in {*STEPS, AFTER, END}]

    def _start(self, mode: str) -> int:
        self.patch.setenv("DESTINATION__DUCKDB__CREDENTIALS", str(self.database))
        return self.nursery.start(mode)


@pytest.fixture
def workers(tmp_path: Path, empty_api: FakeApi, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workers]:
    monkeypatch.setenv("SOURCES__ANALYTICS__PAGE_SIZE", "20")
    with nursery() as found:
        yield Workers(found, tmp_path / "unharmed.duckdb", monkeypatch)


@dataclass
class Changes:
    """Fills an API and changes it, always in the same way."""

    api: FakeApi
    chance: random.Random
    moment: datetime = START
    served: int = 0

    def fill(self) -> None:
        self.api.rows["organizations"] = [organization(n) for n in range(1, 61)]
        self.api.rows["policies"] = [policy(n, self._tick()) for n in range(1, 41)]
        self.api.rows["activities"] = [activity(n, self._tick()) for n in range(1, 301)]
        self.served = 300

    def change(self) -> None:
        """Adds rows to each resource, edits some, deletes a few organizations and a policy."""
        self._change_organizations()
        self._change_policies()
        self._change_activities()

    def _change_organizations(self) -> None:
        rows = self.api.rows["organizations"]
        for row in self.chance.sample(rows, 3):
            rows.remove(row)
        rows += [organization(number) for number in self._numbers(3)]
        for row in self.chance.sample(rows, 2):
            row["name"] = f"Renamed {self._numbers(1)[0]}"

    def _change_policies(self) -> None:
        rows = self.api.rows["policies"]
        rows.remove(self.chance.choice(rows))
        for row in self.chance.sample(rows, 3):
            row.update(name=f"Renamed {self._numbers(1)[0]}", updated=self._tick())
        rows += [policy(number, self._tick()) for number in self._numbers(2)]

    def _change_activities(self) -> None:
        rows = self.api.rows["activities"]
        # Rows that appear or change behind the cursor are within its lag of 300 s.
        late = (self.moment - timedelta(seconds=200)).isoformat()
        rows[-1]["message"] = f"Corrected {self._numbers(1)[0]}"
        rows += [activity(number, late) for number in self._numbers(1)]
        rows += [activity(number, self._tick()) for number in self._numbers(6)]

    def _tick(self) -> str:
        self.moment += timedelta(seconds=30)
        return self.moment.isoformat()

    def _numbers(self, count: int) -> list[int]:
        self.served += count
        return list(range(self.served - count + 1, self.served + 1))


@contextmanager
def opened(database: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    with copied(database) as copy, closing(duckdb.connect(str(copy))) as connection:
        yield connection


def tables(connection: duckdb.DuckDBPyConnection) -> set[tuple[str, str]]:
    query = "SELECT table_schema, table_name FROM information_schema.tables"
    return {(schema, name) for schema, name in connection.execute(query).fetchall()}


def rows_of(connection: duckdb.DuckDBPyConnection, resource: str) -> list[tuple[Any, ...]]:
    live = "true" if resource == "activities" else "deleted_at IS NULL"
    query = f"SELECT id, {CONTENT[resource]} FROM analytics.{resource} WHERE {live} ORDER BY id"
    return connection.execute(query).fetchall()


def expect_what_the_api_serves(database: Path, api: FakeApi, mode: str) -> None:
    """After a sync that was left alone. A policy that is gone upstream is live until the next full sync."""
    with opened(database) as connection:
        for resource, content in CONTENT.items():
            expected = sorted((row["id"], row[content]) for row in api.rows[resource])
            found = rows_of(connection, resource)
            if resource == "policies" and mode != "full":
                served = {key for key, _ in expected}
                found = [row for row in found if row[0] in served]
            assert found == expected, resource


def marked_policies(database: Path) -> int:
    with opened(database) as connection:
        return len(connection.execute("SELECT 1 FROM analytics.policies WHERE deleted_at IS NOT NULL").fetchall())


def expect_no_id_twice(database: Path) -> None:
    """Also right after a kill, and whatever it has left of the file."""
    with opened(database) as connection:
        for resource in {name for schema, name in tables(connection) if schema == "analytics"} & set(CONTENT):
            assert twice(connection, f"analytics.{resource}") == []


def expect_no_remains(database: Path, unharmed: Path) -> None:
    """The tables of a warehouse in which nothing was ever killed, and no row in the staging tables.

    A staging table is there once there was something to merge with.
    """
    with opened(unharmed) as connection:
        expected = tables(connection)
    with opened(database) as connection:
        found = tables(connection)
        staging_tables = {("analytics_staging", resource) for resource in CONTENT}
        assert found | staging_tables == expected
        for schema, most in zip(SCHEMAS, MOST_VERSIONS, strict=True):
            versions = schema_versions(connection, schema)
            assert set(versions) <= set(CONTENT), schema
            assert max(versions.values(), default=0) <= most, (schema, versions)
        assert set(schema_versions(connection, "analytics")) == set(CONTENT)
        assert twice(connection, "analytics._dlt_loads", "load_id") == []
        for schema, table in staging_tables & found:
            assert connection.execute(f"SELECT count(*) FROM {schema}.{table}").fetchone() == (0,)


def twice(connection: duckdb.DuckDBPyConnection, table: str, key: str = "id") -> list[tuple[Any, ...]]:
    return connection.execute(f"SELECT {key} FROM {table} GROUP BY {key} HAVING count(*) > 1").fetchall()


def schema_versions(connection: duckdb.DuckDBPyConnection, schema: str) -> dict[str, int]:
    """How many versions of each resource's schema dlt has stored."""
    query = f"SELECT schema_name, count(*) FROM {schema}._dlt_version GROUP BY schema_name"
    return {name.removeprefix("analytics_"): count for name, count in connection.execute(query).fetchall()}


def versions_of_organizations(database: Path) -> list[int]:
    with opened(database) as connection:
        return [schema_versions(connection, schema).get("organizations", 0) for schema in SCHEMAS]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="forks, which is safe with these libraries on Linux only")
def test_rebuilds_that_die_between_table_and_staging_table_leave_nothing_that_grows(
    workers: Workers, empty_api: FakeApi
) -> None:
    changes = Changes(empty_api, random.Random(SEED))
    changes.fill()
    workers.sync("incremental")
    seen = []
    for _ in range(5):
        changes.change()
        workers.sync("incremental")
        assert workers.nursery.run("rebuild", Kill("organizations", DROPPED)) == -signal.SIGKILL
        workers.sync("incremental")
        seen.append(versions_of_organizations(workers.database))
    assert {table for table, _ in seen} == {1}
    assert seen[-1] == seen[-2] == [1, 1]
    workers.sync("rebuild")
    assert versions_of_organizations(workers.database) == [1, 1]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="forks, which is safe with these libraries on Linux only")
def test_workers_killed_at_any_moment_lose_no_row_and_double_none(workers: Workers, empty_api: FakeApi) -> None:
    chance = random.Random(SEED)
    changes = Changes(empty_api, chance)
    changes.fill()
    for mode in (*MODES, "incremental"):
        workers.sync(mode)
        changes.change()
    unharmed = workers.database
    workers.database = unharmed.with_name("warehouse.duckdb")
    left_alone = cycle(("incremental", "full"))
    marked = 0
    for attempt in range(1, MOST_ATTEMPTS + 1):
        changes.change()
        if workers.kill(chance):
            expect_no_id_twice(workers.database)
        if attempt % ATTEMPTS_A_ROUND == 0:
            mode = next(left_alone)
            workers.sync(mode)
            expect_what_the_api_serves(workers.database, empty_api, mode)
            expect_no_remains(workers.database, unharmed)
            marked += marked_policies(workers.database)
            if workers.kills() >= KILLS:
                break
    assert workers.kills() >= KILLS, workers.killed_in
    assert {step for _, step in workers.killed_in} >= set(STEPS), workers.killed_in
    assert {mode for mode, _ in workers.killed_in} == set(MODES), workers.killed_in
    assert marked
