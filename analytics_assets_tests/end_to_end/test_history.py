"""Random histories of the API, and after each sync the tables against a model.

A history is a list of rounds: some rows change upstream, then one sync runs in one of the modes, perhaps while the API
is at fault, perhaps killed with SIGKILL at some point. The model is the product's rules in a few lines, without dlt's
state, digests, pages or SQL: which rows a sync loads, where the cursor stands then, which rows are marked as gone, and
how much of it is done at the point of a kill. Hypothesis looks for a history after which a table differs from it.

Ids are few, so that changes meet on a row. Cursor values are chosen around the edges of the lags, counted from the
newest value that the table has seen.
"""

import itertools
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, NamedTuple

import dagster as dg
import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from analytics_assets.demo.exchange import Request
from analytics_assets_tests.servers.fake_api import TOKEN, Answer, FakeApi, serve
from analytics_assets_tests.support.model import BEFORE_START, FUTURE, INITIALLY, KINDS, Kind, Mode, Model, Row
from analytics_assets_tests.support.nursery import (
    AFTER,
    DROPPED,
    MERGED,
    POINTS,
    PREPARED,
    Kill,
    Nursery,
    copied,
    nursery,
)
from analytics_assets_tests.support.project import Project, failure_message, materialized

FaultKind = Literal["500 once", "403", "HTML"]


PAGE_SIZE = 3

FAULTS: dict[FaultKind, Answer] = {
    "500 once": Answer(500, {"error": "try again"}),
    "403": Answer(403, {"error": "forbidden"}),
    "HTML": Answer(200, b"<html>Sign in</html>", {"Content-Type": "text/html"}),
}


class Change(NamedTuple):
    """A change of one row upstream; a number puts it at the table's cursor plus so many seconds."""

    resource: str
    id: int
    what: int | Literal["no cursor", "future", "before start", "edit", "revert", "delete", "restore"]


class Fault(NamedTuple):
    """What the API does instead of answering, once during a sync."""

    resource: str
    kind: FaultKind


class Round(NamedTuple):
    """Changes upstream, and the sync that follows."""

    changes: list[Change]
    mode: Mode = "incremental"
    fault: Fault | None = None
    kill: Kill | None = None


