"""The schedules: the sync, the reconcile, and one for each other cron that a resource has."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import dlt
import pytest
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteJobOrigin, RemoteRepositoryOrigin

from analytics_assets.definitions import build_definitions
from analytics_assets.defs.automation.crons import ScheduleConfigError, check_names
from analytics_assets_tests.servers.fake_api import FakeApi
from analytics_assets_tests.support.eight import BY_NAME, NAMES, RESOURCES, asset_key, defs
from analytics_assets_tests.support.project import Project


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.local_temp(str(tmp_path)) as local:
        yield local


def add_run(instance: dg.DagsterInstance, status: dg.DagsterRunStatus, *resources: str) -> str:
    # Dagster lets no run be queued without a remote origin.
    location = RegisteredCodeLocationOrigin("analytics_assets")
    origin = RemoteJobOrigin(RemoteRepositoryOrigin(location, "__repository__"), "analytics_sync")
    selection = frozenset(map(asset_key, resources)) or None
    run = dg.DagsterRun("analytics_sync", status=status, remote_job_origin=origin, asset_selection=selection)
    return instance.add_run(run).run_id


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


def test_resources_of_the_same_cron_share_a_schedule_and_their_freshness_follows(
    monkeypatch: pytest.MonkeyPatch, instance: dg.DagsterInstance, project: Project, api: FakeApi
) -> None:
    for name in ("GROUPS", "ACTIVITIES"):
        monkeypatch.setenv(f"SCHEDULES__RESOURCES__{name}", "*/15 * * * *")
    monkeypatch.setenv("SCHEDULES__RESOURCES__ROLES", "0 6 * * *")
    definitions = defs()
    schedules = [
        definitions.resolve_schedule_def(schedule.name)
        for schedule in definitions.schedules or ()
        if schedule.name != NAMES.derived("purge")
    ]
    assert {schedule.name: schedule.cron_schedule for schedule in schedules} == {
        "analytics_sync": "0 * * * *",
        "analytics_sync_activities": "*/15 * * * *",
        "analytics_sync_roles": "0 6 * * *",
        "analytics_reconcile": "30 3 * * 0",
    }
    assert {schedule.job_name for schedule in schedules} == {"analytics_sync", "analytics_reconcile"}
    specs = {spec.key: spec for spec in definitions.resolve_all_asset_specs()}
    policies: dict[str, Any] = {
        name: specs[asset_key(name)].freshness_policy for name in ("activities", "policies", "roles")
    }
    assert {name: policy.warn_window.to_timedelta() for name, policy in policies.items()} == {
        "activities": timedelta(minutes=45),
        "policies": timedelta(hours=2.25),
        "roles": timedelta(hours=48.25),
    }
    assert "`*/15 * * * *`" in str(specs[asset_key("activities")].description)
    window = next(
        spec.description
        for checks in definitions.asset_checks or ()
        for spec in checks.check_specs
        if spec.name == "cursor_freshness" and spec.asset_key == asset_key("activities")
    )
    assert "1 hour 15 minutes" in str(window)

    # What a tick asks for runs with its checks, and blocks ticks for the same resources only.
    [request] = tick(instance, "analytics_sync_activities").run_requests or []
    assert set(request.asset_selection or ()) == {asset_key("activities"), asset_key("groups")}
    [rest] = tick(instance, "analytics_sync").run_requests or []
    others = {asset_key(name) for name in BY_NAME} - {*(request.asset_selection or ()), asset_key("roles")}
    assert set(rest.asset_selection or ()) == others
    result = project.sync("activities", "groups")
    checked = {evaluation.asset_key for evaluation in result.get_asset_check_evaluations()}
    assert checked == set(request.asset_selection or ())

    run_id = add_run(instance, dg.DagsterRunStatus.STARTED, "groups", "policies")
    assert run_id in str(tick(instance, "analytics_sync_activities").skip_message)
    assert run_id in str(tick(instance, "analytics_sync").skip_message)
    assert tick(instance, "analytics_sync_roles").run_requests
    add_run(instance, dg.DagsterRunStatus.QUEUED)
    assert not tick(instance, "analytics_sync_roles").run_requests


def test_the_schedule_of_the_rest_is_left_out_if_there_is_no_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in BY_NAME:
        monkeypatch.setenv(f"SCHEDULES__RESOURCES__{name.upper()}", "0 6 * * *")
    names = {schedule.name for schedule in defs().schedules or ()}
    assert names - {NAMES.derived("purge")} == {"analytics_sync_organizations", "analytics_reconcile"}


def test_a_resource_that_does_not_exist_has_no_cron(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ScheduleConfigError, match=r"resource_crons: 'group' is no resource .*did you mean 'groups'"):
        build_definitions(NAMES, resource_crons={"group": "0 6 * * *"})
    with (
        dlt.config.values({"schedules.resources.activity": "0 6 * * *"}),
        pytest.raises(ScheduleConfigError, match=r"schedules.resources: 'activity' is no resource of analytics"),
    ):
        check_names(NAMES)
    monkeypatch.setenv("SCHEDULES__RESOURCES__ACTIVITIES", "0 6 * * *")
    check_names(NAMES)
    monkeypatch.setenv("SCHEDULES__RESOURCES__ACTIVITYS", "0 6 * * *")
    with pytest.raises(ScheduleConfigError, match=r"SCHEDULES__RESOURCES__ACTIVITYS: .*did you mean 'activities'"):
        check_names(NAMES)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("SCHEDULES__RESOURCES__GROUPS", "often", "Set groups in .schedules.resources. of .dlt/config.toml, or as SCH"),
        ("SCHEDULES__ANALYTICS_SYNC", "often", "analytics_sync = 'often' is not a cron"),
        ("SCHEDULES__ANALYTICS_RECONCILE", "0 0 31 2 *", "analytics_reconcile = '0 0 31 2 .' is not a cron"),
        ("SCHEDULES__ANALYTICS_RECONCILE", "0 0 31 4,6 *", "analytics_reconcile = '0 0 31 4,6 .' is not a cron"),
        ("SCHEDULES__ANALYTICS_SYNC", "0 0 1W * *", "analytics_sync = '0 0 1W . .' is not a cron"),
        ("SCHEDULES__ANALYTICS_SYNC", "R * * * *", "analytics_sync = 'R . . . .' is not a cron"),
        ("SCHEDULES__TIMEZONE", "America", "timezone = 'America' is not a time zone"),
        ("SCHEDULES__TIMEZONE", "Atlantis", "timezone = 'Atlantis' is not a time zone"),
    ],
)
def test_a_wrong_schedule_is_named(monkeypatch: pytest.MonkeyPatch, key: str, value: str, message: str) -> None:
    monkeypatch.setenv(key, value)
    with pytest.raises(ScheduleConfigError, match=message):
        defs()
