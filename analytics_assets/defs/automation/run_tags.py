"""Tags of runs: what they tell Dagster of retries, and how one is written."""

import threading

import dagster as dg

NO_RUN_RETRY = {"dagster/max_retries": "0"}
"""Of a run that would fail again: keeps Dagster's run retries (`dagster.yaml`) from it."""

RETRY_WHAT_FAILED = {"dagster/retry_strategy": "FROM_ASSET_FAILURE"}
"""Of a job: a retried run syncs the failed resources only."""

WILL_RETRY = "dagster/will_retry"
"""Key of the tag by which Dagster says whether it retries a failed run."""

RETRY_NUMBER = "dagster/retry_number"
"""Key of the tag that counts the retries of a run."""

_tagging = threading.Lock()


def tag_run(instance: dg.DagsterInstance, run_id: str, tags: dict[str, str]) -> None:
    """Adds tags to a run. Dagster reads all it has and writes them back: of two threads, one would lose its own."""
    with _tagging:
        instance.add_run_tags(run_id, tags)
