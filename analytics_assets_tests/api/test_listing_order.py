"""Listings whose order is learned, so that a sync asks for their new part only."""

import itertools
import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal, NamedTuple

import duckdb
import pytest
from hypothesis import HealthCheck, Phase, event, example, given, settings
from hypothesis import strategies as st

from analytics_assets.api.dialects.base import Endpoint
from analytics_assets.api.settings_reader import read_settings
from analytics_assets.defs.display.errors import explain
from analytics_assets.demo.exchange import Request, Row
from analytics_assets.warehouse.session import open_session
from analytics_assets.warehouse.sync import Synced, begin_sync, sync
from analytics_assets_tests.servers.fake_api import TOKEN, FakeApi, serve
from analytics_assets_tests.support.eight import BY_NAME, EIGHT
from analytics_assets_tests.support.project import Project, metadata
from analytics_assets_tests.support.rows import MAY, activity, policy

_dialect = EIGHT.dialects[0]
_paged = Endpoint("/v2/policies", "data", _dialect.endpoints["activities"].pagination)
PAGED = replace(EIGHT, dialects=(replace(_dialect, endpoints={**_dialect.endpoints, "policies": _paged}),))
"""The eight, with pages of policies: rows that are edited."""

BY_ORDER = "what is new, by the listing's order"
FUTURE = 32_503_680_000
MIXES_UP = {"swap", "turn"}
"""No reading, whatever it asks for, is sure to see all rows if this happens meanwhile. The next one is."""
UNREADABLE = ("Either the listing changed", "does not follow the pages before", "repeats the page before")
"""What is said of a listing that changes too much while it is read."""
PAGE_SIZE = 3
TEXTS = {"activities": "message", "policies": "name"}

Way = Literal["ascending", "descending"]
Edits = Literal["never", "move a row", "leave it there"]
Kind = Literal[
    "new", "late", "too late", "future", "edit", "oldest gone", "one gone", "misplaced", "null", "swap", "turn"
]
FAMILIES: dict[Kind, str] = {
    **dict.fromkeys(("edit", "oldest gone", "one gone"), "the old part is shorter"),
    **dict.fromkeys(("misplaced", "null", "swap", "turn"), "rows to load are in the old part"),
}
"""The second is noticed, unless the first comes between the same two readings."""


class Change(NamedTuple):
    kind: Kind
    chance: int = 0
    """Seed of what it does."""


class Round(NamedTuple):
    """Changes upstream, then a sync, and perhaps one more change before its n-th request is answered."""

    changes: list[Change]
    during: Change | None = None
    before_request: int = 1


