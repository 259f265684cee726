"""The failure alert: what it posts, about which runs, and what it does when nobody takes it."""

import logging
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.events import JobFailureData, RunFailureReason
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteJobOrigin, RemoteRepositoryOrigin

from analytics_assets.defs.automation import alerts, delivery
from analytics_assets_tests.servers.fake_api import TOKEN, Answer, FakeApi
from analytics_assets_tests.servers.webhook import SECRET, Webhook
from analytics_assets_tests.support.eight import NAMES, asset_key, defs
from analytics_assets_tests.support.project import Project

SENSOR = NAMES.derived("failure_alert")


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alerts, "RETRY_DECISION_TIMEOUT", 0.3)
    for name in ("DELIVERY_PAUSE", "WEBHOOK_TIMEOUT"):
        monkeypatch.setattr(delivery, name, 0.3)


@dataclass
class Watched:
    """An instance on disk with the alert's sensor, which is at its latest event when the test begins."""

    instance: dg.DagsterInstance
    project: Project
    cursor: str | None = None

    def tick(self) -> Any:
        """What the daemon does every thirty seconds."""
        context = dg.build_sensor_context(
            self.instance, cursor=self.cursor, repository_def=defs().get_repository_def(), sensor_name=SENSOR
        )
        result = defs().resolve_sensor_def(SENSOR).evaluate_tick(context)
        self.cursor = result.cursor
        return result


@pytest.fixture
def watched(project: Project, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Watched]:
    """With run retries as in dagster.yaml, unless the test asks for other settings."""
    settings = getattr(request, "param", {"enabled": True, "max_retries": 2})
    (tmp_path / "home").mkdir()
    with dg.DagsterInstance.local_temp(str(tmp_path / "home"), overrides={"run_retries": settings}) as instance:
        found = Watched(instance, Project(instance, project.database))
        found.tick()
        yield found


def sync_job() -> dg.JobDefinition:
    return defs().resolve_job_def("analytics_sync")


NO_RETRIES = pytest.mark.parametrize("watched", [{"enabled": False}], indirect=True)


