"""Which runs wait or work too long, and whether what a failed run was to do has been done since."""

from collections.abc import Set
from datetime import datetime, timedelta

import dagster as dg

from analytics_assets.defs.automation.alerts import TOLD, describe_failure, name_of
from analytics_assets.defs.automation.delivery import link_to
from analytics_assets.defs.automation.findings import GRACE, Finding, Findings, minute
from analytics_assets.defs.automation.run_tags import WILL_RETRY, assets_left
from analytics_assets.defs.automation.schedules import UNFINISHED
from analytics_assets.defs.automation.watched import Watched

OVER = "over "
"""Beginning of the tag `TOLD`, before the run's id, once it was told that the work of the run has been done since."""

BACKFILL = "dagster/backfill"
"""Key of the tag of a run of a backfill. These wait for one another by design."""

LOOK_BACK = timedelta(days=14)
"""How far back failed runs are looked at."""

MOST_RUNS = 100
"""Most failed runs that are looked at, the newest."""


def find_unfinished_runs(instance: dg.DagsterInstance, watched: Watched, told: Set[str], now: datetime) -> Findings:
    """Runs that take longer than the time between two ticks of their schedule, in the queue or at work."""
    found: dict[str, Finding] = {}
    for record in instance.get_run_records(dg.RunsFilter(statuses=UNFINISHED)):
        run, since = record.dagster_run, record.create_timestamp
        if not watched.has_run(run) or BACKFILL in run.tags or now - since <= watched.cadence(run, since):
            continue
        key = f"unfinished {run.run_id}"
        if run.status is dg.DagsterRunStatus.QUEUED:
            state = "waits in the queue: other runs hold its pool, or as many runs as are allowed are in progress"
        else:
            state = f"is {run.status.value.lower()}"
        says = (
            f"A run of {name_of(run)} {state}. It was launched at {minute(since)}, longer ago than its schedule has"
            f" between two ticks, and ticks are skipped meanwhile. {link_to('runs', run.run_id)}"
        )
        found[key] = Finding(wrong=True, says=says, told=key in told)
    for key in told:
        kind, _, run_id = key.partition(" ")
        if kind == "unfinished" and key not in found:
            ended = instance.get_run_by_id(run_id)
            says = f"A run of {name_of(ended)} ended: {ended.status.value.lower()}." if ended else "A run was deleted."
            found[key] = Finding(wrong=False, says=f"{says} {link_to('runs', run_id)}", told=True)
    return found


def find_failed_runs(instance: dg.DagsterInstance, watched: Watched, now: datetime) -> Findings:
    """Failed runs that nobody was told of, and those whose work has been done since."""
    found: dict[str, Finding] = {}
    still_broken: set[str] = set()
    failed = dg.RunsFilter(statuses=[dg.DagsterRunStatus.FAILURE], updated_after=now - LOOK_BACK)
    for record in instance.get_run_records(failed, limit=MOST_RUNS):
        run = record.dagster_run
        is_told, is_over = (run.tags.get(TOLD) == prefix + run.run_id for prefix in ("", OVER))
        # Dagster promises retries to runs of the command line, too, and cannot launch them.
        will_be_retried = run.tags.get(WILL_RETRY) == "true" and run.remote_job_origin is not None
        if not watched.has_run(run) or is_over or (will_be_retried and not is_told):
            continue
        if run.job_name in still_broken:
            # By a newer run. What is told of the newest is enough.
            continue
        key = f"run {run.run_id}"
        if _is_missing(instance, watched, record):
            still_broken |= {run.job_name} & set(watched.jobs)
            if is_told or now.timestamp() - (record.end_time or 0) > GRACE.total_seconds():
                found[key] = Finding(wrong=True, says=describe_failure(instance, run), told=is_told)
        elif is_told:
            says = f"A run of {name_of(run)} had failed. What it was to do has been done since."
            found[key] = Finding(wrong=False, says=says, told=True)
    return found


def _is_missing(instance: dg.DagsterInstance, watched: Watched, record: dg.RunRecord) -> bool:
    """Whether something that a failed run was to do has not been done since."""
    run = record.dagster_run
    left = assets_left(instance, run)
    if failed := [key for key in watched.assets if key in left]:
        latest = instance.get_latest_materialization_events(failed)
        return any((event := latest.get(key)) is None or event.timestamp < (record.end_time or 0) for key in failed)
    # It failed in something else than an asset.
    later = dg.RunsFilter(
        job_name=run.job_name, statuses=[dg.DagsterRunStatus.SUCCESS], created_after=record.create_timestamp
    )
    return not instance.get_runs(later, limit=1)
