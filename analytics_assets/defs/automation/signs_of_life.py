"""Signs of life: a sensor declares a run dead whose process is gone, so that no other run waits for it for ever.

It also launches a retry that Dagster has promised and lost, and registers the pool.

Dagster's default launcher cannot tell whether the process of a run still exists. So a run renews a tag every ten
seconds while it has the resource `analytics` open, and the sensor counts the ticks during which the tag did not change.
"""

import json
import logging
import threading
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import dagster as dg

from analytics_assets.defs.automation.alerts import describe_death, mark_told
from analytics_assets.defs.automation.delivery import AlertError, tell
from analytics_assets.defs.automation.lost_retries import find_lost_retries, request_retry
from analytics_assets.defs.automation.run_tags import is_here, is_ours, location_of, tag_run
from analytics_assets.defs.execution import have_steps_to_wait, register_pool
from analytics_assets.defs.names import Names

ALIVE = "analytics/alive"
"""Key of the tag. Its value is the time of the last sign of life, by the clock of the run's host."""

BEAT = 10.0
"""Seconds between two signs of life."""

TICK = 30
"""Seconds between two ticks of the sensor."""

SILENT_TICKS = 6
"""Ticks without a sign of life after which a run is dead. By then eighteen signs are missing.

The sensor counts ticks and compares no clocks: the clocks of two hosts differ, and a laptop that sleeps has no ticks.
"""

WAITING_TICKS = 120
"""Ticks, an hour, after which a run is dead whose steps all wait for a worker: of Celery, Kubernetes or Dask."""

LOST_TICKS = 2
"""Ticks without the promised retry of a failed run after which it is lost. Dagster launches retries within seconds."""

SILENT_MINUTES = SILENT_TICKS * TICK // 60
"""The same in minutes, for messages."""

LOST = "failed"
"""The sign of a failed run, in place of a sign of life."""

WATCHED = [dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]
"""Statuses in which a run may hang for ever. `run_monitoring` in `dagster.yaml` limits the time of a start."""