class Upstream:
    """The API's listing, in the order of its rows' times. `rows` may be brought out of it."""

    def __init__(self, api: FakeApi, count: int, way: Way, edits: Edits) -> None:
        self.resource = BY_NAME["activities" if edits == "never" else "policies"]
        self.rows = api.rows[self.resource.name]
        self.descending = way == "descending"
        self.edits = edits
        self.families: set[str] = set()
        """Of the changes since the last reading began."""
        self.now = MAY
        self.number = 0
        self.rows.clear()
        for _ in range(count):
            self.now += 60
            self.place(self.now)

    def place(self, moment: int, row: Row | None = None) -> None:
        """Lists a row where its time belongs, seen from the newest one."""
        ordered = self.rows if self.descending else self.rows[::-1]
        newer = itertools.takewhile(lambda row: (self.moment(row) or 0) > moment, ordered)
        skipped = sum(1 for _ in newer)
        self.rows.insert(skipped if self.descending else len(self.rows) - skipped, row or self.row(moment))

    def row(self, moment: int | None) -> Row:
        self.number += 1
        return activity(self.number, moment) if self.edits == "never" else policy(self.number, moment)

    def moment(self, row: Row) -> int | None:
        moment: int | None = row[str(self.resource.cursor)]
        return moment

    def edit(self, position: int) -> None:
        self.now += 1
        edited = policy(self.rows[position]["id"], self.now, name=f"Edited at {self.now}")
        if self.edits == "leave it there":
            self.rows[position] = edited
        elif self.edits == "move a row":
            del self.rows[position]
            self.place(self.now, edited)

    def change(self, change: Change) -> None:
        family = FAMILIES.get(change.kind)
        if family and self.families - {family}:
            return
        self.families |= {family} if family else set()
        chance = random.Random(change.chance)
        count = len(self.rows)
        match change.kind:
            case "new":
                for _ in range(chance.randint(1, 5)):
                    self.now += chance.randint(0, 120)
                    self.place(self.now)
            case "late" | "too late":
                seconds = (0, 300) if change.kind == "late" else (300, 3000)
                self.place(self.now - chance.randint(*seconds))
            case "future":
                self.place(FUTURE)
            case "edit":
                self.edit(chance.randrange(count))
            case "oldest gone":
                gone = chance.randint(1, count // 3 + 1)
                del self.rows[count - gone if self.descending else 0 : count if self.descending else gone]
            case "one gone":
                del self.rows[chance.randrange(count) :][:1]
            case "misplaced":
                self.rows.insert(chance.randint(0, count), self.row(self.now - chance.randint(0, 60)))
            case "null":
                self.rows.insert(chance.choice([0, count, chance.randint(0, count)]), self.row(None))
            case "swap":
                one, other = chance.randrange(count), chance.randrange(count)
                self.rows[one], self.rows[other] = self.rows[other], self.rows[one]
            case "turn":
                self.rows.reverse()
                self.descending = not self.descending


class World:
    """One API, and a warehouse of each history's own."""

    def __init__(self, api: FakeApi, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.api = api
        self.said: list[str] = []
        self._directory, self._monkeypatch = directory, monkeypatch
        self._number = itertools.count()

    def begin(self, count: int, way: Way, edits: Edits = "never") -> Upstream:
        self.said.clear()
        self.database = self._directory / f"{next(self._number)}.duckdb"
        self._monkeypatch.setenv("DESTINATION__DUCKDB__CREDENTIALS", str(self.database))
        self.upstream = Upstream(self.api, count, way, edits)
        return self.upstream

    def sync(self) -> Synced:
        self.api.requests.clear()
        with (
            open_session(read_settings(PAGED), log=self.said.append) as session,
            begin_sync(session, [self.upstream.resource]) as [pending],
        ):
            return sync(pending, session)

    def texts(self) -> dict[Any, Any]:
        """A text of each row in the table, by id."""
        name = self.upstream.resource.name
        with duckdb.connect(str(self.database)) as connection:
            found = connection.execute(f"SELECT id, {TEXTS[name]} FROM analytics.{name}").fetchall()
        texts = dict(found)
        assert len(texts) == len(found)
        return texts


@pytest.fixture(scope="module")
def served() -> Iterator[FakeApi]:
    with serve(connector=PAGED) as api:
        yield api


@pytest.fixture
def world(served: FakeApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setenv("SOURCES__ANALYTICS__BASE_URL", served.url)
    monkeypatch.setenv("SOURCES__ANALYTICS__API_KEY", TOKEN)
    monkeypatch.setenv("SOURCES__ANALYTICS__PAGE_SIZE", str(PAGE_SIZE))
    monkeypatch.setenv("SOURCES__ANALYTICS__READ_COPY", "false")
    monkeypatch.setattr("analytics_assets.api.prefetch.BATCH_ROWS", 10)
    return World(served, tmp_path, monkeypatch)


chances = st.integers(0, 2**16)


def changes(*kinds: Kind) -> st.SearchStrategy[Change]:
    return st.builds(Change, st.sampled_from(kinds), chances)


common = changes("new", "new", "new", "late", "too late", "edit", "future")
odd = changes(*FAMILIES)
rounds = st.builds(Round, st.lists(st.one_of(common, odd), max_size=3), st.none() | common | odd, st.integers(1, 20))


@settings(
    max_examples=8,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@example(way="ascending", edits="never", history=[Round([]), Round([Change("new"), Change("null", 3)])])
@example(way="descending", edits="never", history=[Round([]), Round([Change("new"), Change("misplaced", 3)])])
@example(
    way="ascending",
    edits="never",
    history=[Round([]), Round([Change("oldest gone"), Change("new")]), Round([Change("turn")])],
)
@example(
    way="descending",
    edits="never",
    history=[Round([]), Round([Change("new")], Change("new", 1), 3), Round([Change("late", 2)])],
)
@given(
    way=st.sampled_from(("ascending", "descending")),
    edits=st.sampled_from(("never", "never", "move a row", "leave it there")),
    history=st.lists(rounds, min_size=3, max_size=6),
)
def test_nothing_is_missed_that_a_whole_reading_loads(
    world: World, way: Way, edits: Edits, history: Sequence[Round]
) -> None:
    upstream = world.begin(60, way, edits)
    name, lag = upstream.resource.name, timedelta(seconds=upstream.resource.lag_seconds)
    for round_ in history:
        for change in round_.changes:
            upstream.change(change)
        left = itertools.count(1 - round_.before_request)

        def during(_: Request, round_: Round = round_, left: Iterator[int] = left) -> None:
            if round_.during and next(left) == 0:
                upstream.change(round_.during)

        earlier, upstream.families = upstream.families, set()
        before = {row["id"]: dict(row) for row in upstream.rows}
        world.api.faults[name] = [during]
        try:
            done = world.sync()
        except Exception as error:
            # The listing has changed so much meanwhile that it could not be read. The next sync does it.
            if not round_.during or not any(problem in explain(error, ()) for problem in UNREADABLE):
                raise
            upstream.families |= earlier
            continue
        finally:
            world.api.faults[name] = []
        event("by order" if done.by_order else "doubt" if world.said else "whole")
        world.said.clear()
        if round_.during and round_.during.kind in MIXES_UP:
            continue
        since = (done.stats.cursor_before - lag).timestamp() if done.stats.cursor_before else 0
        wanted = {
            row["id"]: row[TEXTS[name]]
            for row in upstream.rows
            if before.get(row["id"]) == row and (upstream.moment(row) is None or (upstream.moment(row) or 0) >= since)
        }
        assert wanted.items() <= world.texts().items()


@pytest.mark.parametrize("way", ["ascending", "descending"])
def test_a_sync_asks_for_what_is_new_and_says_what_it_doubts(world: World, way: Way) -> None:
    upstream = world.begin(300, way)
    assert not world.sync().by_order
    assert len(world.api.requests) > 150

    def new(count: int, most: int) -> None:
        for _ in range(count):
            upstream.now += 60
            upstream.place(upstream.now)
        done = world.sync()
        assert (done.by_order, done.rows_loaded, done.rows_in_table) == (True, count, upstream.number)
        assert len(world.api.requests) <= most
        assert world.said == []

    new(0, 25)
    new(10, 30)
    # Rows that are gone only move the others.
    upstream.rows[:] = upstream.rows[:-100] if upstream.descending else upstream.rows[100:]
    new(10, 40)
    new(0, 25)
    # A row of the past that has just been listed, and one without a time, in the part that is not read.
    for moment in (upstream.now, None):
        upstream.rows.insert(150, upstream.row(moment))
        done = world.sync()
        assert (done.by_order, done.rows_loaded, done.rows_in_table) == (False, 1, upstream.number)
        [said] = world.said
        assert said.startswith("activities: rows were added ")
        assert said.endswith("so everything is read instead of what is new")
        world.said.clear()
        # It breaks the order while it is there.
        assert not world.sync().by_order
        upstream.rows.pop(150)
        assert not world.sync().by_order
        new(5, 30)
    upstream.change(Change("turn"))
    assert not world.sync().by_order
    [said] = world.said
    world.said.clear()
    assert "activities" in said
    new(5, 30)
    # Events never get another time. If all of them do, where they are, it is noticed.
    upstream.now += 100_000
    upstream.rows[:] = [row | {"activityTime": row["activityTime"] + 100_000} for row in upstream.rows]
    done = world.sync()
    assert (done.by_order, done.rows_loaded) == (False, len(upstream.rows))
    [said] = world.said
    assert "a row that was known has another cursor value" in said


@pytest.mark.parametrize("way", ["ascending", "descending"])
def test_a_new_part_may_be_of_several_loads(world: World, way: Way, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCES__ANALYTICS__ROWS_PER_LOAD", "30")
    upstream = world.begin(100, way)
    world.sync()
    for new in (60, 0):
        for _ in range(new):
            upstream.now += 60
            upstream.place(upstream.now)
        done = world.sync()
        assert (done.by_order, done.rows_loaded, done.rows_in_table) == (True, new, 160)
    # The end is in doubt, when most rows are loaded already.
    for _ in range(60):
        upstream.now += 60
        upstream.place(upstream.now)
    upstream.rows.insert(150 if upstream.descending else 220, upstream.row(upstream.now - 3600))
    done = world.sync()
    assert len(world.said) == 1
    assert (done.by_order, done.rows_in_table) == (False, 221)


@pytest.mark.parametrize("way", ["ascending", "descending"])
def test_rows_that_are_edited_are_read_by_their_order_once_an_edit_has_moved_one(world: World, way: Way) -> None:
    upstream = world.begin(300, way, "move a row")
    world.sync()
    upstream.place(upstream.now)
    assert not world.sync().by_order
    for position in range(0, 300, 10):
        upstream.edit(position)
    assert not world.sync().by_order
    upstream.edit(150)
    done = world.sync()
    assert (done.by_order, done.rows_loaded, done.rows_in_table) == (True, 1, 301)
    assert len(world.api.requests) < 50
    assert world.texts() == {row["id"]: row["name"] for row in upstream.rows}


def test_a_listing_by_id_is_read_whole(world: World) -> None:
    """As long as nobody edits its rows, their times ascend with their ids."""
    upstream = world.begin(300, "ascending", "leave it there")
    world.sync()
    for positions in (range(0, 300, 10), [150], [299]):
        upstream.now += 7200
        for position in positions:
            upstream.edit(position)
        done = world.sync()
        assert (done.by_order, done.rows_loaded) == (False, len(positions))


def test_a_run_says_how_it_reads(empty_api: FakeApi, project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    empty_api.rows["activities"] = [activity(n, MAY + 60 * n) for n in range(1000)]
    first = metadata(project.sync("activities"), "activities")
    assert (first["reads"], first["listing_order"]) == (
        "everything, loads what is new",
        "ascending, out of it by 0 s at the most",
    )
    said = metadata(project.sync("activities"), "activities")
    assert (said["reads"], said["listing_order"], said["rows_loaded"]) == (BY_ORDER, first["listing_order"], 0)
    # A whole reading proves the order anew.
    empty_api.rows["activities"][3:5] = empty_api.rows["activities"][4:2:-1]
    said = metadata(project.sync("activities", config={"mode": "full"}), "activities")
    assert (said["reads"], said["rows_read"]) == ("everything", 1000)
    assert said["listing_order"] == "ascending, out of it by 60 s at the most"
    monkeypatch.setenv("SOURCES__ANALYTICS__LISTING_ORDER", "false")
    said = metadata(project.sync("activities"), "activities")
    assert said["reads"] == "everything, loads what is new"
    assert "listing_order" not in said


def test_an_edit_on_two_pages_that_leaves_the_cursor_is_there_after_the_next_sync(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCES__ANALYTICS__REQUESTS_IN_FLIGHT", "1")
    upstream = world.begin(2 * PAGE_SIZE - 1, "ascending", "leave it there")
    newest = len(upstream.rows) - 1

    def edit(request: Request) -> None:
        # The newest row ends the page before, and begins this one.
        if int(request.query["after"]) == newest:
            upstream.rows[newest] = upstream.rows[newest] | {"name": "Edited"}

    world.api.faults["policies"] = [edit]
    world.sync()
    world.api.faults["policies"] = []
    world.sync()
    assert world.texts() == {row["id"]: row["name"] for row in upstream.rows}
    assert world.texts()[newest + 1] == "Edited"
    world.sync()
    assert world.sync().rows_loaded == 0
