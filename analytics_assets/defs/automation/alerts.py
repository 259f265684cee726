"""The failure alert: a message to a webhook about each run that has failed for good or whose process has died.

[alerts]
webhook_url = "https://hooks.slack.com/services/..."    # a secret: .dlt/secrets.toml, or ALERTS__WEBHOOK_URL
ui_url = "https://dagster.example.com"                  # base of the links: .dlt/config.toml, or ALERTS__UI_URL
"""

import html
import time
from collections.abc import Collection
from typing import Any
from urllib.parse import urlsplit

import dagster as dg
import dlt

from analytics_assets.api.http.event_loop import run_in_background
from analytics_assets.api.http.response import NoResponseError
from analytics_assets.api.settings import read_secret
from analytics_assets.defs.automation.run_tags import RETRY_NUMBER, WILL_RETRY, selected_assets
from analytics_assets.defs.names import Names

DEFAULT_UI_URL = "http://localhost:3000"

DELIVERY_ATTEMPTS = 2
"""Attempts to post an alert. Dagster gives a sensor 60 seconds for up to five failed runs: if all of them took longer,
the next tick would post some alerts again."""

DELIVERY_PAUSE = 1.0
"""Seconds between two attempts."""

WEBHOOK_TIMEOUT = 4.0
"""Seconds that a webhook has to respond."""

RETRY_DECISION_TIMEOUT = 2.0
"""Most seconds to wait for Dagster's decision to retry a failed run, which it tags after it has stored the failure."""

NEVER_STARTED = "START_TIMEOUT"
"""Dagster's failure reason of a run that was launched and never started."""

ASSET_JOB = "__ASSET_JOB"
"""Beginning of the job name of a run that was launched from assets in the UI."""


class AlertError(RuntimeError):
    """An alert could not be delivered. The message never quotes the webhook's URL, which is a secret."""


def build_alert_sensor(names: Names, jobs: Collection[str], assets: Collection[dg.AssetKey]) -> dg.SensorDefinition:
    """The sensor `analytics_failure_alert`. It is switched on if a webhook is configured when the definitions load.

    Args:
        names: Names of the connector.
        jobs: Names of the jobs about whose runs it posts.
        assets: Keys of the assets about whose runs it posts.
    """

    @dg.run_failure_sensor(
        name=names.derived("failure_alert"),
        description=(
            "Posts what failed, why, and a link to the run, to the webhook of ALERTS__WEBHOOK_URL, or of [alerts]"
            " webhook_url in .dlt/secrets.toml. Leaves out runs that will be retried, unless their process died."
        ),
        default_status=dg.DefaultSensorStatus.RUNNING if read_webhook_url() else dg.DefaultSensorStatus.STOPPED,
    )
    def alert(context: dg.RunFailureSensorContext) -> None:
        # Reasons go to the tick's log: Dagster allows one SkipReason per tick, and then no other run in the tick.
        webhook_url = read_webhook_url()
        run = context.dagster_run
        if run.job_name not in jobs and selected_assets(run).isdisjoint(assets):
            # Another team's run in the same code location.
            return
        if webhook_url is None:
            context.log.info("No webhook: set ALERTS__WEBHOOK_URL, or [alerts] webhook_url in .dlt/secrets.toml.")
            return
        retried = will_be_retried(context.instance, run)
        if has_died(context):
            # Posted although it is retried: the retry repairs the tables, but not the cause of the death.
            deliver(webhook_url, describe_death(run, context.failure_event.message, retried=retried))
        elif retried:
            context.log.info(f"Run {run.run_id} will be retried.")
        else:
            deliver(webhook_url, describe_failure(context))

    return alert


def read_webhook_url() -> str | None:
    """The URL that alerts are posted to, or `None` if alerts are off."""
    return read_secret("alerts.webhook_url")