@contextmanager
def alive(context: dg.InitResourceContext) -> Iterator[None]:
    """Gives signs of life of a run while the block runs, from a thread that neither fails the run nor outlives it.

    Does nothing without a run (the command `check`), or on an ephemeral instance, which has no daemon.
    """
    run, instance = context.run, context.instance
    if run is None or instance is None or instance.is_ephemeral:
        yield
        return
    over = threading.Event()

    def beat() -> None:
        while True:
            try:
                tag_run(instance, run.run_id, {ALIVE: datetime.now(UTC).isoformat(timespec="milliseconds")})
            except Exception as error:  # noqa: BLE001 - each storage has its own errors, and the next sign may succeed
                logging.getLogger(__name__).debug("No sign of life could be given: %s", type(error).__name__)
            if over.wait(BEAT):
                return

    thread = threading.Thread(target=beat, name="signs of life", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        # The thread ends first, because Dagster tags the run after this. The timeout is for a storage that hangs.
        thread.join(TICK)


def build_watch(
    names: Names, jobs: Collection[str], assets: Collection[dg.AssetKey], retried: Sequence[Any]
) -> dg.SensorDefinition:
    """The sensor `analytics_signs_of_life`.

    Args:
        names: Names of the connector.
        jobs: Names of the jobs whose runs give signs of life.
        assets: Keys of the assets whose runs do. The sensor does not watch a run that has other assets as well, because
            the run gives no sign of life while it works on those.
        retried: The jobs that it launches in place of lost retries, as `request_retry` names them.
    """

    @dg.sensor(
        name=names.derived("signs_of_life"),
        jobs=retried,
        minimum_interval_seconds=TICK,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=(
            f"Declares a run dead if it gives no sign of life for {SILENT_MINUTES} minutes, because its host went"
            " down or its process was killed. A dead run no longer blocks other runs, and is retried. Also launches"
            " a retry that Dagster has lost."
        ),
    )
    def watch(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        def is_watched(run: dg.DagsterRun) -> bool:
            return is_here(run, location_of(context)) and is_ours(run, jobs, assets)

        register_pool(context.instance, names.pool)
        seen = _read_counts(context.cursor)
        counts: dict[str, tuple[str, int]] = {}
        dead = []
        for record in context.instance.get_run_records(dg.RunsFilter(statuses=WATCHED)):
            run = record.dagster_run
            if is_watched(run):
                sign = _last_sign(context.instance, run)
                before, ticks = seen.get(run.run_id, (None, 0))
                counts[run.run_id] = sign, ticks + 1 if sign == before else 0
                if _is_dead(context.instance, run, counts[run.run_id][1]):
                    dead.append(record)
        at_work = len(counts) - len(dead)
        requests = []
        for record in find_lost_retries(context.instance, is_watched):
            run_id = record.dagster_run.run_id
            before, ticks = seen.get(run_id, (None, 0))
            counts[run_id] = LOST, ticks + 1 if before == LOST else 0
            # Without a request, the sensor analytics_health tells that the run has failed.
            if counts[run_id][1] == LOST_TICKS and (
                request := request_retry(context.instance, record, names.asset_keys(), names.sync)
            ):
                context.log.warning(f"Dagster has not launched the retry of run {run_id}, so it is launched now.")
                requests.append(request)
        context.update_cursor(json.dumps(counts))
        for record in dead:
            _declare_dead(context, record)
        if requests:
            return dg.SensorResult(run_requests=requests)
        return dg.SkipReason(f"Runs at work: {at_work}, dead: {len(dead)}.")

    return watch


def _is_dead(instance: dg.DagsterInstance, run: dg.DagsterRun, silent: int) -> bool:
    if silent < SILENT_TICKS:
        return False
    if silent >= WAITING_TICKS or not have_steps_to_wait():
        return True
    # Only a step that is at work gives signs of life.
    return any(step.start_time and not step.end_time for step in instance.get_run_step_stats(run.run_id))


def _read_counts(cursor: str | None) -> dict[str, tuple[str, int]]:
    """The last sign of life and the ticks since, by run id. A cursor that somebody edited counts as empty."""
    try:
        return {str(run_id): (str(sign), int(ticks)) for run_id, (sign, ticks) in json.loads(cursor or "{}").items()}
    except (ValueError, TypeError, AttributeError):
        return {}


def _last_sign(instance: dg.DagsterInstance, run: dg.DagsterRun) -> str:
    """A text that changes with each sign of life.

    A new event of the run counts as a sign, because between two steps the run may not have the resource open.
    """
    events = instance.get_records_for_run(run.run_id, limit=1, ascending=False).records
    return f"{run.tags.get(ALIVE)} {events[0].storage_id if events else None}"


def _declare_dead(context: dg.SensorEvaluationContext, record: dg.RunRecord) -> None:
    run = record.dagster_run
    last = run.tags.get(ALIVE)
    # A retry inherits the tags of the failed run: a sign from before its start is not its own.
    if last is None or datetime.fromisoformat(last).timestamp() < (record.start_time or 0):
        last = "never"
    message = (
        f"No sign of life from the process of this run for {SILENT_MINUTES} minutes; the last: {last}. Its host"
        " went down, or something killed it. What it has loaded stays; its retry or the next sync loads the rest."
    )
    context.log.warning(f"Run {run.run_id} is dead. {message}")
    if run.status is dg.DagsterRunStatus.CANCELING:
        # Somebody terminated the run, so it must not be retried.
        context.instance.report_run_canceled(run, message)
        return
    context.instance.report_run_failed(run, message)
    # Dagster calls the failure alert only for runs of a code location, not for those of the command line.
    if run.remote_job_origin is None:
        try:
            tell(describe_death(run, message))
            mark_told(context.instance, run.run_id)
        except AlertError as error:
            # The sensor analytics_health tells it later.
            context.log.warning(str(error))
