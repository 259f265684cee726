"""A dead host costs one sync: who dies in the middle of a run, and what then happens by itself."""

import logging
import sqlite3
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.events import AssetMaterializationPlannedData
from dagster._core.execution.backfill import BulkActionStatus, PartitionBackfill
from dagster._core.launcher import CheckRunHealthResult, DefaultRunLauncher, WorkerStatus
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteJobOrigin, RemoteRepositoryOrigin
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import EmptyWorkspaceTarget
from dagster._daemon.auto_run_reexecution.auto_run_reexecution import consume_new_runs_for_automatic_reexecution
from dagster._daemon.monitoring.run_monitoring import execute_run_monitoring_iteration

from analytics_assets.defs.automation import run_findings, signs_of_life
from analytics_assets.defs.automation.run_tags import tag_run
from analytics_assets.defs.automation.signs_of_life import ALIVE, SILENT_TICKS, alive
from analytics_assets.demo.exchange import Request
from analytics_assets_tests.servers.fake_api import FakeApi
from analytics_assets_tests.servers.webhook import Webhook
from analytics_assets_tests.support.eight import NAMES, asset_key, defs
from analytics_assets_tests.support.project import Project
from analytics_assets_tests.support.waiting import until
from analytics_assets_tests.support.watch import HERE, Watch, look_up

STARTED = dg.DagsterRunStatus.STARTED
FOR_EVER = 3 * SILENT_TICKS
"""Ticks."""


def start(instance: dg.DagsterInstance, job: str = "analytics_sync", location: str | None = HERE, **fields: Any) -> str:
    """A run that has started, and of which nothing is heard any more; returns its id."""
    origin = None
    if location:
        repository = RemoteRepositoryOrigin(RegisteredCodeLocationOrigin(location), "__repository__")
        origin = RemoteJobOrigin(repository, job)
    run = instance.add_run(dg.DagsterRun(job, remote_job_origin=origin, **fields))
    instance.report_dagster_event(dg.DagsterEvent("PIPELINE_START", job_name=job), run.run_id)
    return run.run_id


def plan(instance: dg.DagsterInstance, run_id: str, *resources: str) -> None:
    """Has a run plan to materialize some assets."""
    for name in resources:
        data = AssetMaterializationPlannedData(asset_key(name))
        event = dg.DagsterEvent.build_asset_materialization_planned_event("analytics_sync", "analytics_api", data)
        instance.report_dagster_event(event, run_id)


def last_words(instance: dg.DagsterInstance, run_id: str) -> str:
    [event] = instance.all_logs(run_id, of_type={dg.DagsterEventType.RUN_FAILURE, dg.DagsterEventType.RUN_CANCELED})
    return event.message


SELECTED = frozenset([asset_key("roles"), dg.AssetKey(["reports", "organization_overview"])])
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
    assert dead.status is dg.DagsterRunStatus.FAILURE
    assert dead.tags["dagster/will_retry"] == "true"
    message = last_words(instance, run_id)
    assert message.startswith("No sign of life from the process of this run for 3 minutes; the last: never. Its host")
    assert "its retry or the next sync loads the rest" in message
    watch.tick(FOR_EVER)


def test_the_pool_has_its_limit_before_the_first_run(home: Path) -> None:
    with dg.DagsterInstance.from_config(str(home)) as instance:
        assert instance.event_log_storage.get_pool_limits() == []
        Watch(instance).tick()
        assert [(each.name, each.limit) for each in instance.event_log_storage.get_pool_limits()] == [(NAMES.pool, 1)]
        # Somebody has set another one.
        instance.event_log_storage.set_concurrency_slots(NAMES.pool, 4)
        Watch(instance).tick()
        assert [each.limit for each in instance.event_log_storage.get_pool_limits()] == [4]