def test_a_run_that_failed_for_good_is_posted_once_with_what_why_and_where(
    api: FakeApi, watched: Watched, webhook: Webhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALERTS__UI_URL", "https://dagster.example.com/")
    api.answer_always("policies", Answer(403))
    api.answer_always("groups", Answer(400, {"error": f"Bearer {TOKEN} <!channel> & more"}))
    run_id = watched.project.run().run_id
    result = watched.tick()
    watched.tick()

    [post] = webhook.posts
    assert list(post) == ["text"]
    first, *reasons, link = post["text"].splitlines()
    assert first == "A run of analytics_sync failed."
    assert reasons[0] == "2 of 8 resources failed; the others are loaded."
    assert reasons[1].startswith("- policies: GET /v2/policies answered 403 Forbidden. The token is valid but")
    assert reasons[2].startswith("- groups: GET /v2/groups answered 400 Bad Request.")
    assert "&lt;!channel&gt; &amp; more" in reasons[2]
    assert link == f"https://dagster.example.com/runs/{run_id}"
    assert len(reasons) == 3
    assert TOKEN not in post["text"]
    [reaction] = result.dagster_run_reactions
    assert reaction.error is None


def test_links_lead_to_the_local_ui_by_default(api: FakeApi, watched: Watched, webhook: Webhook) -> None:
    api.answer_always("policies", Answer(403))
    run_id = watched.project.run("policies").run_id
    watched.tick()
    assert webhook.texts[0].endswith(f"\nhttp://localhost:3000/runs/{run_id}")


def test_a_run_that_will_be_retried_is_not_posted_but_its_last_retry_is(
    api: FakeApi, watched: Watched, webhook: Webhook, capfd: pytest.CaptureFixture[str]
) -> None:
    api.answer_always("policies", Answer(503))
    first = watched.project.run()
    watched.tick()
    assert webhook.posts == []
    assert f"Run {first.run_id} will be retried." in capfd.readouterr().err

    for number in ("1", "2"):
        # As the daemon does it.
        with dg.execute_job(
            dg.reconstructable(sync_job),
            watched.instance,
            tags={"dagster/retry_number": number, "dagster/root_run_id": first.run_id},
            reexecution_options=dg.ReexecutionOptions(first.run_id),
        ) as retry:
            assert not retry.success
        watched.tick()
        watched.tick()
    [text] = webhook.texts
    assert text.startswith("A run of analytics_sync, retry 2, failed.\n1 of 8 resources failed")


def test_one_tick_takes_all_runs_that_failed_meanwhile(api: FakeApi, watched: Watched, webhook: Webhook) -> None:
    api.answer_always("groups", Answer(403))
    api.answer_always("policies", Answer(503))
    lost = [watched.project.run("groups").run_id]
    watched.project.run("policies")
    lost.append(watched.project.run("groups").run_id)
    watched.tick()
    watched.tick()
    assert [text.rpartition("/")[2] for text in webhook.texts] == lost


@NO_RETRIES
def test_an_instance_that_retries_nothing_posts_at_once(
    api: FakeApi, watched: Watched, webhook: Webhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alerts, "RETRY_DECISION_TIMEOUT", 60)
    api.answer_always("policies", Answer(503))
    watched.project.run("policies")
    began = time.monotonic()
    watched.tick()
    assert len(webhook.posts) == 1
    assert time.monotonic() - began < 30


@NO_RETRIES
@pytest.mark.parametrize(("tag", "posts"), [("true", 0), ("false", 1), (None, 1)])
def test_the_decision_to_retry_is_waited_for(
    api: FakeApi, watched: Watched, webhook: Webhook, impatient: None, tag: str | None, posts: int, tmp_path: Path
) -> None:
    """The failure is stored before the tag is: an instance without retries does not set it, so that it comes late."""
    api.answer_always("policies", Answer(503))
    run_id = watched.project.run("policies").run_id
    settings = {"enabled": True, "max_retries": 2}
    with dg.DagsterInstance.local_temp(str(tmp_path / "home"), overrides={"run_retries": settings}) as instance:
        timer = threading.Timer(0.1, lambda: tag and instance.add_run_tags(run_id, {"dagster/will_retry": tag}))
        timer.start()
        Watched(instance, watched.project, watched.cursor).tick()
        timer.join()
    assert len(webhook.posts) == posts


def test_a_run_that_succeeds_is_not_posted(api: FakeApi, watched: Watched, webhook: Webhook) -> None:
    watched.project.sync("roles")
    watched.tick()
    assert webhook.posts == []


def started(instance: dg.DagsterInstance, location: str | None = None, **tags: str) -> dg.DagsterRun:
    """A run whose process is gone without a word."""
    origin = None
    if location:
        origin = RemoteJobOrigin(
            RemoteRepositoryOrigin(RegisteredCodeLocationOrigin(location), "__repository__"), "analytics_sync"
        )
    run = instance.add_run(
        dg.DagsterRun(
            "__ASSET_JOB", remote_job_origin=origin, tags=tags, asset_selection=frozenset({asset_key("groups")})
        )
    )
    instance.report_dagster_event(dg.DagsterEvent("PIPELINE_START", job_name=run.job_name), run.run_id)
    return run


@pytest.mark.parametrize(("retries", "next_line"), [("0", ""), ("2", "Dagster retries it.\n")])
def test_a_run_that_died_is_posted_whether_or_not_it_is_retried(
    watched: Watched, webhook: Webhook, retries: str, next_line: str
) -> None:
    run = started(watched.instance, **{"dagster/max_retries": retries, "dagster/retry_number": "1"})
    watched.instance.report_run_failed(run, message="The worker is not there.")
    watched.tick()
    [text] = webhook.texts
    assert text == (
        f"Run {run.run_id} of the assets, retry 1, died: its process is gone.\nThe worker is not there.\n{next_line}"
        f"http://localhost:3000/runs/{run.run_id}"
    )


def test_a_run_that_died_elsewhere_is_not_posted(watched: Watched, webhook: Webhook) -> None:
    run = started(watched.instance, "another_location")
    watched.instance.report_run_failed(run, message="The worker is not there.")
    watched.tick()
    assert webhook.posts == []


@pytest.mark.parametrize(("reason", "posts"), [("START_TIMEOUT", 1), (None, 0)])
def test_a_run_that_was_launched_and_never_started_is_posted(
    watched: Watched, webhook: Webhook, reason: str | None, posts: int
) -> None:
    run = watched.instance.add_run(dg.DagsterRun("analytics_sync"))
    data = JobFailureData(error=None, failure_reason=RunFailureReason(reason)) if reason else None
    watched.instance.report_run_failed(run, "Run timed out due to taking longer than 180 seconds to start.", data)
    watched.tick()
    assert len(webhook.posts) == posts
    assert all(text.startswith(f"Run {run.run_id} of analytics_sync died") for text in webhook.texts)


@NO_RETRIES
def test_an_unexplained_error_is_posted_by_its_type_alone(
    api: FakeApi, watched: Watched, webhook: Webhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(*_: object, **__: object) -> None:
        raise ValueError(f"what {TOKEN} was")

    monkeypatch.setattr("analytics_assets.defs.assets.step.begin_sync", crash)
    watched.project.run("roles")
    watched.tick()
    [text] = webhook.texts
    assert "\nanalytics_api: ValueError. The run's log says more.\n" in text
    assert TOKEN not in text


@NO_RETRIES
def test_a_run_whose_process_was_told_to_end_is_said_to_be_so(
    api: FakeApi, watched: Watched, webhook: Webhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    def end(*_: object, **__: object) -> None:
        raise dg.DagsterExecutionInterruptedError

    monkeypatch.setattr("analytics_assets.defs.assets.step.begin_sync", end)
    watched.project.run("roles")
    watched.tick()
    [text] = webhook.texts
    assert "\nanalytics_api: its process was told to end, as a deployment does. What it has loaded stays.\n" in text


@NO_RETRIES
def test_a_sensor_without_a_webhook_says_so_as_a_failed_tick(api: FakeApi, watched: Watched) -> None:
    assert defs().resolve_sensor_def(SENSOR).default_status is dg.DefaultSensorStatus.RUNNING
    api.answer_always("policies", Answer(403))
    run_id = watched.project.run("policies").run_id
    [reaction] = watched.tick().dagster_run_reactions
    said = str(reaction.error)
    assert "Nobody was told this, because there is no webhook: set ALERTS__WEBHOOK_URL, or [alerts] webhook_url" in said
    assert "- policies: GET /v2/policies answered 403 Forbidden." in said
    assert f"/runs/{run_id}" in said


@NO_RETRIES
def test_a_webhook_that_stumbles_is_asked_once_more(
    api: FakeApi, watched: Watched, webhook: Webhook, impatient: None
) -> None:
    webhook.statuses = [503]
    api.answer_always("policies", Answer(403))
    watched.project.run("policies")
    [reaction] = watched.tick().dagster_run_reactions
    assert reaction.error is None
    assert len(webhook.posts) == 2


@NO_RETRIES
@pytest.mark.parametrize(
    ("trouble", "said"),
    [
        ("errors", "at 127.0.0.1 did not take the alert: it answered 500"),
        ("redirect", "at 127.0.0.1 did not take the alert: it answered 302"),
        ("silence", "at 127.0.0.1 did not take the alert: no answer in time"),
        ("nobody", "at 127.0.0.1 did not take the alert: no answer (ConnectError)"),
        ("port", "at 127.0.0.1 did not take the alert: no answer (ValueError)"),
        ("nonsense", "alerts.webhook_url is not a URL"),
        ("bracket", "alerts.webhook_url is not a URL"),
    ],
)
def test_a_webhook_that_does_not_take_it_is_a_failed_tick_without_its_secret(
    api: FakeApi,
    watched: Watched,
    webhook: Webhook,
    impatient: None,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
    trouble: str,
    said: str,
) -> None:
    webhook.statuses = {"errors": [500, 500], "redirect": [302, 302]}.get(trouble, [])
    if trouble == "silence":
        webhook.silent.set()
    elsewhere = {
        "nobody": f"http://127.0.0.1:1/services/{SECRET}",
        "port": f"http://127.0.0.1:99999/services/{SECRET}",
        "nonsense": f"slack:{SECRET}",
        "bracket": f"HTTPS://[{SECRET}",
    }
    if trouble in elsewhere:
        monkeypatch.setenv("ALERTS__WEBHOOK_URL", elsewhere[trouble])
    api.answer_always("policies", Answer(403))
    run_id = watched.project.run("policies").run_id
    with caplog.at_level(logging.DEBUG):
        result = watched.tick()

    [reaction] = result.dagster_run_reactions
    assert said in str(reaction.error)
    logs = "".join(str(entry) for entry in watched.instance.all_logs(run_id))
    everything = "\n".join([str(reaction.error), logs, caplog.text, *capfd.readouterr()])
    assert "hook-canary" not in everything
    # The next run is not held up.
    monkeypatch.undo()
    assert watched.tick().dagster_run_reactions == []


@NO_RETRIES
def test_a_delivery_leaves_no_trace_of_the_webhooks_secret(
    api: FakeApi,
    watched: Watched,
    webhook: Webhook,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    api.answer_always("policies", Answer(403))
    with caplog.at_level(logging.DEBUG):
        run_id = watched.project.run("policies").run_id
        watched.tick()
    assert len(webhook.posts) == 1
    logs = "".join(str(entry) for entry in watched.instance.all_logs(run_id))
    assert "hook-canary" not in "\n".join([logs, caplog.text, *capfd.readouterr()])