def will_be_retried(instance: dg.DagsterInstance, run: dg.DagsterRun) -> bool:
    """Whether Dagster retries a failed run. Without a decision in `RETRY_DECISION_TIMEOUT` the run counts as lost."""
    deadline = time.monotonic() + RETRY_DECISION_TIMEOUT
    while instance.run_retries_enabled and WILL_RETRY not in run.tags and time.monotonic() < deadline:
        time.sleep(0.1)
        run = instance.get_run_by_id(run.run_id) or run
    return run.tags.get(WILL_RETRY) == "true"


def has_died(context: dg.RunFailureSensorContext) -> bool:
    """Whether another process reported the failure of a run, because it found the run's own process gone."""
    data: Any = context.failure_event.job_failure_data  # typed as always present, but a dead run has none
    if data is not None:
        return data.failure_reason is not None and data.failure_reason.value == NEVER_STARTED
    # A run that could not be launched has no such data either. It never started, so no process died.
    record = context.instance.get_run_record_by_id(context.dagster_run.run_id)
    return record is not None and record.start_time is not None


def describe_failure(context: dg.RunFailureSensorContext) -> str:
    """The text about a failed run: which run, what failed in it and why, and a link."""
    run = context.dagster_run
    reasons = [_reason(event) for event in context.get_step_failure_events()]
    if not reasons:
        reasons = [context.failure_event.message or "Dagster recorded no reason."]
    return "\n".join([f"A run of {_name(run)} failed.", *reasons, _link(run)])


def describe_death(run: dg.DagsterRun, message: str | None, *, retried: bool = False) -> str:
    """The text about a run whose process is gone."""
    lines = [f"Run {run.run_id} of {_name(run)} died: its process is gone.", message or ""]
    return "\n".join([*lines, *(["Dagster retries it."] if retried else []), _link(run)])


def _name(run: dg.DagsterRun) -> str:
    name = "the assets" if run.job_name.startswith(ASSET_JOB) else run.job_name
    return f"{name}, retry {run.tags[RETRY_NUMBER]}," if RETRY_NUMBER in run.tags else name


def _link(run: dg.DagsterRun) -> str:
    ui_url = dlt.config.get("alerts.ui_url", str) or DEFAULT_UI_URL
    return f"{ui_url.rstrip('/')}/runs/{run.run_id}"


def _reason(event: dg.DagsterEvent) -> str:
    data = event.step_failure_data
    if data.user_failure_data and data.user_failure_data.description:
        return data.user_failure_data.description
    # Any other error is named by its class only, because its text may quote rows or secrets.
    error = data.error and (data.error.cause or data.error)
    return f"{event.step_key}: {error.cls_name if error else 'no reason given'}. The run's log says more."


def deliver(webhook_url: str, text: str) -> None:
    """Posts a text to the webhook, in `DELIVERY_ATTEMPTS` attempts.

    A text that is not delivered is not posted again later: Dagster shows the sensor's tick as failed and goes on to the
    next run.

    Raises:
        AlertError: The URL is malformed, or the webhook did not accept the text.
    """
    from analytics_assets.api.http import client  # noqa: PLC0415 - definitions need no HTTP

    host = urlsplit(webhook_url).hostname
    if not webhook_url.startswith(("http://", "https://")) or not host:
        raise AlertError(
            "alerts.webhook_url is not a URL such as https://hooks.slack.com/services/... (not shown here). Correct it"
            " in .dlt/secrets.toml, or as ALERTS__WEBHOOK_URL in the environment."
        )
    # The text may quote the API. Unescaped, the quote could be markup that notifies a whole channel.
    body = {"text": html.escape(text, quote=False)}
    problem = ""
    for attempt in range(DELIVERY_ATTEMPTS):
        if attempt:
            time.sleep(DELIVERY_PAUSE)
        try:
            status = run_in_background(client.post(webhook_url, body, WEBHOOK_TIMEOUT)).result()
        except NoResponseError as error:
            problem = str(error)
        else:
            if status < 300:
                return
            problem = f"it answered {status}"
    raise AlertError(f"The webhook at {host} did not take the alert: {problem}. Check alerts.webhook_url.")
