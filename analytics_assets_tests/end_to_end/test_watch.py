"""What is told by a real daemon, and what is told from outside when there is none."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.remote_origin import (
    RegisteredCodeLocationOrigin,
    RemoteInstigatorOrigin,
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
from dagster._daemon.types import DaemonHeartbeat

from analytics_assets import __main__ as command_line
from analytics_assets.defs.automation import delivery, watch
from analytics_assets.defs.automation.alerts import mark_told
from analytics_assets.defs.automation.watched import watched_of
from analytics_assets_tests.servers.webhook import Webhook
from analytics_assets_tests.support.checkout import CHECKOUT
from analytics_assets_tests.support.commands import BIN
from analytics_assets_tests.support.eight import NAMES, defs
from analytics_assets_tests.support.waiting import until

LOCATION = """
from analytics_assets.defs.automation import health
health.TICK = 1
from analytics_assets_tests.support.eight_commands import defs
"""
"""The eight, watched every second."""


@contextmanager
def daemon(home: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """Dagster's daemon with the eight; ends by SIGKILL."""
    location = home / "location.py"
    location.write_text(LOCATION, encoding="utf-8")
    with (
        (home / "daemon.log").open("wb") as output,
        subprocess.Popen(
            [f"{BIN}/dagster-daemon", "run", "-f", str(location)],
            cwd=CHECKOUT,
            env={**os.environ, "DAGSTER_HOME": str(home), "PYTHONPATH": str(CHECKOUT)},
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        ) as process,
    ):
        try:
            yield process
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def sensor_state(instance: dg.DagsterInstance) -> Any:
    return next((each for each in instance.all_instigator_state() if each.name == "analytics_health"), None)


def switch_on(instance: dg.DagsterInstance) -> InstigatorState:
    """What Dagster stores when somebody switches the schedule on."""
    origin = RemoteInstigatorOrigin(sensor_state(instance).origin.repository_origin, "analytics_sync")
    data = ScheduleInstigatorData("0 * * * *", time.time())
    state = InstigatorState(origin, InstigatorType.SCHEDULE, InstigatorStatus.RUNNING, data)
    stored = instance.get_instigator_state(state.instigator_origin_id, state.selector_id)
    return instance.update_instigator_state(state) if stored else instance.add_instigator_state(state)


