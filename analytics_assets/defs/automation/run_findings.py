"""Which runs wait or work too long, and whether what a failed run was to do has been done since."""

from collections.abc import Iterator, Set
from datetime import datetime, timedelta
from itertools import islice

import dagster as dg

from analytics_assets.defs.automation.alerts import TOLD, describe_failure, name_of
from analytics_assets.defs.automation.delivery import link_to
from analytics_assets.defs.automation.findings import GRACE, Finding, Findings, minute
from analytics_assets.defs.automation.lost_retries import find_missing, has_retry, has_succeeded_since, is_promised
from analytics_assets.defs.automation.run_tags import BACKFILL, PARTITION, UNFINISHED
from analytics_assets.defs.automation.watched import Watched

OVER = "over "
"""Beginning of the tag `TOLD`, before the run's id, once it was told that the work of the run has been done since."""

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


def find_failed_runs(
    instance: dg.DagsterInstance, watched: Watched, now: datetime, *, at_once: bool = False
) -> Findings:
    """Failed runs that nobody was told of, and those whose work has been done since.

    Args:
        instance: Where Dagster keeps what is looked at.
        watched: What is watched.
        now: The present.
        at_once: Whether to find those, too, of which the failure alert may still tell. Such as are retried never count.
    """
    found: dict[str, Finding] = {}
    said: set[dg.AssetKey | str] = set()
    """What newer runs have left undone. To tell that once is enough."""
    over: dict[str, str] = {}
    """What is told of the newest run of each name. To tell the same of older ones would be one line for each."""
    for record in islice(_find_ours(instance, watched, now), MOST_RUNS):
        run = record.dagster_run
        is_told, is_over = (run.tags.get(TOLD) == prefix + run.run_id for prefix in ("", OVER))
        is_late = now.timestamp() - (record.end_time or 0) > GRACE.total_seconds()
        if is_over or (not is_told and is_promised(run) and (not is_late or has_retry(instance, run))):
            continue
        key, undone = f"run {run.run_id}", _find_undone(instance, watched, record)
        if undone - said:
            said |= undone
            if is_told or is_late or at_once:
                found[key] = Finding(wrong=True, says=describe_failure(instance, run), told=is_told)
        elif is_told and not undone:
            says = (
                f"A run of {name_of(run)} had failed. What it was to do has been done since."
                f" {link_to('runs', run.run_id)}"
            )
            found[key] = Finding(wrong=False, says=over.setdefault(name_of(run), says), told=True)
    return found


def _find_ours(instance: dg.DagsterInstance, watched: Watched, now: datetime) -> Iterator[dg.RunRecord]:
    """Yields the failed runs of what is watched, the newest first. Another team may have any number of others."""
    failed, cursor = dg.RunsFilter(statuses=[dg.DagsterRunStatus.FAILURE], updated_after=now - LOOK_BACK), None
    while records := instance.get_run_records(failed, limit=MOST_RUNS, cursor=cursor):
        yield from (record for record in records if watched.has_run(record.dagster_run))
        cursor = records[-1].dagster_run.run_id


def _find_undone(instance: dg.DagsterInstance, watched: Watched, record: dg.RunRecord) -> set[dg.AssetKey | str]:
    """What a failed run was to do, and nobody has done since: assets, or the name of its job."""
    failed, missing = find_missing(instance, record, watched.assets)
    if failed:
        return set(missing)
    # It failed in something else than an asset. What another partition has done is not what this one was to do.
    if has_succeeded_since(instance, record):
        return set()
    run = record.dagster_run
    partition = [value for name, value in run.tags.items() if name == PARTITION]
    # Runs that were launched from assets have one name, and nothing in common.
    return {" ".join([run.job_name, *partition]) if run.job_name in watched.jobs else run.run_id}