def test_a_run_whose_steps_wait_for_a_worker_is_not_dead(
    instance: dg.DagsterInstance, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EXECUTION__EXECUTOR", "celery")
    monkeypatch.setattr(signs_of_life, "WAITING_TICKS", 2 * SILENT_TICKS)
    waits, works = start(instance), start(instance)
    step = dg.DagsterEvent(
        str(dg.DagsterEventType.STEP_START.value), job_name="analytics_sync", step_key="analytics_api"
    )
    instance.report_dagster_event(step, works)
    watch.tick(SILENT_TICKS + 1)
    assert look_up(instance, waits).status is STARTED
    assert look_up(instance, works).status is dg.DagsterRunStatus.FAILURE
    watch.tick(SILENT_TICKS)
    assert look_up(instance, waits).status is dg.DagsterRunStatus.FAILURE


def test_a_retry_that_dagster_has_lost_is_launched_once_for_what_failed(
    api: FakeApi, instance: dg.DagsterInstance, watch: Watch, project: Project
) -> None:
    config = {"ops": {"analytics_api": {"config": {"mode": "full"}}}}
    lost, retried, elsewhere, by_hand = (
        start(instance, run_config=config, **fields) for fields in ({}, {}, {"location": "another"}, {"location": None})
    )
    for run_id in (lost, retried, elsewhere, by_hand):
        plan(instance, run_id, "roles", "groups", "locations")
        instance.report_run_failed(look_up(instance, run_id))
        assert look_up(instance, run_id).tags["dagster/will_retry"] == "true"
    # Dagster names the retry in the failed run.
    tag_run(instance, retried, {"dagster/auto_retry_run_id": "its retry"})
    # What somebody has loaded since.
    Project(instance, project.database).sync("locations")
    watch.tick(signs_of_life.LOST_TICKS)
    assert not watch.requests
    watch.tick()
    [request] = watch.requests
    assert request.asset_selection == [asset_key("groups"), asset_key("roles")]
    assert request.run_config == config
    assert request.tags["dagster/parent_run_id"] == lost
    watch.tick(FOR_EVER)
    assert not watch.requests
    # The job of the sensor has what is requested.
    job = defs().resolve_job_def(request.job_name or "")
    assert set(job.asset_layer.executable_asset_keys) >= set(request.asset_selection or ())


def test_a_run_of_a_backfill_that_dagster_does_not_retry_is_launched_by_the_job_of_the_backfill(
    instance: dg.DagsterInstance, watch: Watch
) -> None:
    job = defs().resolve_job_def("analytics_backfill")
    config = job.get_run_config_for_partition_key("2024-01-01")
    tags = {**job.get_tags_for_partition_key("2024-01-01", None), "dagster/backfill": "launched"}
    # Another partition that somebody loads later, and one whose backfill was canceled.
    other, canceled = {"dagster/partition": "2024-02-01"}, {"dagster/backfill": "canceled"}
    for status in (BulkActionStatus.COMPLETED_SUCCESS, BulkActionStatus.CANCELED):
        name = "canceled" if status is BulkActionStatus.CANCELED else "launched"
        instance.add_backfill(PartitionBackfill(name, status, from_failure=False, tags={}, backfill_timestamp=0.0))
    runs = [start(instance, job.name, tags=tags | more, run_config=config) for more in ({}, other, canceled)]
    watch.tick(SILENT_TICKS + 1)
    with WorkspaceProcessContext(instance, EmptyWorkspaceTarget()) as workspace:
        records = instance.get_run_records(dg.RunsFilter(run_ids=runs))
        list(consume_new_runs_for_automatic_reexecution(workspace, records, logging.getLogger(__name__)))
    assert {look_up(instance, run_id).tags["dagster/will_retry"] for run_id in runs} == {"true"}
    later = start(instance, job.name, tags=tags | other)
    instance.report_dagster_event(dg.DagsterEvent("PIPELINE_SUCCESS", job_name=job.name), later)
    watch.tick(signs_of_life.LOST_TICKS)
    assert not watch.requests
    watch.tick()
    [request] = watch.requests
    assert (request.job_name, request.run_config) == (job.name, config)
    assert request.tags.items() >= {**tags, "dagster/parent_run_id": runs[0]}.items()
    watch.tick(FOR_EVER)
    assert not watch.requests


def test_a_retry_that_dagster_has_given_up_is_launched(instance: dg.DagsterInstance, watch: Watch) -> None:
    """As after a deployment: the code server is not there yet when the daemon is."""
    run_id = start(instance)
    plan(instance, run_id, "roles")
    instance.report_run_failed(look_up(instance, run_id))
    with WorkspaceProcessContext(instance, EmptyWorkspaceTarget()) as workspace:
        records = instance.get_run_records(dg.RunsFilter(run_ids=[run_id]))
        list(consume_new_runs_for_automatic_reexecution(workspace, records, logging.getLogger(__name__)))
    assert look_up(instance, run_id).tags["dagster/will_retry"] == "false"
    watch.tick(signs_of_life.LOST_TICKS + 1)
    [request] = watch.requests
    assert request.tags["dagster/parent_run_id"] == run_id


class LikeCelery(DefaultRunLauncher):
    """Says of a task whose worker was killed that it runs, as Celery does: nobody has reported its end."""

    @property
    def supports_check_run_worker_health(self) -> bool:
        return True

    def check_run_worker_health(self, run: dg.DagsterRun) -> CheckRunHealthResult:  # noqa: ARG002 - Dagster's signature
        return CheckRunHealthResult(WorkerStatus.RUNNING)


def test_a_launcher_that_takes_a_dead_run_for_alive_is_not_believed(home: Path) -> None:
    """Dagster's monitoring believes it, until the maximum runtime."""
    with (home / "dagster.yaml").open("a", encoding="utf-8") as file:
        file.write(f"\nrun_launcher:\n  module: {__name__}\n  class: LikeCelery\n")
    with dg.DagsterInstance.from_config(str(home)) as instance:
        run_id = start(instance)
        with WorkspaceProcessContext(instance, EmptyWorkspaceTarget()) as workspace:
            assert list(execute_run_monitoring_iteration(workspace, logging.getLogger(__name__))) == [None]
        assert look_up(instance, run_id).status is STARTED
        Watch(instance).tick(SILENT_TICKS + 1)
        assert look_up(instance, run_id).status is dg.DagsterRunStatus.FAILURE


def test_a_dead_run_that_nobody_can_be_told_of_is_told_by_the_other_sensor(
    instance: dg.DagsterInstance, watch: Watch, webhook: Webhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_findings, "GRACE", timedelta(0))
    health = Watch(instance, defs().resolve_sensor_def(NAMES.derived("health")))
    run_id = start(instance, location=None, tags={"dagster/max_retries": "0"})
    monkeypatch.delenv("ALERTS__WEBHOOK_URL")
    watch.tick(SILENT_TICKS + 1)
    assert look_up(instance, run_id).status is dg.DagsterRunStatus.FAILURE
    monkeypatch.setenv("ALERTS__WEBHOOK_URL", webhook.url)
    health.tick(2)
    [text] = webhook.texts
    assert "\nNo sign of life from the process of this run for 3 minutes" in text
    assert text.endswith(f"/runs/{run_id}")


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


def test_silence_is_counted_in_ticks_and_not_in_hours(instance: dg.DagsterInstance, watch: Watch) -> None:
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


def test_a_busy_instance_costs_a_sign_and_not_the_run(
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