def test_a_schedule_that_is_switched_off_is_told_and_a_daemon_that_is_killed(
    home: Path, instance: dg.DagsterInstance, webhook: Webhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    with daemon(home):
        until(lambda: sensor_state(instance), "the first tick", 180)
        state = switch_on(instance)
        instance.stop_schedule(state.instigator_origin_id, state.selector_id, None)
        until(lambda: len(webhook.posts) == 1, "the first text", 120)
        switch_on(instance)
        until(lambda: len(webhook.posts) == 2, "the second text", 120)
        monkeypatch.setenv("DAGSTER_HOME", str(home))
        watched = watched_of(defs())
        until(lambda: watch.list_problems(NAMES, watched) == [], "all parts of the daemon", 120)
    lines = [text.removeprefix("analytics: ") for text in webhook.texts]
    assert lines == [
        "analytics_sync is switched off. If nobody meant to, switch it on. http://localhost:3000/automation",
        "analytics_sync is switched on.",
    ]

    monkeypatch.setattr(watch, "SILENCE", watch.SILENCE / 100)
    until(lambda: watch.list_problems(NAMES, watched), "the silence of the daemon")
    watch.look(NAMES, watched, set(), lambda _: None, datetime.now(UTC))
    assert "Dagster's daemon is down: no heartbeat since 20" in webhook.texts[2]


def beat(instance: dg.DagsterInstance, ago: float, *kinds: str) -> None:
    for kind in kinds or instance.get_required_daemon_types():
        instance.add_daemon_heartbeat(DaemonHeartbeat(time.time() - ago, kind, "daemon", None))


def test_from_outside_the_daemon_is_told_to_be_down_to_hang_and_to_be_up_again(
    home: Path, instance: dg.DagsterInstance, webhook: Webhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAGSTER_HOME", str(home))
    watched, logged, began = watched_of(defs()), list[str](), datetime.now(UTC)

    def look(told: set[str]) -> set[str]:
        return watch.look(NAMES, watched, told, logged.append, began)

    down = look(set())
    assert look(down) == down
    beat(instance, 0)
    up = look(down)
    assert look(up) == up == set()
    beat(instance, 500, "SCHEDULER")
    webhook.statuses = [500, 500]
    assert look(up) == up
    look(look(up))
    told = [text.removeprefix("analytics: ") for text in webhook.texts]
    hangs = "A part of Dagster's daemon hangs: no heartbeat of SCHEDULER for 0:03:00. Start it anew."
    assert told == [
        "Dagster's daemon is down: no heartbeat ever. Nothing is scheduled, launched or told. Start it.",
        "Dagster's daemon is up again.",
        # Two attempts that failed.
        *[hangs] * 3,
    ]
    [failed] = [text for text in logged if "The webhook at 127.0.0.1 did not take the alert" in text]
    assert failed.endswith(" It is tried again in 30 seconds.")


def test_a_failure_that_nobody_took_is_on_the_list_at_once_with_what_happens_next(
    home: Path, instance: dg.DagsterInstance, webhook: Webhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAGSTER_HOME", str(home))
    monkeypatch.setattr(delivery, "DELIVERY_PAUSE", 0.0)
    name, watched = NAMES.derived("failure_alert"), watched_of(defs())
    sensor, repository = defs().resolve_sensor_def(name), defs().get_repository_def()

    def tick(cursor: str | None) -> Any:
        with dg.build_sensor_context(instance, cursor=cursor, repository_def=repository, sensor_name=name) as context:
            return sensor.evaluate_tick(context)

    cursor = tick(None).cursor
    run = instance.add_run(dg.DagsterRun("analytics_check", tags={"dagster/max_retries": "0"}))
    instance.report_run_failed(run, "The worker is not there.")
    webhook.statuses = [500, 500]
    [reaction] = tick(cursor).dagster_run_reactions
    origin = RemoteInstigatorOrigin(
        RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("analytics_assets"), "__repository__"), name
    )
    state = InstigatorState(origin, InstigatorType.SENSOR, InstigatorStatus.RUNNING)
    instance.add_instigator_state(state)
    ids = state.instigator_origin_id, name, InstigatorType.SENSOR
    for ago, status, error in ((60, TickStatus.FAILURE, reaction.error), (30, TickStatus.SKIPPED, None)):
        at = time.time() - ago
        instance.create_tick(TickData(*ids, status, at, error=error, selector_id=state.selector_id))

    problems = watch.list_problems(NAMES, watched)
    [failed] = [text for text in problems if run.run_id in text]
    assert failed.startswith("A run of analytics_check failed.\n")
    assert failed.endswith("\nNo alert has told this yet.")
    [undelivered] = [text for text in problems if text.startswith(f"{name} could not deliver an alert at 20")]
    assert (
        ": The webhook at 127.0.0.1 did not take the alert: it answered 500. Check alerts.webhook_url. " in undelivered
    )
    assert " analytics_health delivers it as soon as somebody takes it" in undelivered
    # Delivered, it still is what is wrong.
    mark_told(instance, run.run_id)
    assert failed.removesuffix("\nNo alert has told this yet.") in watch.list_problems(NAMES, watched)


@pytest.mark.parametrize(
    ("ago", "says"),
    [
        # As of a code location that does not load.
        (0, "The sensor analytics_health has not ticked yet. Does its code location load?\n"),
        (500, "Dagster's daemon is down"),
    ],
)
def test_the_command_looks_once_and_ends_with_what_it_found(
    home: Path,
    instance: dg.DagsterInstance,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    ago: float,
    says: str,
) -> None:
    beat(instance, ago)
    monkeypatch.setenv("DAGSTER_HOME", str(home))
    monkeypatch.setattr(sys, "argv", ["analytics_assets", "watch", "--once"])
    with pytest.raises(SystemExit) as ended:
        command_line.main()
    assert ended.value.code == 1
    assert capsys.readouterr().out.startswith(says)


def test_storage_that_cannot_be_read_is_told_without_its_address(
    home: Path, monkeypatch: pytest.MonkeyPatch, webhook: Webhook
) -> None:
    (home / "history").write_text("no directory", encoding="utf-8")
    monkeypatch.setenv("DAGSTER_HOME", str(home))
    logged = list[str]()
    told = watch.look(NAMES, watched_of(defs()), set(), logged.append, datetime.now(UTC))
    assert told == {"storage"}
    assert str(home) not in webhook.texts[0]
