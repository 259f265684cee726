"""The sensor that tells what is wrong and what is right again: each once, and nothing is lost while nobody listens."""

import html
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import dagster as dg
import duckdb
import pytest
from dagster._core.definitions.freshness import FreshnessState, FreshnessStateChange
from dagster._core.remote_origin import (
    RegisteredCodeLocationOrigin,
    RemoteInstigatorOrigin,
    RemoteJobOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.scheduler.instigation import (
    InstigatorState,
    InstigatorStatus,
    InstigatorType,
    ScheduleInstigatorData,
    TickData,
    TickStatus,
)
from dagster_shared.error import SerializableErrorInfo

from analytics_assets.defs.automation import delivery, run_findings
from analytics_assets.defs.automation.alerts import mark_told
from analytics_assets.defs.automation.delivery import AlertError, tell
from analytics_assets.defs.automation.findings import Finding, remember
from analytics_assets.defs.automation.health import describe
from analytics_assets.defs.automation.run_findings import find_failed_runs, find_unfinished_runs
from analytics_assets.defs.automation.tick_findings import find_ticks
from analytics_assets.defs.automation.watched import Watched, watched_of
from analytics_assets.defs.names import name_all
from analytics_assets_tests.servers.fake_api import Answer, FakeApi
from analytics_assets_tests.servers.webhook import SECRET, Webhook
from analytics_assets_tests.support.eight import EIGHT, NAMES, asset_key, defs
from analytics_assets_tests.support.project import Project
from analytics_assets_tests.support.watch import HERE, Watch, look_up

STATES = {dg.DagsterRunStatus.QUEUED: "PIPELINE_ENQUEUED", dg.DagsterRunStatus.STARTED: "PIPELINE_START"}

DONE = "What it was to do has been done since. http://localhost:3000"


@pytest.fixture
def health(instance: dg.DagsterInstance) -> Watch:
    return Watch(instance, defs().resolve_sensor_def(NAMES.derived("health")))


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery, "DELIVERY_PAUSE", 0.0)


def set_freshness(instance: dg.DagsterInstance, key: dg.AssetKey, state: str) -> None:
    """What the daemon reports of an asset's freshness policy."""
    change = FreshnessStateChange(
        key=key,
        previous_state=FreshnessState.UNKNOWN,
        new_state=FreshnessState(state),
        state_change_timestamp=datetime(2026, 11, 1, 9, 30, tzinfo=UTC).timestamp(),
    )
    instance._report_runless_asset_event(change)


def test_a_check_and_a_new_field_are_told_once_and_so_is_that_the_check_passes_again(
    api: FakeApi, health: Watch, project: Project, webhook: Webhook, impatient: None
) -> None:
    api.rows["groups"][0]["brandNew @everyone\n"] = 1
    here = Project(health.instance, project.database)
    here.sync("groups")
    with duckdb.connect(str(project.database)) as connection:
        connection.execute("INSERT INTO analytics.groups SELECT * FROM analytics.groups LIMIT 1")
    here.run(job="analytics_verify")

    # Until somebody takes it, nothing counts as told.
    webhook.statuses = [500, 500]
    with pytest.raises(AlertError, match="did not take the alert: it answered 500"):
        health.tick()
    webhook.posts.clear()
    # The other tables are not there yet.
    assert health.tick() == "Told 9 things."
    assert health.tick().startswith("Nothing new. ")
    [text] = webhook.texts
    check, field = [line for line in text.splitlines() if "analytics/groups" in line]
    assert check == (
        "The check primary_key of analytics/groups fails: Some rows share a key or have none. Run with mode: rebuild to"
        " load the table anew. http://localhost:3000/assets/analytics/groups?view=checks"
    )
    assert field.startswith(
        "The API sends new fields in analytics/groups: brandNew @\u200beveryone . They are loaded as JSON"
    )

    here.sync("groups", config={"mode": "rebuild"})
    here.run(job="analytics_verify")
    health.tick(2)
    assert webhook.texts[1:] == ["analytics: The check primary_key of analytics/groups passes again."]


