"""The two schedules."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteJobOrigin, RemoteRepositoryOrigin

from analytics_assets.defs.automation.schedules import ScheduleConfigError
from analytics_assets_tests.support.eight import RESOURCES, asset_key, defs


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.local_temp(str(tmp_path)) as local:
        yield local


def add_run(instance: dg.DagsterInstance, status: dg.DagsterRunStatus) -> str:
    # Dagster lets no run be queued without a remote origin.
    location = RegisteredCodeLocationOrigin("analytics_assets")
    origin = RemoteJobOrigin(RemoteRepositoryOrigin(location, "__repository__"), "analytics_sync")
    return instance.add_run(dg.DagsterRun("analytics_sync", status=status, remote_job_origin=origin)).run_id


def tick(instance: dg.DagsterInstance, name: str) -> Any:
    moment = datetime(2026, 11, 22, 3, 30, tzinfo=UTC)
    context = dg.build_schedule_context(
        instance, scheduled_execution_time=moment, repository_def=defs().get_repository_def()
    )
    return defs().resolve_schedule_def(name).evaluate_tick(context)


@pytest.mark.parametrize(("name", "cron"), [("analytics_sync", "0 * * * *"), ("analytics_reconcile", "30 3 * * 0")])
def test_a_tick_asks_for_a_run_of_all_resources(instance: dg.DagsterInstance, name: str, cron: str) -> None:
    schedule = defs().resolve_schedule_def(name)
    assert schedule.cron_schedule == cron
    assert schedule.execution_timezone == "UTC"
    assert schedule.job_name == name
    assert schedule.default_status is dg.DefaultScheduleStatus.STOPPED

    [request] = tick(instance, name).run_requests or []
    job = defs().resolve_job_def(name)
    assert request.job_name in {None, name}
    assert job.asset_layer.executable_asset_keys == {asset_key(resource.name) for resource in RESOURCES}
    assert job.tags["dagster/retry_strategy"] == "FROM_ASSET_FAILURE"


def test_reconcile_reads_everything() -> None:
    job = defs().resolve_job_def("analytics_reconcile")
    assert job.run_config == {"ops": {"analytics_api": {"config": {"mode": "full"}}}}


@pytest.mark.parametrize(
    "status", [dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED]
)
def test_a_tick_is_skipped_while_a_run_is_at_work(instance: dg.DagsterInstance, status: dg.DagsterRunStatus) -> None:
    run_id = add_run(instance, status)
    skipped = tick(instance, "analytics_sync")
    assert not skipped.run_requests
    assert run_id in str(skipped.skip_message)
    assert tick(instance, "analytics_reconcile").run_requests


@pytest.mark.parametrize("status", [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE])
def test_a_finished_run_does_not_skip_the_next(instance: dg.DagsterInstance, status: dg.DagsterRunStatus) -> None:
    add_run(instance, status)
    assert tick(instance, "analytics_sync").run_requests


def test_cron_and_timezone_are_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCHEDULES__ANALYTICS_SYNC", "*/15 * * * *")
    monkeypatch.setenv("SCHEDULES__TIMEZONE", "Europe/Berlin")
    schedule = defs().resolve_schedule_def("analytics_sync")
    assert schedule.cron_schedule == "*/15 * * * *"
    assert schedule.execution_timezone == "Europe/Berlin"


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("SCHEDULES__ANALYTICS_SYNC", "often", "analytics_sync = 'often' is not a cron"),
        ("SCHEDULES__TIMEZONE", "Atlantis", "timezone = 'Atlantis' is not a time zone"),
    ],
)
def test_a_wrong_schedule_is_named(monkeypatch: pytest.MonkeyPatch, key: str, value: str, message: str) -> None:
    monkeypatch.setenv(key, value)
    with pytest.raises(ScheduleConfigError, match=message):
        defs()
