"""Retries that Dagster has promised and never launched.

Its daemon reads the failure of a run first, and then the run's status. If the status is not stored yet, it takes the
run for one that has not failed, and never looks again (dagster#33741).
"""

from collections.abc import Collection, Iterator
from datetime import UTC, datetime, timedelta

import dagster as dg

from analytics_assets.defs.automation.run_tags import PARENT, RETRY_RUN, WILL_RETRY, assets_left

LOOK_BACK = timedelta(hours=1)
"""How far back failed runs are looked at. A later tick of the schedule has loaded what an older one was to load."""


def find_lost_retries(instance: dg.DagsterInstance) -> Iterator[dg.DagsterRun]:
    """Yields failed runs that are to be retried, and have no retry so far.

    Dagster cannot retry runs of the command line, although it promises to, so they are left out.
    """
    failed = dg.RunsFilter(
        statuses=[dg.DagsterRunStatus.FAILURE],
        tags={WILL_RETRY: "true"},
        updated_after=datetime.now(UTC) - LOOK_BACK,
    )
    for run in instance.get_runs(failed):
        if run.remote_job_origin is None or RETRY_RUN in run.tags:
            continue
        if not instance.get_runs(dg.RunsFilter(tags={PARENT: run.run_id}), limit=1):
            yield run


def request_retry(
    instance: dg.DagsterInstance, run: dg.DagsterRun, assets: Collection[dg.AssetKey]
) -> dg.RunRequest | None:
    """The request of a run for what a failed run has not loaded; `None` if it has loaded all.

    Args:
        instance: Where the run's events are.
        run: The failed run.
        assets: Keys of the assets that the job of the request has.
    """
    left = assets_left(instance, run)
    selection = [key for key in assets if key in left]
    if not selection:
        return None
    return dg.RunRequest(
        run_key=f"retry of {run.run_id}",
        run_config=dict(run.run_config),
        asset_selection=selection,
        tags={PARENT: run.run_id},
    )