def test_freshness_that_fails_is_told_and_its_end_too(
    instance: dg.DagsterInstance, health: Watch, webhook: Webhook
) -> None:
    for state in ("PASS", "WARN", "FAIL", "FAIL", "UNKNOWN", "PASS"):
        set_freshness(instance, asset_key("roles"), state)
        set_freshness(instance, dg.AssetKey("theirs"), state)
        health.tick()
    wrong, right = webhook.texts
    assert wrong == (
        "analytics: analytics/roles is too old: its freshness policy fails since 2026-11-01"
        " 09:30 UTC. Look why no run materializes it. http://localhost:3000/assets/analytics/roles"
    )
    assert right == "analytics: analytics/roles is fresh again."


def test_without_a_webhook_a_tick_fails_as_long_as_there_is_something_to_tell(
    instance: dg.DagsterInstance, health: Watch
) -> None:
    assert health.tick().startswith("Nothing new. ")
    set_freshness(instance, asset_key("roles"), "FAIL")
    for _ in range(2):
        with pytest.raises(AlertError, match=r"(?s)no webhook: set ALERTS__WEBHOOK_URL.*analytics/roles is too old"):
            health.tick()
    set_freshness(instance, asset_key("roles"), "PASS")
    assert health.tick().startswith("Nothing new. ")


def test_a_heartbeat_is_given_by_each_tick_that_tells_nothing(
    instance: dg.DagsterInstance, health: Watch, webhook: Webhook, monkeypatch: pytest.MonkeyPatch, impatient: None
) -> None:
    monkeypatch.setenv("ALERTS__HEARTBEAT_URL", webhook.url)
    health.tick()
    assert webhook.texts == ["alive"]
    set_freshness(instance, asset_key("roles"), "FAIL")
    health.tick()
    assert len(webhook.texts) == 2
    monkeypatch.setenv("ALERTS__HEARTBEAT_URL", f"http://127.0.0.1:1/{SECRET}")
    with pytest.raises(AlertError, match=r"The heartbeat at 127\.0\.0\.1 did not take") as failed:
        health.tick()
    assert SECRET not in str(failed.value)


def test_many_things_are_one_text_of_a_bounded_length() -> None:
    link = "http://localhost:3000/runs/1"
    long = f"A < B & C. {'&' * 5_000}\n{link}"
    found = [
        Finding(wrong=True, says=says, told=False) for says in (long, *(f"{each} is wrong." for each in range(300)))
    ]
    text = describe("analytics", found)
    head, first, *lines, more = text.splitlines()
    assert head == "analytics: wrong: 301, right again: 0."
    assert first.endswith(f"& ... {link}")
    assert more == f"... and {300 - len(lines)} more: http://localhost:3000/automation"
    # One alone is the first line.
    alone = describe("analytics", found[:1])
    assert alone.startswith("analytics: A < B & C. &&&")
    assert alone.endswith(f"...\n{link}\nMore: {link}")
    assert all(len(html.escape(each, quote=False)) < 1_950 for each in (text, alone))


def wait_for(instance: dg.DagsterInstance, status: dg.DagsterRunStatus, job: str = "analytics_sync") -> dg.DagsterRun:
    """A run that has reached a status, and stays there."""
    origin = RemoteJobOrigin(RemoteRepositoryOrigin(RegisteredCodeLocationOrigin(HERE), "__repository__"), job)
    run = instance.add_run(dg.DagsterRun(job, remote_job_origin=origin))
    instance.report_dagster_event(dg.DagsterEvent(STATES[status], job_name=job), run.run_id)
    return look_up(instance, run.run_id)


