"""Tags by which runs and Dagster tell each other about retries, how to write a tag, and what a run is about."""

import threading

import dagster as dg

NO_RUN_RETRY = {"dagster/max_retries": "0"}
"""Tag of a run that would fail again. Dagster's run retries (`dagster.yaml`) skip it."""

RETRY_WHAT_FAILED = {"dagster/retry_strategy": "FROM_ASSET_FAILURE"}
"""Tag of the jobs, and of each run that has begun to sync. A retried run syncs only the resources that failed."""

WILL_RETRY = "dagster/will_retry"
"""Key of the tag by which Dagster says whether it retries a failed run."""

RETRY_NUMBER = "dagster/retry_number"
"""Key of the tag that counts the retries of a run."""

_tagging = threading.Lock()


def tag_run(instance: dg.DagsterInstance, run_id: str, tags: dict[str, str]) -> None:
    """Adds tags to a run, one thread at a time.

    Dagster reads all tags of the run and writes them back, so two threads at once would lose one's tags.
    """
    with _tagging:
        instance.add_run_tags(run_id, tags)


def selected_assets(run: dg.DagsterRun) -> set[dg.AssetKey]:
    """The assets that a run was launched for, with those of which it was to evaluate checks; none for other runs."""
    return {*(run.asset_selection or ()), *(check.asset_key for check in run.asset_check_selection or ())}
