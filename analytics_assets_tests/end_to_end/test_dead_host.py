"""A dead host costs one sync: who dies in the middle of a run, and what then happens by itself."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from analytics_assets.api.catalog import load_order
from analytics_assets.api.connector import SHIPPED
from analytics_assets.defs.automation.signs_of_life import ALIVE, SILENT_TICKS
from analytics_assets.demo.exchange import Request
from analytics_assets_tests.servers.fake_api import TOKEN, Answer, FakeApi
from analytics_assets_tests.servers.webhook import Webhook
from analytics_assets_tests.support.checkout import CHECKOUT
from analytics_assets_tests.support.clock import Clock, new_clock
from analytics_assets_tests.support.commands import COMMANDS
from analytics_assets_tests.support.dagster_dev import dagster_dev
from analytics_assets_tests.support.eight import defs
from analytics_assets_tests.support.project import Project
from analytics_assets_tests.support.shipped import NAMES, as_shipped, keys, loaded_keys
from analytics_assets_tests.support.waiting import until
from analytics_assets_tests.support.watch import Watch, look_up, pid_of

LAST = load_order(SHIPPED.resources)[-1].name
"""The resource that a run loads last."""


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
    shipped_api: FakeApi, instance: dg.DagsterInstance, home: Path, watch: Watch, webhook: Webhook, project: Project
) -> None:
    arrived, go_on = stall(shipped_api, LAST)
    with subprocess.Popen(
        [*COMMANDS, "sync"],
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
    as_shipped(Project(instance, project.database)).sync()
    assert loaded_keys(project.database, LAST) == keys(LAST, shipped_api.rows[LAST])


@dataclass
class Host:
    """What `make dev` needs to run against an API and to tell a webhook."""

    home: Path
    api: FakeApi
    webhook: Webhook
    instance: dg.DagsterInstance
    clock: Clock

    def configured(self) -> dict[str, str]:
        return {
            "SOURCES__ANALYTICS__BASE_URL": self.api.url,
            "SOURCES__ANALYTICS__API_KEY": TOKEN,
            "ALERTS__WEBHOOK_URL": self.webhook.url,
            "SCHEDULES__ANALYTICS_SYNC": "* * * * *",
            **self.clock.environment,
        }

    def switch_on(self) -> None:
        """Starts the schedule, which is due every minute here."""
        command = [sys.executable, "-m", "dagster", "schedule", "start", "analytics_sync"]
        environment = {**os.environ, "DAGSTER_HOME": str(self.home)}
        subprocess.run(command, cwd=CHECKOUT, env=environment, check=True, capture_output=True)

    def await_mid_run(self) -> tuple[dg.DagsterRun, threading.Event]:
        """A scheduled sync that waits for its last resource until the event is set."""
        arrived, go_on = stall(self.api, LAST)
        until(self.in_haste(arrived.is_set), "a scheduled sync in mid-run", 180)
        [run] = self.instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED]))
        return run, go_on

    def await_recovery(self, run_id: str) -> str:
        """Waits until the dead run has failed, a later one has succeeded, and both were told; returns the alert."""
        until(
            self.in_haste(lambda: look_up(self.instance, run_id).status is dg.DagsterRunStatus.FAILURE), "its end", 420
        )
        until(self.in_haste(lambda: self.told(f"Run {run_id} ")), "the alert", 120)
        [dead] = self.instance.get_run_records(dg.RunsFilter(run_ids=[run_id]))
        later = dg.RunsFilter(statuses=[dg.DagsterRunStatus.SUCCESS], created_after=dead.create_timestamp)
        until(self.in_haste(lambda: self.instance.get_runs(later)), "a sync that succeeds", 180)
        until(self.in_haste(lambda: self.told("had failed. What it was to do")), "its end", 120)
        [alert] = self.told(f"Run {run_id} ")
        return alert

    def told(self, words: str) -> list[str]:
        """What the webhook was told with these words."""
        return [text for text in self.webhook.texts if words in text]

    def in_haste(self, condition: Callable[[], object]) -> Callable[[], object]:
        """The condition; while it is asked, the clock runs six times as fast."""
        seen = time.monotonic()

        def look() -> object:
            nonlocal seen
            before, seen = seen, time.monotonic()
            self.clock.forward(5 * (seen - before))
            return condition()

        return look

    def row_count(self) -> object:
        """What the newest sync says that the table has."""
        event = self.instance.get_latest_materialization_event(NAMES.asset_key(LAST))
        assert event
        assert event.asset_materialization
        return event.asset_materialization.metadata["dagster/row_count"].value


@pytest.fixture
def host(shipped_api: FakeApi, webhook: Webhook, instance: dg.DagsterInstance, home: Path) -> Host:
    """An API with a few rows, a webhook, a home with the file that is shipped, and a clock that can be put."""
    return Host(home, shipped_api, webhook, instance, new_clock(home))


@pytest.mark.slow
def test_a_power_cut_and_a_killed_run_cost_one_sync_each(host: Host) -> None:
    """Under a clock that runs faster while a silent run does not yet count as dead."""
    rows = host.api.rows[LAST]
    newest = SHIPPED.by_name[LAST].cursor or SHIPPED.by_name[LAST].key_names[0]
    late = rows.pop(rows.index(max(rows, key=lambda row: str(row[newest]))))
    with dagster_dev(host.home, **host.configured()):
        host.switch_on()
        run, go_on = host.await_mid_run()
    # Every process is killed.
    go_on.set()
    with dagster_dev(host.home, **host.configured()):
        began = host.clock.now()
        alert = host.await_recovery(run.run_id)
        assert host.clock.now() - began < timedelta(minutes=15)
        assert alert.startswith(f"Run {run.run_id} of analytics_sync died: its process is gone.\nNo sign of life")
        assert host.row_count() == len(rows)

        host.webhook.posts.clear()
        run, go_on = host.await_mid_run()
        rows.append(late)
        os.kill(pid_of(host.instance, run.run_id), signal.SIGKILL)
        go_on.set()
        alert = host.await_recovery(run.run_id)
        # On a slow machine the next run may be a retry of the one before.
        first = rf"Run {run.run_id} of analytics_sync(, retry \d,)? died: its process is gone\.\n"
        assert re.match(first, alert), alert
        assert "\nDagster retries it.\n" in alert
    assert loaded_keys(host.home / "demo.duckdb", LAST) == keys(LAST, rows)
