"""Retries that Dagster has promised and never launched.

Its daemon reads the failure of a run first, and then the run's status. If the status is not stored yet, it takes the
run for one that has not failed, and never looks again (dagster#33741). And it gives a retry up if it cannot launch it
at once: a deployment ends the run, and the code server that starts anew needs longer than the daemon. And it takes the
backfill of a job for done as soon as all runs are launched, and retries none of it that fails later.
"""

from collections.abc import Callable, Collection, Iterator
from datetime import UTC, datetime, timedelta

import dagster as dg

from analytics_assets.defs.automation.run_tags import (
    BACKFILL,
    OF_BACKFILLS,
    PARENT,
    PARTITION,
    RETRY_RUN,
    WILL_RETRY,
    assets_left,
)

LOOK_BACK = timedelta(hours=1)
"""How far back failed runs are looked at. A later tick of the schedule has loaded what an older one was to load."""


GIVEN_UP = "Failed to retry run"
"""Dagster's event of a failed run whose retry it could not launch. It takes its promise back then."""


def find_lost_retries(
    instance: dg.DagsterInstance, is_watched: Callable[[dg.DagsterRun], bool]
) -> Iterator[dg.RunRecord]:
    """Yields those failed runs of what is watched that are or were to be retried, and have no retry so far."""
    failed = dg.RunsFilter(statuses=[dg.DagsterRunStatus.FAILURE], updated_after=datetime.now(UTC) - LOOK_BACK)
    for record in instance.get_run_records(failed):
        run = record.dagster_run
        # What reads the events of a run comes last: another team may have any number of failed runs.
        if is_watched(run) and not has_retry(instance, run) and (is_promised(run) or _is_given_up(instance, run)):
            yield record


def _is_given_up(instance: dg.DagsterInstance, run: dg.DagsterRun) -> bool:
    entries = instance.all_logs(run.run_id, of_type=dg.DagsterEventType.ENGINE_EVENT)
    return any(entry.dagster_event and entry.dagster_event.message == GIVEN_UP for entry in entries)


def is_promised(run: dg.DagsterRun) -> bool:
    """Whether Dagster has promised a retry of a failed run.

    It cannot retry runs of the command line, although it promises to, so they count as runs without a retry.
    """
    return run.tags.get(WILL_RETRY) == "true" and run.remote_job_origin is not None


def has_retry(instance: dg.DagsterInstance, run: dg.DagsterRun) -> bool:
    """Whether somebody has launched a retry of a failed run."""
    return RETRY_RUN in run.tags or bool(instance.get_runs(dg.RunsFilter(tags={PARENT: run.run_id}), limit=1))


def find_missing(
    instance: dg.DagsterInstance, record: dg.RunRecord, assets: Collection[dg.AssetKey]
) -> tuple[list[dg.AssetKey], list[dg.AssetKey]]:
    """What a failed run has not materialized, and what of that nobody has materialized since.

    Args:
        instance: Where the run's events are.
        record: The failed run.
        assets: Keys of the assets to look at. Both lists have their order.
    """
    left = assets_left(instance, record.dagster_run)
    failed = [key for key in assets if key in left]
    latest = instance.get_latest_materialization_events(failed) if failed else {}
    ended = record.end_time or 0
    return failed, [key for key in failed if (event := latest.get(key)) is None or event.timestamp < ended]


def has_succeeded_since(instance: dg.DagsterInstance, record: dg.RunRecord) -> bool:
    """Whether a run of the same job has succeeded since a run was launched; of its partition, if it had one."""
    run = record.dagster_run
    later = dg.RunsFilter(
        job_name=run.job_name,
        statuses=[dg.DagsterRunStatus.SUCCESS],
        tags={name: value for name, value in run.tags.items() if name == PARTITION},
        created_after=record.create_timestamp,
    )
    return bool(instance.get_runs(later, limit=1))


def request_retry(
    instance: dg.DagsterInstance, record: dg.RunRecord, assets: Collection[dg.AssetKey], sync: str
) -> dg.RunRequest | None:
    """The request of a run for what a failed run has not loaded; `None` if it has loaded all, or others have since.

    Args:
        instance: Where the run's events are.
        record: The failed run.
        assets: Keys of the assets that the sync has.
        sync: The job that loads assets anew. A partition of a backfill is loaded anew by its own job.
    """
    run, job, selection = record.dagster_run, sync, None
    tags = {PARENT: run.run_id}
    if PARTITION in run.tags:
        if has_succeeded_since(instance, record) or _is_canceled(instance, run):
            return None
        job = run.job_name
        tags |= {name: value for name, value in run.tags.items() if name in OF_BACKFILLS}
    else:
        _, selection = find_missing(instance, record, assets)
        if not selection:
            return None
    key = f"retry of {run.run_id}"
    return dg.RunRequest(key, dict(run.run_config), tags, job, asset_selection=selection)


def _is_canceled(instance: dg.DagsterInstance, run: dg.DagsterRun) -> bool:
    """Whether somebody has canceled the backfill of a run."""
    backfill = instance.get_backfill(run.tags.get(BACKFILL, ""))
    return backfill is not None and backfill.status.value.startswith("CANCEL")
