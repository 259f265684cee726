"""Signs of life: a run whose process died is declared dead, so that it holds up no other run for ever.

Dagster's default launcher cannot tell a process that is gone from one at work. So every run writes a tag every few
seconds while it has the resource `analytics` open, and a sensor counts for how many of its ticks that has stood still.
"""

import json
import logging
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import dagster as dg

from analytics_assets.defs.automation.alerts import deliver, describe_death, read_webhook_url
from analytics_assets.defs.automation.run_tags import tag_run

SENSOR = "analytics_signs_of_life"

ALIVE = "analytics/alive"
"""Tag of a run: when its process last gave a sign of life, by the clock of its host."""

BEAT = 10.0
"""Seconds between two signs."""

TICK = 30
"""Seconds between two ticks of the sensor."""

SILENT_TICKS = 6
"""Ticks without a sign, after which a run is dead: eighteen signs are missing then.

Ticks are counted, and no clocks compared: those of two hosts differ, and a laptop that sleeps makes no ticks, either.
"""

SILENT_MINUTES = SILENT_TICKS * TICK // 60

WATCHED = [dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]
"""What may hang for ever. Runs that are about to start have a time limit in `dagster.yaml`, under run_monitoring."""


@contextmanager
def alive(context: dg.InitResourceContext) -> Iterator[None]:
    """Gives signs of life of the context's run meanwhile, from a thread that neither fails the run nor outlives it.

    Does nothing where there is no run (the command `check`), or an instance that no daemon looks at.
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
            except Exception as error:  # noqa: BLE001 - each storage has errors of its own, and the next sign may get through
                logging.getLogger(__name__).debug("No sign of life could be given: %s", type(error).__name__)
            if over.wait(BEAT):
                return

    thread = threading.Thread(target=beat, name="signs of life", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        # After this, Dagster tags the run itself. A storage that hangs may not hang the run for ever.
        thread.join(TICK)


def build_watch(jobs: Collection[str], assets: Collection[dg.AssetKey]) -> dg.SensorDefinition:
    """The sensor `analytics_signs_of_life`.

    Args:
        jobs: Names of the jobs that give signs of life.
        assets: Keys of the assets that do. A run of these and others is not watched: it may be at work on the others.
    """

    @dg.sensor(
        name=SENSOR,
        minimum_interval_seconds=TICK,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=(
            f"Declares a run dead that gives no sign of life for {SILENT_MINUTES} minutes, because its host went"
            " down or its process was killed. Then it no longer holds up the others, and is retried."
        ),
    )
    def watch(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        seen = _read_counts(context.cursor)
        counts: dict[str, tuple[str, int]] = {}
        dead = []
        for record in context.instance.get_run_records(dg.RunsFilter(statuses=WATCHED)):
            run = record.dagster_run
            if _is_here(run, context) and _is_ours(run, jobs, assets):
                sign = _last_sign(context.instance, run)
                before, ticks = seen.get(run.run_id, (None, 0))
                counts[run.run_id] = sign, ticks + 1 if sign == before else 0
                if counts[run.run_id][1] >= SILENT_TICKS:
                    dead.append(record)
        context.update_cursor(json.dumps(counts))
        for record in dead:
            _declare_dead(context, record)
        return dg.SkipReason(f"Runs at work: {len(counts) - len(dead)}, dead: {len(dead)}.")

    return watch


def _read_counts(cursor: str | None) -> dict[str, tuple[str, int]]:
    """The last sign of each run, and ticks without another. What somebody has set by hand is forgotten."""
    try:
        return {str(run_id): (str(sign), int(ticks)) for run_id, (sign, ticks) in json.loads(cursor or "{}").items()}
    except (ValueError, TypeError, AttributeError):
        return {}


def _is_here(run: dg.DagsterRun, context: dg.SensorEvaluationContext) -> bool:
    """Whether a run is of this code location, or of the command line, which has none."""
    origin, here = run.remote_job_origin, context.code_location_origin
    return origin is None or (here is not None and origin.location_name == here.location_name)


def _is_ours(run: dg.DagsterRun, jobs: Collection[str], assets: Collection[dg.AssetKey]) -> bool:
    selected = {*(run.asset_selection or ()), *(check.asset_key for check in run.asset_check_selection or ())}
    return run.job_name in jobs or (bool(selected) and selected <= set(assets))


def _last_sign(instance: dg.DagsterInstance, run: dg.DagsterRun) -> str:
    """Changes with each sign of life. What a run logs is one, too: between its steps it may have no resource open."""
    events = instance.get_records_for_run(run.run_id, limit=1, ascending=False).records
    return f"{run.tags.get(ALIVE)} {events[0].storage_id if events else None}"


def _declare_dead(context: dg.SensorEvaluationContext, record: dg.RunRecord) -> None:
    run = record.dagster_run
    last = run.tags.get(ALIVE)
    # A retry inherits the tags of the run before it.
    if last is None or datetime.fromisoformat(last).timestamp() < (record.start_time or 0):
        last = "never"
    message = (
        f"No sign of life from the process of this run for {SILENT_MINUTES} minutes; the last: {last}. Its host"
        " went down, or something killed it. What it has loaded stays; its retry or the next sync loads the rest."
    )
    context.log.warning(f"Run {run.run_id} is dead. {message}")
    if run.status is dg.DagsterRunStatus.CANCELING:
        # Somebody wanted it to end, and wants no retry.
        context.instance.report_run_canceled(run, message)
        return
    context.instance.report_run_failed(run, message)
    # Dagster tells the failure alert of a code location's runs only.
    if run.remote_job_origin is None and (webhook_url := read_webhook_url()):
        deliver(webhook_url, describe_death(run, message))