class World:
    """An API, the project that syncs it, and the models of its tables."""

    def __init__(self, api: FakeApi, project: Project, workers: Nursery) -> None:
        self.api = api
        self.project = project
        self.workers = workers
        self.models = {name: Model(kind) for name, kind in KINDS.items()}
        self.deleted: dict[str, dict[int, Row]] = {name: {} for name in KINDS}
        self.replaced: dict[str, dict[int, Row]] = {name: {} for name in KINDS}
        self.versions = 0
        self.upstream = {
            name: {id_: self._version(INITIALLY + 40 * id_ if kind.field else None) for id_ in range(1, 6)}
            for name, kind in KINDS.items()
        }

    def change(self, change: Change) -> None:
        rows, deleted = self.upstream[change.resource], self.deleted[change.resource]
        match change.what:
            case "delete":
                if change.id in rows:
                    deleted[change.id] = rows.pop(change.id)
            case "restore":
                if change.id in deleted and change.id not in rows:
                    rows[change.id] = deleted[change.id]
            case "edit":
                if change.id in rows:
                    self.replaced[change.resource][change.id] = rows[change.id]
                    rows[change.id] = self._version(rows[change.id].moment)
            case "revert":
                if change.id in rows:
                    rows[change.id] = self.replaced[change.resource].get(change.id, rows[change.id])
            case _:
                rows[change.id] = self._version(self._moment(change))

    def sync(self, mode: Mode, fault: Fault | None, kill: Kill | None) -> None:
        """Runs a sync and compares outcome and tables."""
        self._serve(fault)
        if kill:
            self._sync_in_worker(mode, fault, kill)
            return
        result = self.project.run(*KINDS, config={"mode": mode})
        succeeded = [name for name in KINDS if self._expect(name, mode, fault)]
        message = failure_message(result)
        assert (materialized(result), result.success) == (succeeded, len(succeeded) == len(KINDS)), message
        self._compare(self.project, message)

    def _sync_in_worker(self, mode: Mode, fault: Fault | None, kill: Kill) -> None:
        newest = self._newest_load(self.project, kill.resource)
        code = self.workers.run(mode, kill)
        with copied(self.project.database) as copy:
            project = replace(self.project, database=copy)
            if code == -signal.SIGKILL:
                for name in itertools.takewhile(lambda name: name != kill.resource, KINDS):
                    self._expect(name, mode, fault)
                model = self.models[kill.resource]
                model.sync(self.upstream[kill.resource], mode, kill.point)
                if kill.point == MERGED:
                    # Which of the rows in a listing are news is not the model's business.
                    model.torn = model.torn or self._newest_load(project, kill.resource) != newest
            else:
                # The point was not reached.
                assert kill.point in {DROPPED, PREPARED, MERGED} or (fault and fault.resource == kill.resource)
                succeeded = [self._expect(name, mode, fault) for name in KINDS]
                assert code == (0 if all(succeeded) else 2), self.workers.last_words()
            self._compare(project, self.workers.last_words())

    def _compare(self, project: Project, message: str) -> None:
        for name, model in self.models.items():
            found = self._table(project, name)
            wrong = [(id_, found.get(id_), model.rows.get(id_)) for id_ in sorted(found.keys() | model.rows.keys())]
            wrong = [(id_, has, should) for id_, has, should in wrong if has != should]
            assert not wrong, f"{name}: (id, row in the table, row in the model) {wrong} {message}"

    def _version(self, moment: int | None) -> Row:
        self.versions += 1
        return Row(f"version {self.versions}", moment)

    def _moment(self, change: Change) -> int | None:
        if KINDS[change.resource].field is None or change.what == "no cursor":
            return None
        if isinstance(change.what, int):
            return self.models[change.resource].cursor + change.what
        return FUTURE if change.what == "future" else BEFORE_START

    def _serve(self, fault: Fault | None) -> None:
        for name, kind in KINDS.items():
            self.api.rows[name] = [_as_sent(kind, id_, row) for id_, row in self.upstream[name].items()]
            self.api.faults[name].clear()
        if fault:
            # In the middle of a listing, if it has a middle.
            page = int(fault.resource != "policies" and bool(self.upstream[fault.resource]))
            self.api.faults[fault.resource].append(_once(FAULTS[fault.kind], page))

    def _expect(self, name: str, mode: Mode, fault: Fault | None) -> bool:
        if fault and fault.resource == name and fault.kind != "500 once":
            return False
        return self.models[name].sync(self.upstream[name], mode)

    def _table(self, project: Project, name: str) -> dict[int, Row]:
        if not _exists(project, name):
            return {}
        kind = KINDS[name]
        gone = "deleted_at IS NOT NULL" if kind.marked_in else "false"
        rows = project.query(f"SELECT id, {kind.content}, epoch({kind.column}), {gone} FROM analytics.{name}")
        table = {id_: Row(content, moment, gone) for id_, content, moment, gone in rows}
        assert len(table) == len(rows), f"{name} holds an id twice: {rows}"
        return table

    def _newest_load(self, project: Project, name: str) -> str | None:
        if not _exists(project, name):
            return None
        [[newest]] = project.query(f"SELECT max(_dlt_load_id) FROM analytics.{name}")
        return None if newest is None else str(newest)


def _exists(project: Project, name: str) -> bool:
    """A resource that has had no row to load yet has no table."""
    query = f"SELECT 1 FROM information_schema.tables WHERE table_schema = 'analytics' AND table_name = '{name}'"
    return bool(project.query(query))


def _as_sent(kind: Kind, id_: int, row: Row) -> dict[str, Any]:
    fields: dict[str, Any] = {kind.content: row.content}
    if kind.field:
        moment = row.moment
        fields[kind.field] = None if moment is None else datetime.fromtimestamp(moment, UTC).isoformat()
    return kind.build(id_, **fields)


def _once(answer: Answer, requests_before: int) -> Callable[[Request], Answer | None]:
    answers = iter([*[None] * requests_before, answer])
    return lambda _: next(answers, None)


