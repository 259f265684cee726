"""A dead host costs one sync: who dies in the middle of a run, and what then happens by itself."""

import logging
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import pytest
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteJobOrigin, RemoteRepositoryOrigin

from analytics_assets.definitions import defs
from analytics_assets.defs.assets.specs import asset_key
from analytics_assets.defs.automation import signs_of_life
from analytics_assets.defs.automation.run_tags import tag_run
from analytics_assets.defs.automation.signs_of_life import ALIVE, SENSOR, SILENT_TICKS, alive
from analytics_assets_tests.conftest import Project
from analytics_assets_tests.fake_api import TOKEN, Answer, FakeApi, Request
from analytics_assets_tests.tour import ROOT, dagster_dev
from analytics_assets_tests.webhook import Webhook

HERE = "analytics_assets"
STARTED, FAILURE = dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.FAILURE
FOR_EVER = 3 * SILENT_TICKS
"""Ticks."""


def until(condition: Callable[[], object], what: str, seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not within {seconds:.0f} s"
        time.sleep(0.02)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A DAGSTER_HOME with the file that is shipped."""
    path = tmp_path / "home"
    path.mkdir()
    shutil.copy(ROOT / "dagster.yaml", path)
    return path


@pytest.fixture
def instance(home: Path) -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.from_config(str(home)) as found:
        yield found


@dataclass
class Watch:
    """The sensor, as the daemon has it tick in the code location `analytics_assets`."""

    instance: dg.DagsterInstance
    sensor: dg.SensorDefinition = field(default_factory=lambda: defs().resolve_sensor_def(SENSOR))
    cursor: str | None = None

    def tick(self, times: int = 1) -> None:
        for _ in range(times):
            with dg.SensorEvaluationContext(
                None,
                instance=self.instance,
                cursor=self.cursor,
                sensor_name=SENSOR,
                code_location_origin=RegisteredCodeLocationOrigin(HERE),
            ) as context:
                self.cursor = self.sensor.evaluate_tick(context).cursor


@pytest.fixture
def watch(instance: dg.DagsterInstance) -> Watch:
    return Watch(instance)


def start(instance: dg.DagsterInstance, job: str = "analytics_sync", location: str | None = HERE, **fields: Any) -> str:
    """A run that has started, and of which nothing is heard any more; returns its id."""
    origin = None
    if location:
        repository = RemoteRepositoryOrigin(RegisteredCodeLocationOrigin(location), "__repository__")
        origin = RemoteJobOrigin(repository, job)
    run = instance.add_run(dg.DagsterRun(job, remote_job_origin=origin, **fields))
    instance.report_dagster_event(dg.DagsterEvent("PIPELINE_START", job_name=job), run.run_id)
    return run.run_id


def look_up(instance: dg.DagsterInstance, run_id: str) -> dg.DagsterRun:
    run = instance.get_run_by_id(run_id)
    assert run is not None
    return run


def last_words(instance: dg.DagsterInstance, run_id: str) -> str:
    [event] = instance.all_logs(run_id, of_type={dg.DagsterEventType.RUN_FAILURE, dg.DagsterEventType.RUN_CANCELED})
    return event.message


SELECTED = frozenset([asset_key("roles"), dg.AssetKey(["reports", "activity_daily"])])
CHECKED = frozenset([dg.AssetCheckKey(asset_key("roles"), "primary_key")])


@pytest.mark.parametrize(
    "run",
    [
        {},
        {"job": "analytics_reconcile"},
        {"job": "analytics_check"},
        {"job": "__ASSET_JOB", "asset_selection": SELECTED},
        {"job": "__ASSET_JOB", "asset_selection": frozenset(), "asset_check_selection": CHECKED},
        {"location": None},
    ],
    ids=["sync", "reconcile", "check", "assets", "asset checks", "command line"],
)
def test_a_run_that_died_before_its_first_sign_is_failed_and_retried(
    instance: dg.DagsterInstance, watch: Watch, run: dict[str, Any]
) -> None:
    run_id = start(instance, **run)
    watch.tick(SILENT_TICKS)
    assert look_up(instance, run_id).status is STARTED
    watch.tick()
    dead = look_up(instance, run_id)
    assert dead.status is FAILURE
    assert dead.tags["dagster/will_retry"] == "true"
    message = last_words(instance, run_id)
    assert message.startswith("No sign of life from the process of this run for 3 minutes; the last: never. Its host")
    assert "its retry or the next sync loads the rest" in message
    watch.tick(FOR_EVER)


def test_the_sensor_is_on_by_default_and_ticks_often_enough(watch: Watch) -> None:
    assert watch.sensor.default_status is dg.DefaultSensorStatus.RUNNING
    assert watch.sensor.minimum_interval_seconds == signs_of_life.TICK
    assert 10 * signs_of_life.BEAT < SILENT_TICKS * signs_of_life.TICK < 5 * 60


def test_the_last_sign_is_told_unless_it_is_that_of_the_run_before(instance: dg.DagsterInstance, watch: Watch) -> None:
    moments = [(datetime.now(UTC) + timedelta(hours=hours)).isoformat() for hours in (-1, 1)]
    inherited, own = [start(instance, tags={ALIVE: moment}) for moment in moments]
    watch.tick(SILENT_TICKS + 1)
    assert "the last: never." in last_words(instance, inherited)
    assert f"the last: {moments[1]}." in last_words(instance, own)


def test_a_run_that_gives_signs_is_left_alone_however_long_it_takes(
    api: FakeApi, instance: dg.DagsterInstance, watch: Watch, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signs_of_life, "BEAT", 0.01)
    seen: list[str | None] = [None]

    def tick_in_mid_run(_: Request) -> None:
        api.faults["policies"].clear()
        [run] = instance.get_runs(dg.RunsFilter(statuses=[STARTED]))
        while len(seen) <= FOR_EVER:
            until(lambda: look_up(instance, run.run_id).tags.get(ALIVE) not in seen, "a sign of life")
            seen.append(look_up(instance, run.run_id).tags[ALIVE])
            watch.tick()

    api.faults["policies"].append(tick_in_mid_run)
    result = Project(instance, project.database).sync("policies")
    assert len(seen) == FOR_EVER + 1
    assert "signs of life" not in {thread.name for thread in threading.enumerate()}
    # Nor is it held to be dead once it is over.
    watch.tick(FOR_EVER)
    assert look_up(instance, result.run_id).status is dg.DagsterRunStatus.SUCCESS


def test_a_run_that_logs_is_left_alone(instance: dg.DagsterInstance, watch: Watch) -> None:
    run_id = start(instance)
    for _ in range(FOR_EVER):
        instance.report_engine_event("at work", look_up(instance, run_id))
        watch.tick()
    assert look_up(instance, run_id).status is STARTED


def test_hours_without_a_tick_are_no_hours_without_a_sign(instance: dg.DagsterInstance, watch: Watch) -> None:
    """As of a laptop that sleeps: its clock jumps, and neither the run nor the sensor has done anything meanwhile."""
    run_id = start(instance)
    for day in (20, 21, 22):
        instance.add_run_tags(run_id, {ALIVE: f"2026-11-{day}T08:00:00+00:00"})
        watch.tick(SILENT_TICKS)
    assert look_up(instance, run_id).status is STARTED


@pytest.mark.parametrize(
    "run",
    [
        {"location": "another_location"},
        {"job": "nightly"},
        {"job": "nightly", "location": None},
        {"job": "__ASSET_JOB", "asset_selection": frozenset([dg.AssetKey("theirs")])},
        {"job": "__ASSET_JOB", "asset_selection": SELECTED | {dg.AssetKey("theirs")}},
        {
            "job": "__ASSET_JOB",
            "asset_selection": SELECTED,
            "asset_check_selection": frozenset([dg.AssetCheckKey(dg.AssetKey("theirs"), "a check")]),
        },
        {"job": "__ASSET_JOB"},
    ],
    ids=["another location", "another job", "command line", "other assets", "others beside ours", "checks", "all"],
)
def test_a_run_of_somebody_elses_is_left_alone(instance: dg.DagsterInstance, watch: Watch, run: dict[str, Any]) -> None:
    run_id = start(instance, **run)
    watch.tick(FOR_EVER)
    assert look_up(instance, run_id).status is STARTED


def test_a_dead_run_that_was_to_be_terminated_is_canceled_and_not_retried(
    instance: dg.DagsterInstance, watch: Watch, webhook: Webhook
) -> None:
    run_id = start(instance, location=None)
    instance.report_run_canceling(look_up(instance, run_id))
    watch.tick(SILENT_TICKS + 1)
    assert look_up(instance, run_id).status is dg.DagsterRunStatus.CANCELED
    assert "No sign of life" in last_words(instance, run_id)
    assert webhook.posts == []


def test_an_instance_that_is_busy_costs_a_sign_and_not_the_run(
    api: FakeApi,
    instance: dg.DagsterInstance,
    home: Path,
    project: Project,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(signs_of_life, "BEAT", 0.01)
    after = []

    def lock_in_mid_run(_: Request) -> None:
        api.faults["policies"].clear()
        [run] = instance.get_runs(dg.RunsFilter(statuses=[STARTED]))
        database = sqlite3.connect(home / "history" / "runs.db", isolation_level=None)
        database.execute("BEGIN EXCLUSIVE")
        until(lambda: "No sign of life could be given: OperationalError" in caplog.text, "a sign that fails")
        before = look_up(instance, run.run_id).tags.get(ALIVE)
        database.execute("ROLLBACK")
        database.close()
        until(lambda: look_up(instance, run.run_id).tags.get(ALIVE) != before, "the next sign")
        after.append(run.run_id)

    api.faults["policies"].append(lock_in_mid_run)
    with caplog.at_level(logging.DEBUG, signs_of_life.__name__):
        result = Project(instance, project.database).sync("policies")
    assert after == [result.run_id]


def test_a_tag_that_is_added_during_a_sign_is_not_lost(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signs_of_life, "BEAT", 0.0)
    run = look_up(instance, start(instance))
    resources: Any = None
    context = dg.InitResourceContext(None, resources, None, {}, instance, run)
    names = {f"tag{number}" for number in range(100)}
    with alive(context):
        for name in names:
            tag_run(instance, run.run_id, {name: ""})
    # Dagster's own, which come next, are safe as well.
    assert "signs of life" not in {thread.name for thread in threading.enumerate()}
    assert names < set(look_up(instance, run.run_id).tags)


def test_nothing_is_written_where_nobody_watches(api: FakeApi, project: Project) -> None:
    result = project.sync("roles")
    assert ALIVE not in look_up(project.instance, result.run_id).tags


def stall(api: FakeApi, resource: str) -> tuple[threading.Event, threading.Event]:
    """Lets the API stop in mid-answer; the events say that it has, and that it may go on."""
    arrived, go_on = threading.Event(), threading.Event()

    def wait(_: Request) -> Answer | None:
        arrived.set()
        go_on.wait(600)
        return None

    api.faults[resource].append(wait)
    return arrived, go_on


def schedule_asks(instance: dg.DagsterInstance) -> bool:
    with dg.build_schedule_context(instance, scheduled_execution_time=datetime.now(UTC)) as context:
        return bool(defs().resolve_schedule_def("analytics_sync").evaluate_tick(context).run_requests)


def test_a_sync_of_the_command_line_that_is_killed_holds_up_the_schedule_until_it_is_told_of(
    api: FakeApi, instance: dg.DagsterInstance, home: Path, watch: Watch, webhook: Webhook, project: Project
) -> None:
    arrived, go_on = stall(api, "activities")
    with subprocess.Popen(
        [sys.executable, "-m", "analytics_assets", "sync"],
        env={**os.environ, "DAGSTER_HOME": str(home)},
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    ) as process:
        until(arrived.is_set, "a sync in mid-run", 90)
        os.killpg(process.pid, signal.SIGKILL)
    go_on.set()
    [run] = instance.get_runs()
    assert ALIVE in run.tags
    assert not schedule_asks(instance)
    watch.tick(SILENT_TICKS + 1)
    [text] = webhook.texts
    first, reason, link = text.splitlines()
    assert first == f"Run {run.run_id} of analytics_sync died: its process is gone."
    assert f"the last: {run.tags[ALIVE]}" in reason
    assert link == f"http://localhost:3000/runs/{run.run_id}"
    assert schedule_asks(instance)
    Project(instance, project.database).sync()
    assert project.ids("activities") == [row["id"] for row in api.rows["activities"]]


@dataclass
class Host:
    """What `make dev` needs to run against an API and to tell a webhook."""

    home: Path
    api: FakeApi
    webhook: Webhook
    instance: dg.DagsterInstance

    def configured(self) -> dict[str, str]:
        return {
            "SOURCES__ANALYTICS__BASE_URL": self.api.url,
            "SOURCES__ANALYTICS__API_KEY": TOKEN,
            "ALERTS__WEBHOOK_URL": self.webhook.url,
            "SCHEDULES__ANALYTICS_SYNC": "* * * * *",
        }

    def switch_on(self) -> None:
        """Starts the schedule, which is due every minute here."""
        command = [sys.executable, "-m", "dagster", "schedule", "start", "analytics_sync"]
        environment = {**os.environ, "DAGSTER_HOME": str(self.home)}
        subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True)

    @contextmanager
    def in_mid_run(self) -> Iterator[threading.Event]:
        """Dagster, with a scheduled sync that waits for activities until the event is set."""
        arrived, go_on = stall(self.api, "activities")
        with dagster_dev(self.home, **self.configured()):
            self.switch_on()
            until(arrived.is_set, "a scheduled sync in mid-run", 180)
            yield go_on

    def await_recovery(self, run_id: str) -> str:
        """Waits until the dead run has failed, has been told of and a later one has succeeded; returns the alert."""
        until(lambda: look_up(self.instance, run_id).status is FAILURE, "the end of the dead run", 420)
        until(lambda: any(run_id in text for text in self.webhook.texts), "the alert", 120)
        succeeded = dg.RunsFilter(statuses=[dg.DagsterRunStatus.SUCCESS])
        until(lambda: self.instance.get_runs(succeeded), "a sync that succeeds", 180)
        return next(text for text in self.webhook.texts if run_id in text)

    def ids(self, resource: str) -> list[Any]:
        with duckdb.connect(str(self.home / "demo.duckdb"), read_only=True) as connection:
            return [row[0] for row in connection.execute(f"SELECT id FROM analytics.{resource} ORDER BY id").fetchall()]


@pytest.fixture
def host(home: Path, api: FakeApi, webhook: Webhook, instance: dg.DagsterInstance) -> Host:
    return Host(home, api, webhook, instance)


@pytest.mark.slow
def test_a_power_cut_costs_one_sync(host: Host) -> None:
    with host.in_mid_run() as go_on:
        pass
    # Every process is killed.
    go_on.set()
    [run] = host.instance.get_runs(dg.RunsFilter(statuses=[STARTED]))
    with dagster_dev(host.home, **host.configured()):
        began = time.monotonic()
        alert = host.await_recovery(run.run_id)
        assert time.monotonic() - began < 15 * 60
    assert alert.startswith(f"Run {run.run_id} of analytics_sync died: its process is gone.\nNo sign of life")
    assert host.ids("activities") == [row["id"] for row in host.api.rows["activities"]]


@pytest.mark.slow
def test_a_run_whose_process_alone_is_killed_costs_one_sync(host: Host) -> None:
    with host.in_mid_run() as go_on:
        [run] = host.instance.get_runs(dg.RunsFilter(statuses=[STARTED]))
        events = host.instance.all_logs(run.run_id, of_type=dg.DagsterEventType.ENGINE_EVENT)
        [pid] = {int(pid) for event in events for pid in re.findall(r"\(pid: (\d+)\)", event.message)}
        os.kill(pid, signal.SIGKILL)
        go_on.set()
        alert = host.await_recovery(run.run_id)
    assert alert.startswith(f"Run {run.run_id} of analytics_sync died: its process is gone.\n")
    assert "\nDagster retries it.\n" in alert
    assert host.ids("activities") == [row["id"] for row in host.api.rows["activities"]]
