"""Tags that tell Dagster which runs to retry, and how."""

RETRY_WHAT_FAILED = {"dagster/retry_strategy": "FROM_ASSET_FAILURE"}
"""A retried run syncs the failed resources only."""

NO_RUN_RETRY = {"dagster/max_retries": "0"}
"""Tag of a run that would fail again, for the run retries of `dagster.yaml`."""
