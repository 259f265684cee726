"""The failure alert: a message about each run that has failed for good or whose process has died."""

import time
from collections.abc import Collection
from typing import Any

import dagster as dg

from analytics_assets.defs.automation.delivery import fit, link_to, tell
from analytics_assets.defs.automation.run_tags import PARTITION, RETRY_NUMBER, WILL_RETRY, selected_assets, tag_run
from analytics_assets.defs.names import Names

INTERRUPTED = "INTERRUPT"
"""Dagster's source of the error of a step whose process got SIGTERM or Ctrl-C."""

RETRY_DECISION_TIMEOUT = 2.0
"""Most seconds to wait for Dagster's decision to retry a failed run, which it tags after it has stored the failure."""

NEVER_STARTED = "START_TIMEOUT"
"""Dagster's failure reason of a run that was launched and never started."""

ASSET_JOB = "__ASSET_JOB"
"""Beginning of the job name of a run that was launched from assets in the UI."""

TOLD = "analytics/told"
"""Key of the tag of a failed run whose failure was told. Its value is the run's id, as a retry inherits the tag."""


def build_alert_sensor(names: Names, jobs: Collection[str], assets: Collection[dg.AssetKey]) -> dg.SensorDefinition:
    """The sensor `analytics_failure_alert`.

    What it cannot tell, without a webhook or because that does not respond, the sensor `analytics_health` tells later.

    Args:
        names: Names of the connector.
        jobs: Names of the jobs about whose runs it posts.
        assets: Keys of the assets about whose runs it posts.
    """

    @dg.run_failure_sensor(
        name=names.derived("failure_alert"),
        description=(
            "Posts what failed, why, and a link to the run, to the webhook of ALERTS__WEBHOOK_URL, or of [alerts]"
            " webhook_url in .dlt/secrets.toml. Leaves out runs that will be retried, unless their process died. A tick"
            " that has something to post fails if there is no webhook."
        ),
        default_status=dg.DefaultSensorStatus.RUNNING,
    )
    def alert(context: dg.RunFailureSensorContext) -> None:
        run = context.dagster_run
        if run.job_name not in jobs and selected_assets(run).isdisjoint(assets):
            # Another team's run in the same code location.
            return
        retried = will_be_retried(context.instance, run)
        if has_died(context):
            # Posted although it is retried: the retry repairs the tables, but not the cause of the death.
            tell(describe_death(run, context.failure_event.message, retried=retried))
        elif retried:
            # Dagster allows one SkipReason per tick, and then no other run in the tick.
            context.log.info(f"Run {run.run_id} will be retried.")
            return
        else:
            tell(describe_failure(context.instance, run))
        mark_told(context.instance, run.run_id)

    return alert


def mark_told(instance: dg.DagsterInstance, run_id: str) -> None:
    """Notes on a failed run that its failure was told, so that nobody tells it again, and its end is told."""
    tag_run(instance, run_id, {TOLD: run_id})


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


def describe_failure(instance: dg.DagsterInstance, run: dg.DagsterRun) -> str:
    """The text about a failed run: which run, what failed in it and why, and a link."""
    kinds = {dg.DagsterEventType.STEP_FAILURE, dg.DagsterEventType.RUN_FAILURE}
    events = [entry.dagster_event for entry in instance.all_logs(run.run_id, of_type=kinds) if entry.dagster_event]
    reasons = [_reason(event) for event in events if event.is_step_failure]
    if not reasons:
        reasons = [event.message for event in events if event.message] or ["Dagster recorded no reason."]
    link = link_to("runs", run.run_id)
    return fit([f"A run of {name_of(run)} failed.", *"\n".join(reasons).splitlines(), link], link)


def describe_death(run: dg.DagsterRun, message: str | None, *, retried: bool = False) -> str:
    """The text about a run whose process is gone."""
    lines = [f"Run {run.run_id} of {name_of(run)} died: its process is gone.", message or ""]
    return "\n".join([*lines, *(["Dagster retries it."] if retried else []), link_to("runs", run.run_id)])


def name_of(run: dg.DagsterRun) -> str:
    """What a run is called: its job, its partition, and which retry it is."""
    name = "the assets" if run.job_name.startswith(ASSET_JOB) else run.job_name
    if PARTITION in run.tags:
        name = f"{name} for {run.tags[PARTITION]}"
    return f"{name}, retry {run.tags[RETRY_NUMBER]}," if RETRY_NUMBER in run.tags else name


def _reason(event: dg.DagsterEvent) -> str:
    data = event.step_failure_data
    if data.user_failure_data and data.user_failure_data.description:
        return data.user_failure_data.description
    if data.error_source and data.error_source.value == INTERRUPTED:
        return f"{event.step_key}: its process was told to end, as a deployment does. What it has loaded stays."
    # Any other error is named by its class only, because its text may quote rows or secrets.
    error = data.error and (data.error.cause or data.error)
    return f"{event.step_key}: {error.cls_name if error else 'no reason given'}. The run's log says more."
