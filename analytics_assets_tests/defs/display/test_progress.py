"""What a run says while it works, at its end, and on a terminal."""

import threading
from typing import Any

import dagster as dg
import pytest

from analytics_assets.demo.exchange import Request
from analytics_assets_tests.servers.fake_api import IN_TURN, PATHS, Answer, FakeApi
from analytics_assets_tests.support.project import Project
from analytics_assets_tests.support.rows import organization
from analytics_assets_tests.support.waiting import until

PATIENCE = 120
"""Seconds after which a test gives up on a line."""


class Log:
    """The lines of the project's runs, and a way to wait for one."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._changed = threading.Condition()

    def write(self, line: str) -> None:
        with self._changed:
            self.lines.append(line)
            self._changed.notify_all()

    def wait_for(self, text: str) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: any(text in line for line in self.lines), PATIENCE)

    def about(self, resource: str) -> list[str]:
        return [line for line in self.lines if line.startswith(f"{resource}: ") and " rows/s" in line]


@pytest.fixture
def log(project: Project, monkeypatch: pytest.MonkeyPatch) -> Log:
    """The run's log, as it is written; a resource that takes a moment counts as a slow one."""
    monkeypatch.setattr("analytics_assets.defs.display.progress.EVERY", 0.05)
    log = Log()
    store = project.instance.handle_new_event

    def handle_new_event(event: dg.EventLogEntry, **options: Any) -> None:
        store(event, **options)
        log.write(event.user_message)

    monkeypatch.setattr(project.instance, "handle_new_event", handle_new_event)
    return log


def summary(log: Log) -> dict[str, list[str]]:
    """The cells of the table at the end of a run, by resource."""
    [table] = [line for line in log.lines if line.startswith("What this run did:")]
    head, _, *lines = table.splitlines()[1:]
    assert len({len(line) for line in lines}) == 1
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in (head, *lines)]
    assert cells[0][:5] == ["resource", "outcome", "loaded", "read", "deleted"]
    assert cells[0][5:] == ["rescued", "requests", "retries", "seconds"]
    assert {row[5] for row in cells[1:]} == {"0"}
    return {row[0]: row[1:5] + row[6:-1] for row in cells[1:] if float(row[-1]) >= 0}


def test_a_slow_resource_is_reported_while_nothing_comes_and_when_it_has_come(
    api: FakeApi, project: Project, log: Log
) -> None:
    def slow(request: Request) -> None:
        if request.query["after"] != "0":
            assert log.wait_for("organizations: reading: ")

    api.faults["organizations"].append(slow)
    project.sync("organizations", "roles")
    assert log.about("organizations")[0].startswith("organizations: reading: 1 page, 0 rows, 0 rows/s")
    assert log.about("organizations")[-1].startswith("organizations: loading: 4 pages, 45 rows, ")


def test_what_is_left_is_estimated_from_a_last_run_of_the_same_kind(api: FakeApi, project: Project, log: Log) -> None:
    project.sync("organizations")

    def wait_for_a_line(_: Request) -> None:
        until(lambda: len(log.about("organizations")) > said, "line")

    api.faults["organizations"] = [wait_for_a_line]
    for mode, is_estimated in (("incremental", True), ("full", False)):
        said = len(log.about("organizations"))
        project.sync("organizations", config={"mode": mode})
        first = log.about("organizations")[said]
        assert ("45 of 45 rows left, if there are as many as last time" in first) is is_estimated


def test_a_wait_is_reported_with_what_is_waited_for(api: FakeApi, project: Project, log: Log) -> None:
    api.answer_with("roles", Answer(429, headers={"Retry-After": "1"}))
    project.sync("roles")
    assert "for retry 1 of 3 after 429 Too Many Requests, as Retry-After asks" in log.about("roles")[0]
    assert "retries: 1, after 1 s of waiting" in log.about("roles")[-1]
    assert " for retry " not in log.about("roles")[-1]


def test_another_resources_retry_after_is_a_wait_too(api: FakeApi, project: Project, log: Log) -> None:
    def asks_for_patience(request: Request) -> Answer | None:
        roles_were_asked.set()
        return Answer(429, headers={"Retry-After": "3"}) if len(api.asked("roles")) == 1 else None

    def after_that(request: Request) -> Answer | None:
        if request.query["after"] == "0":
            roles_were_asked.wait(PATIENCE)
        return None

    roles_were_asked = threading.Event()
    api.faults["roles"].append(asks_for_patience)
    api.faults["organizations"].append(after_that)
    project.sync("organizations", "roles")
    assert any("for its turn (requests_per_second, or Retry-After of another request)" in line for line in log.lines)


def test_what_is_left_is_reported_where_the_api_says_how_many_rows_there_are(
    empty_api: FakeApi, project: Project, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("analytics_assets.api.prefetch.BATCH_ROWS", 20)
    rows = [organization(number) for number in range(1, 61)]

    def with_total(request: Request) -> Answer:
        after = int(request.query["after"])
        if after > 20:
            assert log.wait_for("organizations: reading: ")
        return Answer(body={"data": rows[after : after + 20], "total": len(rows)})

    empty_api.faults["organizations"].append(with_total)
    project.sync("organizations")
    left = [line.split(" rows left")[0].split(", ")[-1] for line in log.about("organizations")]
    assert left[0] in {"60 of 60", "40 of 60", "21 of 60"}
    assert left[-1] == "0 of 60"


def test_quick_resources_have_no_lines(
    api: FakeApi, project: Project, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("analytics_assets.defs.display.progress.EVERY", PATIENCE)
    project.sync()
    assert [log.about(resource) for resource in PATHS] == [[]] * len(PATHS)


def test_the_table_at_the_end_has_every_resource_also_a_failed_one(api: FakeApi, project: Project, log: Log) -> None:
    project.sync()
    log.lines.clear()
    api.rows["locations"].pop()
    api.answer_with("roles", *[Answer(503)] * 2)
    api.answer_always("groups", Answer(401))
    result = project.run()

    assert not result.success
    found = summary(log)
    assert list(found) == IN_TURN
    assert found["policies"] == ["materialized", "0", "3", "0", "1", "0"]
    assert found["locations"][:4] == ["materialized", "19", "19", "1"]
    assert found["roles"] == ["materialized", "0", "3", "0", "3", "2"]
    assert found["groups"] == ["failed", "", "0", "", "1", "0"]