@contextmanager
def _world(workers: Nursery) -> Iterator[World]:
    with (
        tempfile.TemporaryDirectory() as directory,
        pytest.MonkeyPatch.context() as patch,
        serve() as api,
        dg.DagsterInstance.ephemeral() as instance,
    ):
        database = Path(directory) / "warehouse.duckdb"
        patch.setenv("SOURCES__ANALYTICS__BASE_URL", api.url)
        patch.setenv("SOURCES__ANALYTICS__API_KEY", TOKEN)
        patch.setenv("SOURCES__ANALYTICS__PAGE_SIZE", str(PAGE_SIZE))
        patch.setenv("DESTINATION__DUCKDB__CREDENTIALS", str(database))
        yield World(api, Project(instance, database), workers)


@pytest.fixture
def workers() -> Iterator[Nursery]:
    with nursery() as found:
        yield found


# Around 0 and both lags, on either side.
OFFSETS = (1, 400, 0, -1, -59, -60, -61, -299, -300, -301, -5_000)

changes = st.builds(
    Change,
    st.sampled_from(sorted(KINDS)),
    st.integers(1, 7),
    st.one_of(
        st.sampled_from(OFFSETS),
        st.sampled_from(["delete", "edit", "revert", "restore"]),
        st.sampled_from(["no cursor", "future", "before start"]),
    ),
)
rounds = st.builds(
    Round,
    st.lists(changes, min_size=1, max_size=8),
    st.sampled_from(["incremental", "incremental", "incremental", "full", "full", "rebuild"]),
    st.none() | st.builds(Fault, st.sampled_from(sorted(KINDS)), st.sampled_from(sorted(FAULTS))),
    st.none() | st.builds(Kill, st.sampled_from(sorted(KINDS)), st.sampled_from(POINTS)),
)

KILLED_IN_LOAD = [
    Round([]),
    Round([Change("policies", 5, "edit"), Change("policies", 6, 1)], kill=Kill("policies", PREPARED)),
    Round([Change("policies", 7, 1)], kill=Kill("policies", MERGED)),
    Round([Change("policies", 5, "revert"), Change("policies", 1, "edit"), Change("activities", 6, -300)]),
]
KILLED_BEFORE_THE_MARKS = [
    Round([]),
    Round([Change("organizations", 1, "delete")], "full", kill=Kill("organizations", AFTER)),
    Round([Change("policies", 1, "delete"), Change("policies", 6, 400)], "full", kill=Kill("policies", AFTER)),
    Round([Change("policies", 7, -60)]),
    Round([Change("policies", 3, -61)], "full"),
]
KILLED_IN_A_REBUILD = [
    Round([]),
    Round([Change("policies", 1, "delete")], "rebuild", kill=Kill("policies", DROPPED)),
    Round([Change("policies", 1, "restore")], kill=Kill("policies", PREPARED)),
    Round([Change("activities", 6, -301)]),
    Round([Change("activities", 5, "delete")], "rebuild", kill=Kill("activities", MERGED)),
    Round([Change("activities", 5, "restore")]),
]


# Without shrinking, which takes minutes, as each attempt is a few syncs: add Phase.shrink to see a short history.
@pytest.mark.skipif(sys.platform != "linux", reason="forks, which is safe with these libraries on Linux only")
@settings(
    max_examples=4,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    # One nursery is for all histories.
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@example(history=[Round([]), Round([Change("policies", 6, -60), Change("activities", 6, -300)])])
@example(history=[Round([Change("policies", 6, "future")]), Round([Change("policies", 7, 1)])])
@example(history=[Round([]), Round([Change("policies", 1, "delete"), Change("organizations", 1, "delete")], "full")])
@example(history=KILLED_IN_LOAD)
@example(history=KILLED_BEFORE_THE_MARKS)
@example(history=KILLED_IN_A_REBUILD)
@given(history=st.lists(rounds, min_size=3, max_size=5))
def test_tables_are_what_the_history_of_the_api_makes_them(workers: Nursery, history: Sequence[Round]) -> None:
    with _world(workers) as world:
        for changed, mode, fault, kill in history:
            for change in changed:
                world.change(change)
            world.sync(mode, fault, kill)
        if history[-1].kill:
            world.sync("incremental", None, None)
