"""A dead host costs one sync: who dies in the middle of a run, and what then happens by itself."""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from analytics_assets.api.catalog import load_order
from analytics_assets.api.connector import SHIPPED
from analytics_assets.defs.automation.signs_of_life import ALIVE, SILENT_TICKS
from analytics_assets.demo.exchange import Request
from analytics_assets_tests.servers.fake_api import TOKEN, Answer, FakeApi, serve
from analytics_assets_tests.servers.webhook import Webhook, listening
from analytics_assets_tests.support.checkout import CHECKOUT
from analytics_assets_tests.support.clock import Clock, new_clock
from analytics_assets_tests.support.commands import COMMANDS
from analytics_assets_tests.support.dagster_dev import dagster_dev
from analytics_assets_tests.support.eight import defs
from analytics_assets_tests.support.project import Project
from analytics_assets_tests.support.shipped import as_shipped, keys, loaded_keys, shipped_rows
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

    @contextmanager
    def in_mid_run(self) -> Iterator[threading.Event]:
        """Dagster, with a scheduled sync that waits for its last resource until the event is set."""
        arrived, go_on = stall(self.api, LAST)
        with dagster_dev(self.home, **self.configured()):
            self.switch_on()
            until(self.in_haste(arrived.is_set), "a scheduled sync in mid-run", 180)
            yield go_on

    def started_run(self) -> dg.DagsterRun:
        [run] = self.instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED]))
        return run

    def await_recovery(self, run_id: str) -> str:
        """Waits until the dead run has failed, a later one has succeeded, and both were told; returns the alert."""
        until(
            self.in_haste(lambda: look_up(self.instance, run_id).status is dg.DagsterRunStatus.FAILURE), "its end", 420
        )
        until(self.in_haste(lambda: any(f"Run {run_id} " in text for text in self.webhook.texts)), "the alert", 120)
        succeeded = dg.RunsFilter(statuses=[dg.DagsterRunStatus.SUCCESS])
        until(self.in_haste(lambda: self.instance.get_runs(succeeded)), "a sync that succeeds", 180)
        recovered = self.in_haste(lambda: any("had failed. What it was to do" in text for text in self.webhook.texts))
        until(recovered, "its end", 120)
        return next(text for text in self.webhook.texts if f"Run {run_id} " in text)

    def in_haste(self, condition: Callable[[], object]) -> Callable[[], object]:
        """The condition; while it is asked, the clock runs six times as fast."""
        seen = time.monotonic()

        def look() -> object:
            nonlocal seen
            before, seen = seen, time.monotonic()
            self.clock.forward(5 * (seen - before))
            return condition()

        return look

    def is_loaded(self) -> bool:
        return loaded_keys(self.home / "demo.duckdb", LAST) == keys(LAST, self.api.rows[LAST])


@contextmanager
def new_host(home: Path) -> Iterator[Host]:
    """A host of its own: an API with a few rows, a webhook, and a home with the file that is shipped."""
    home.mkdir()
    shutil.copy(CHECKOUT / "dagster.yaml", home)
    with serve(connector=SHIPPED) as api, listening() as webhook, dg.DagsterInstance.from_config(str(home)) as instance:
        api.rows = shipped_rows()
        yield Host(home, api, webhook, instance, new_clock(home))


def power_cut(home: Path) -> None:
    with new_host(home) as host:
        with host.in_mid_run() as go_on:
            pass
        # Every process is killed.
        go_on.set()
        run = host.started_run()
        with dagster_dev(host.home, **host.configured()):
            began = host.clock.now()
            alert = host.await_recovery(run.run_id)
            assert host.clock.now() - began < timedelta(minutes=15)
        assert alert.startswith(f"Run {run.run_id} of analytics_sync died: its process is gone.\nNo sign of life")
        assert host.is_loaded()


def killed_run(home: Path) -> None:
    with new_host(home) as host:
        with host.in_mid_run() as go_on:
            run = host.started_run()
            os.kill(pid_of(host.instance, run.run_id), signal.SIGKILL)
            go_on.set()
            alert = host.await_recovery(run.run_id)
        assert alert.startswith(f"Run {run.run_id} of analytics_sync died: its process is gone.\n")
        assert "\nDagster retries it.\n" in alert
        assert host.is_loaded()


@pytest.mark.slow
def test_a_power_cut_and_a_killed_run_cost_one_sync_each(tmp_path: Path) -> None:
    """On two hosts at once, under clocks that run faster while a silent run does not yet count as dead."""
    with ThreadPoolExecutor(2) as pool:
        hosts = [pool.submit(happens, tmp_path / happens.__name__) for happens in (power_cut, killed_run)]
    for host in hosts:
        host.result()