@pytest.mark.parametrize(
    ("status", "says"),
    [
        (dg.DagsterRunStatus.QUEUED, "A run of analytics_sync waits in the queue: other runs hold its pool"),
        (dg.DagsterRunStatus.STARTED, "A run of analytics_sync is started. It was launched at "),
    ],
)
def test_a_run_that_is_unfinished_when_its_next_tick_is_due_is_told_and_that_it_ends(
    instance: dg.DagsterInstance, status: dg.DagsterRunStatus, says: str
) -> None:
    watched = watched_of(defs())
    run, weekly = wait_for(instance, status), wait_for(instance, status, "analytics_reconcile")
    wait_for(instance, status, "another team's")
    now = datetime.now(UTC)
    assert not find_unfinished_runs(instance, watched, set(), now + timedelta(minutes=59))
    found = find_unfinished_runs(instance, watched, set(), now + timedelta(minutes=61))
    [(key, finding)] = found.items()
    assert finding.says.startswith(says)
    assert finding.says.endswith(f"ticks are skipped meanwhile. http://localhost:3000/runs/{run.run_id}")
    assert set(find_unfinished_runs(instance, watched, set(), now + timedelta(days=8))) == {
        key,
        f"unfinished {weekly.run_id}",
    }

    told = remember(set(), found)
    assert not find_unfinished_runs(instance, watched, told, now + timedelta(hours=3))[key].is_news
    instance.report_run_canceled(run)
    over = find_unfinished_runs(instance, watched, told, now + timedelta(hours=4))
    assert over[key].says == f"A run of analytics_sync ended: canceled. http://localhost:3000/runs/{run.run_id}"
    assert over[key].is_news
    assert remember(told, over) == set()


def test_a_cron_with_long_pauses_is_judged_by_the_pause_that_a_run_is_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCHEDULES__ANALYTICS_SYNC", "0 8-18 * * 1-5")
    monkeypatch.setenv("SCHEDULES__TIMEZONE", "Europe/Berlin")
    watched = watched_of(defs())
    # A Friday at 10:30 and at 18:30 in Berlin.
    morning, evening = (datetime(2026, 11, 27, hour, 30, tzinfo=UTC) for hour in (9, 17))
    run = dg.DagsterRun("analytics_sync")
    assert watched.cadence(run, morning) == timedelta(hours=1)
    assert watched.cadence(run, evening) == timedelta(hours=62)
    # One that somebody launched from assets, and one that another schedule launched.
    assert watched.cadence(dg.DagsterRun("__ASSET_JOB"), morning) == timedelta(hours=1)
    weekly = run.with_tags({"dagster/schedule_name": "analytics_reconcile"})
    assert watched.cadence(weekly, morning) == timedelta(days=7)


