"""Tags by which runs and Dagster tell each other about retries, how to write a tag, and what and whose a run is."""

import threading
from collections.abc import Collection

import dagster as dg

NO_RUN_RETRY = {"dagster/max_retries": "0"}
"""Tag of a run that would fail again. Dagster's run retries (`dagster.yaml`) skip it."""

RETRY_WHAT_FAILED = {"dagster/retry_strategy": "FROM_ASSET_FAILURE"}
"""Tag of the jobs, and of each run that has begun to sync. A retried run syncs only the resources that failed."""

RETRY_ALL = {"dagster/retry_strategy": "ALL_STEPS"}
"""Tag of a job whose steps are no assets."""

BACKFILL = "dagster/backfill"
"""Key of the tag of a run of a backfill. These wait for one another by design."""

PARTITION = "dagster/partition"
"""Key of the tag that names the partition of a run."""

OF_BACKFILLS = frozenset({BACKFILL, PARTITION, "dagster/partition_set"})
"""Keys of the tags by which the page of a backfill finds the run of a partition."""

WILL_RETRY = "dagster/will_retry"
"""Key of the tag by which Dagster says whether it retries a failed run."""

RETRY_NUMBER = "dagster/retry_number"
"""Key of the tag that counts the retries of a run."""

RETRY_RUN = "dagster/auto_retry_run_id"
"""Key of the tag by which a failed run names its retry."""

PARENT = "dagster/parent_run_id"
"""Key of the tag by which a retry names the run that failed."""

UNFINISHED = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]
"""Statuses of a run that is not over. The next tick of its schedule is skipped."""

WORTH_IT = "analytics/retry"
"""Key of the tag that says whether a retry of a failed run may help. It names the run, as a retry inherits it."""

_tagging = threading.Lock()


def tag_run(instance: dg.DagsterInstance, run_id: str, tags: dict[str, str]) -> None:
    """Adds tags to a run, one thread at a time.

    Dagster reads all tags of the run and writes them back, so two threads at once would lose one's tags.
    """
    with _tagging:
        instance.add_run_tags(run_id, tags)


def tag_failed_step(instance: dg.DagsterInstance, run_id: str, *, permanent: bool) -> None:
    """Tags a run one of whose steps has failed, so that Dagster retries it unless all of them would fail again.

    Args:
        instance: Where the run's tags are.
        run_id: The run.
        permanent: Whether this step would fail again.
    """
    run = instance.get_run_by_id(run_id)
    before = run.tags.get(WORTH_IT) if run else None
    if not permanent:
        again = {"dagster/max_retries": str(instance.run_retries_max_retries)} if before == f"no {run_id}" else {}
        tag_run(instance, run_id, {WORTH_IT: f"yes {run_id}", **again})
    elif before != f"yes {run_id}":
        tag_run(instance, run_id, {WORTH_IT: f"no {run_id}", **NO_RUN_RETRY})


def assets_left(instance: dg.DagsterInstance, run: dg.DagsterRun) -> set[dg.AssetKey | None]:
    """The assets that a run was to materialize and has not."""
    kind = dg.DagsterEventType
    planned, done = (
        {entry.dagster_event.asset_key for entry in instance.all_logs(run.run_id, of_type=each) if entry.dagster_event}
        for each in (kind.ASSET_MATERIALIZATION_PLANNED, kind.ASSET_MATERIALIZATION)
    )
    return planned - done


def selected_assets(run: dg.DagsterRun) -> set[dg.AssetKey]:
    """The assets that a run was launched for, with those of which it was to evaluate checks; none for other runs."""
    return {*(run.asset_selection or ()), *(check.asset_key for check in run.asset_check_selection or ())}


def location_of(context: dg.SensorEvaluationContext) -> str | None:
    """The name of the code location that a sensor stands in."""
    return context.code_location_origin.location_name if context.code_location_origin else None


def is_here(run: dg.DagsterRun, location: str | None) -> bool:
    """Whether a run belongs to a code location, or to the command line, which has none."""
    origin = run.remote_job_origin
    return origin is None or origin.location_name == location


def is_ours(run: dg.DagsterRun, jobs: Collection[str], assets: Collection[dg.AssetKey]) -> bool:
    """Whether a run is one of `jobs`, or of some of `assets` and their checks only."""
    selected = selected_assets(run)
    return run.job_name in jobs or (bool(selected) and selected <= set(assets))