def test_a_failed_run_is_told_by_the_sensor_if_the_alert_was_not_and_that_its_work_was_done(
    api: FakeApi, health: Watch, project: Project, webhook: Webhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = Project(health.instance, project.database)
    api.answer_always("policies", Answer(403))
    lost = here.run("policies", "groups").run_id
    # The alert has its time.
    health.tick()
    assert webhook.posts == []
    monkeypatch.setattr(run_findings, "GRACE", timedelta(0))
    health.tick(2)
    [text] = webhook.texts
    assert text.startswith("analytics: A run of analytics_sync failed.\n1 of 2 resources failed")
    assert text.endswith(f"/runs/{lost}")

    # Something else that works does not end it.
    here.sync("groups")
    # One that the alert has told.
    told = here.run("policies").run_id
    mark_told(health.instance, told)
    health.tick()
    assert len(webhook.texts) == 1
    # Nor does a newer failure of something else hide one, or any number of another team's.
    api.answer_always("groups", Answer(403))
    unheard = here.run("groups").run_id
    newest = here.run("policies").run_id
    mark_told(health.instance, newest)
    for _ in range(4):
        health.instance.report_run_failed(health.instance.add_run(dg.DagsterRun("theirs")))
    monkeypatch.setattr(run_findings, "MOST_RUNS", 4)
    health.tick()
    assert webhook.texts[-1].endswith(f"/runs/{unheard}")
    api.faults["groups"].clear()
    here.sync("groups")
    health.tick()
    assert webhook.texts[-1].endswith(f"A run of analytics_sync had failed. {DONE}/runs/{unheard}")
    webhook.posts.clear()

    api.faults["policies"].clear()
    here.sync("policies")
    health.tick(2)
    assert webhook.texts == [f"analytics: A run of analytics_sync had failed. {DONE}/runs/{newest}"]


def test_a_run_that_died_and_is_retried_is_over_once_the_retry_has_loaded(
    instance: dg.DagsterInstance, health: Watch, webhook: Webhook
) -> None:
    """Whether or not the sensor has ticked between the death and the retry."""
    run = instance.add_run(dg.DagsterRun("analytics_check"))
    instance.report_run_failed(run, "No sign of life")
    assert look_up(instance, run.run_id).tags["dagster/will_retry"] == "true"
    mark_told(instance, run.run_id)
    health.tick()
    assert webhook.posts == []
    # It inherits the tags.
    retry = instance.add_run(dg.DagsterRun("analytics_check", tags=look_up(instance, run.run_id).tags))
    instance.report_dagster_event(dg.DagsterEvent("PIPELINE_SUCCESS", job_name=retry.job_name), retry.run_id)
    health.tick(2)
    assert webhook.texts == [f"analytics: A run of analytics_check had failed. {DONE}/runs/{run.run_id}"]


def test_retries_that_nobody_launches_are_told(instance: dg.DagsterInstance) -> None:
    """Those of the command line, which Dagster cannot launch, and those that it has lost and that load nothing."""
    watched, now = watched_of(defs()), datetime.now(UTC)

    def fail(job: str, *, is_local: bool) -> str:
        origin = RemoteJobOrigin(RemoteRepositoryOrigin(RegisteredCodeLocationOrigin(HERE), "__repository__"), job)
        run = instance.add_run(dg.DagsterRun(job, remote_job_origin=None if is_local else origin))
        instance.report_run_failed(run)
        assert look_up(instance, run.run_id).tags["dagster/will_retry"] == "true"
        return f"run {run.run_id}"

    local, lost = fail("analytics_sync", is_local=True), fail("analytics_verify", is_local=False)
    retried = fail("analytics_check", is_local=False).removeprefix("run ")
    instance.add_run(dg.DagsterRun("analytics_check", tags={"dagster/parent_run_id": retried}))
    assert find_failed_runs(instance, watched, now) == {}
    found = find_failed_runs(instance, watched, now + timedelta(minutes=3))
    assert {key for key, finding in found.items() if finding.is_news} == {local, lost}


def test_a_schedule_whose_tick_fails_or_that_does_not_tick_is_told(instance: dg.DagsterInstance) -> None:
    watched = watched_of(defs())
    now = datetime(2026, 11, 26, 9, 30, tzinfo=UTC)
    repository = RemoteRepositoryOrigin(RegisteredCodeLocationOrigin(HERE), "__repository__")

    def store(status: InstigatorStatus, name: str = "analytics_sync", looked: float | None = None) -> InstigatorState:
        data = ScheduleInstigatorData("0 * * * *", now.timestamp(), looked)
        origin = RemoteInstigatorOrigin(repository, name)
        state = InstigatorState(origin, InstigatorType.SCHEDULE, status, data)
        stored = instance.get_instigator_state(state.instigator_origin_id, state.selector_id)
        return instance.update_instigator_state(state) if stored else instance.add_instigator_state(state)

    def tick(hours: int, status: TickStatus, error_name: str = "CodeLocationError") -> None:
        at = (now + timedelta(hours=hours, minutes=-30)).timestamp()
        error = SerializableErrorInfo("", [], error_name) if status is TickStatus.FAILURE else None
        instance.create_tick(
            TickData(
                state.instigator_origin_id,
                state.name,
                InstigatorType.SCHEDULE,
                status,
                at,
                selector_id=state.selector_id,
                error=error,
            )
        )

    def says(hours: float) -> dict[str, str]:
        found = find_ticks(instance, watched, set(), now + timedelta(hours=hours))
        return {key.partition(" ")[0]: finding.says for key, finding in found.items() if finding.wrong}

    # Never on, and reset to what the code says.
    assert says(0) == {}
    state = store(InstigatorStatus.DECLARED_IN_CODE)
    assert says(9) == {}
    # Switched on at half past nine: the ticks of ten and eleven are due.
    store(InstigatorStatus.RUNNING)
    assert says(1.5) == {}
    assert says(1.6)["ticks"].startswith("analytics_sync has not ticked since 2026-11-26 09:30 UTC. Look whether")
    # After a change of its cron, Dagster looks at it and has nothing to do before the new cron's first tick.
    store(InstigatorStatus.RUNNING, looked=(now + timedelta(hours=1)).timestamp())
    assert says(1.6) == {}
    tick(1, TickStatus.SKIPPED)
    store(InstigatorStatus.RUNNING)
    assert says(2.6)["ticks"].startswith("analytics_sync has not ticked since 2026-11-26 10:00 UTC.")
    tick(2, TickStatus.FAILURE)
    assert says(2.6)["ticks"].startswith("analytics_sync has failed in its latest tick (CodeLocationError).")
    tick(3, TickStatus.FAILURE, "AlertError")
    assert says(3.6) == {}
    tick(4, TickStatus.STARTED)
    assert says(4.6) == {}
    store(InstigatorStatus.STOPPED)
    assert says(9) == {
        "off": "analytics_sync is switched off. If nobody meant to, switch it on. http://localhost:3000/automation"
    }
    # The purge is on by default, and some keep everything.
    store(InstigatorStatus.STOPPED, "analytics_purge")
    assert "analytics_purge" in watched.schedules
    assert "off analytics_purge" not in find_ticks(instance, watched, set(), now)
    # That of another code location, which the same names may have.
    assert not find_ticks(instance, replace(watched, location="elsewhere"), set(), now)


def test_schedules_that_a_change_of_crons_leaves_off_are_told(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = datetime(2026, 11, 26, 9, 30, tzinfo=UTC)
    repository = RemoteRepositoryOrigin(RegisteredCodeLocationOrigin(HERE), "__repository__")

    def switch_on(name: str) -> None:
        data = ScheduleInstigatorData("0 * * * *", now.timestamp())
        origin = RemoteInstigatorOrigin(repository, name)
        instance.add_instigator_state(InstigatorState(origin, InstigatorType.SCHEDULE, InstigatorStatus.RUNNING, data))

    def wrong() -> list[str]:
        found = find_ticks(instance, watched_of(defs()), set(), now)
        return [finding.says for finding in found.values() if finding.wrong]

    # One was named after the first of its resources, which has another cron by now.
    switch_on("analytics_sync_activities")
    monkeypatch.setenv("SCHEDULES__RESOURCES__POLICIES", "0 6 * * *")
    page = "Switch it on. http://localhost:3000/automation"
    lost = "was never switched on, and analytics_sync_activities was on, and no longer exists."
    assert wrong() == [f"{name} {lost} {page}" for name in ("analytics_sync", "analytics_sync_policies")]
    switch_on("analytics_sync")
    assert wrong() == [
        f"analytics_sync_policies was never switched on, and analytics_sync leaves its resources out. {page}"
    ]
    switch_on("analytics_sync_policies")
    assert wrong() == []


def test_each_connector_watches_its_own() -> None:
    def watched(name: str) -> Watched:
        return watched_of(defs(name_all(replace(EIGHT, name=name)), ()))

    ours, theirs = watched("acme"), watched("umbrella")
    assert not set(ours.assets) & set(theirs.assets)
    assert not set(ours.checks) & set(theirs.checks)
    assert "acme_sync" in ours.schedules
    assert not set(ours.schedules) & set(theirs.schedules)
    run = dg.DagsterRun("acme_sync")
    assert ours.has_run(run)
    assert not theirs.has_run(run)


@pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")  # Apprise, before Python 3.13
def test_another_service_is_told_through_apprise(
    webhook: Webhook,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("ALERTS__WEBHOOK_URL", webhook.url.replace("http://", "json://"))
    with caplog.at_level("DEBUG"):
        tell("something is wrong")
        webhook.statuses = [500]
        with pytest.raises(AlertError, match=r"JSON did not take the alert\. Check alerts\.webhook_url") as failed:
            tell("again")
    assert [post["message"] for post in webhook.posts] == ["something is wrong", "again"]
    assert "hook-canary" not in "\n".join([str(failed.value), caplog.text, *capfd.readouterr()])
