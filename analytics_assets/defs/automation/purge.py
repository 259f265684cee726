"""The purge: a job that deletes old runs, so that Dagster's history does not grow for ever.

[history]
keep_days = 90    # .dlt/config.toml, or HISTORY__KEEP_DAYS
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import dlt
from dagster._core.storage.asset_check_execution_record import COMPLETED_ASSET_CHECK_EXECUTION_RECORD_STATUSES

from analytics_assets.defs.automation.crons import read_timezone
from analytics_assets.defs.automation.run_tags import NO_RUN_RETRY, UNFINISHED, is_here, is_ours
from analytics_assets.defs.display.progress import count
from analytics_assets.defs.names import Names

KEEP_DAYS = 90.0
"""Default age in days at which a run is deleted: a quarter of a year of plots, and of failures to compare with."""

SHORTEST_KEPT = 0.05
"""Fewest days that may be configured, about an hour: what is deleted sooner, nobody has looked at."""

LONGEST_KEPT = 36_500
"""Most days that may be configured, a hundred years."""

DAILY = "15 4 * * *"
"""Cron of the purge: between two hourly syncs, and after the reconcile of Sunday night."""

FINISHED = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]
"""Statuses of runs that may be deleted."""

MOST_RUNS = 1_000
"""Most runs that one purge deletes. The purges after it delete what is left."""

BATCH = 50
"""Runs from one line of the log to the next, which is also a sign of life."""

PAGE = 500
"""Runs that are read from the storage at once."""

PARTITION = "dagster/partition"
"""Key of the tag with the partition of a run."""

ROOT_RUN = "dagster/root_run_id"
"""Key of the tag by which a run names the first run that it is a retry of."""


class HistoryConfigError(ValueError):
    """The configured age is not a number of days."""


@dataclass(frozen=True, slots=True)
class Scope:
    """Which runs are a connector's own."""

    jobs: Collection[str]
    """Names of its jobs."""
    assets: Collection[dg.AssetKey]
    """Keys of its assets. Runs of some of them and their checks only count as its own."""
    observed: Collection[dg.AssetKey]
    """Keys of assets that its runs observe."""
    checks: Collection[dg.AssetCheckKey]
    """Keys of its checks."""


def read_keep_days() -> float:
    """The age in days at which a run is deleted: `keep_days` in `[history]` (`HISTORY__KEEP_DAYS`), or 90.

    Raises:
        HistoryConfigError: The configured value is not a number of days within the bounds.
    """
    text = dlt.config.get("history.keep_days", str)
    try:
        days = float(text) if text else KEEP_DAYS
    except ValueError:
        days = 0.0
    if SHORTEST_KEPT <= days <= LONGEST_KEPT:
        return days
    raise HistoryConfigError(
        f"history.keep_days = {text!r:.60} is not a number of days from {SHORTEST_KEPT} to {LONGEST_KEPT}. Nothing was"
        " deleted. Set it in [history] of .dlt/config.toml, or as HISTORY__KEEP_DAYS. To delete nothing, switch off the"
        " schedule of this job."
    )


def build_purge_job(names: Names, scope: Scope) -> dg.JobDefinition:
    """The job `analytics_purge`, of the connector's name. It does not open the warehouse."""

    # Dagster refuses an op with the name of its job.
    @dg.op(name=names.derived("purge_history"), description="Deletes the connector's own finished runs that are old.")
    def purge_history(context: dg.OpExecutionContext) -> None:
        try:
            days = read_keep_days()
        except HistoryConfigError as error:
            raise dg.Failure(str(error)) from None
        instance, before = context.instance, datetime.now(UTC) - timedelta(days=days)
        old, kept = find_old_runs(instance, before, scope, context.run)
        context.log.info(
            f"{count(len(old), 'run')} to delete that began more than {days:g} days ago; {kept} as old to keep, as the"
            " latest of an asset, a check or a partition, or as run again since."
        )
        for done in _delete_runs(instance, old):
            context.log.info(f"{done} of {count(len(old), 'run')} deleted")
        if len(old) == MOST_RUNS:
            context.log.info("One purge deletes no more runs. If older ones are left, the next purges delete them.")

    @dg.job(
        name=names.derived("purge"),
        executor_def=dg.in_process_executor,
        # The next purge deletes what this one did not.
        tags=NO_RUN_RETRY,
        description="Deletes this connector's own finished runs that are older than [history] keep_days, with their"
        " events and logs. No table is touched, and the latest state of each asset and check stays.",
    )
    def job() -> None:
        purge_history()

    return job


def build_purge_schedule(names: Names) -> dg.ScheduleDefinition:
    """The schedule of the purge. It is on by default: a disk that fills up stops everything, and nobody looks there."""
    name = names.derived("purge")
    return dg.ScheduleDefinition(
        name=name,
        job_name=name,
        cron_schedule=DAILY,
        execution_timezone=read_timezone(),
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description=f"Runs {name} every day.",
    )


def find_old_runs(
    instance: dg.DagsterInstance, before: datetime, scope: Scope, purge: dg.DagsterRun
) -> tuple[list[str], int]:
    """The ids of runs to delete, oldest first and at most `MOST_RUNS`, and how many old runs are kept.

    Args:
        instance: Where the runs are.
        before: Only runs that were created before this moment are old.
        scope: Whose runs.
        purge: The run that asks. Runs of other code locations are not old to it.
    """
    needed = _find_latest(instance, scope) | _find_retried(instance)
    location = purge.remote_job_origin.location_name if purge.remote_job_origin else None
    old: list[str] = []
    kept = 0
    filters, cursor = dg.RunsFilter(statuses=FINISHED, created_before=before), None
    while records := instance.get_run_records(filters, limit=PAGE, cursor=cursor, ascending=True):
        for record in records:
            run = record.dagster_run
            if not (is_here(run, location) and is_ours(run, scope.jobs, scope.assets)):
                continue
            if run.run_id in needed or _is_last_of_partition(instance, run) or _was_run_again(instance, run, before):
                kept += 1
            else:
                old.append(run.run_id)
            if len(old) == MOST_RUNS:
                return old, kept
        cursor = records[-1].dagster_run.run_id
    return old, kept


def _find_latest(instance: dg.DagsterInstance, scope: Scope) -> set[str]:
    """The runs with the latest event of an asset or a check, and the first runs that those are retries of."""
    latest = set()
    for key in {*scope.assets, *scope.observed}:
        for fetch in (instance.fetch_materializations, instance.fetch_observations):
            latest |= {record.run_id for record in fetch(key, limit=1).records}
    for check in scope.checks:
        # The latest record may be that of a run that has planned the check, and failed before it.
        for statuses in (None, COMPLETED_ASSET_CHECK_EXECUTION_RECORD_STATUSES):
            history = instance.event_log_storage.get_asset_check_execution_history(check, limit=1, status=statuses)
            latest |= {record.run_id for record in history}
    runs = instance.get_runs(dg.RunsFilter(run_ids=list(latest))) if latest else []
    # A run's page leads to the first run of its group.
    return latest | {run.root_run_id for run in runs if run.root_run_id}


def _find_retried(instance: dg.DagsterInstance) -> set[str]:
    """The runs of which a retry waits or runs: it may ask them for what they have done."""
    retries = instance.get_runs(dg.RunsFilter(statuses=UNFINISHED))
    return {run_id for run in retries for run_id in (run.root_run_id, run.parent_run_id) if run_id}


def _is_last_of_partition(instance: dg.DagsterInstance, run: dg.DagsterRun) -> bool:
    """Whether a run says that its partition is loaded, or failed to load it and no other run has loaded it."""
    if PARTITION not in run.tags:
        return False
    loaded = dg.RunsFilter(
        job_name=run.job_name,
        tags={PARTITION: run.tags[PARTITION]},
        statuses=[dg.DagsterRunStatus.SUCCESS],
    )
    newest = instance.get_runs(loaded, limit=1)
    return not newest or newest[0].run_id == run.run_id


def _was_run_again(instance: dg.DagsterInstance, run: dg.DagsterRun, before: datetime) -> bool:
    """Whether a younger run is a retry of this one. Dagster looks for the first run when it retries the last."""
    again = dg.RunsFilter(tags={ROOT_RUN: run.run_id}, created_after=before)
    return bool(instance.get_runs(again, limit=1))


def _delete_runs(instance: dg.DagsterInstance, run_ids: list[str]) -> Iterator[int]:
    """Deletes runs with all that is stored of them, and yields after each batch how many are deleted."""
    for start in range(0, len(run_ids), BATCH):
        batch = run_ids[start : start + BATCH]
        _delete_check_executions(instance, batch)
        for run_id in batch:
            # Logs come first: once the run is gone, no purge would find them.
            instance.compute_log_manager.delete_logs(prefix=[run_id])
            instance.delete_run(run_id)
            _delete_shard(instance, run_id)
        yield start + len(batch)


def _delete_check_executions(instance: dg.DagsterInstance, run_ids: list[str]) -> None:
    """Deletes the rows of runs in a table that `delete_run` leaves alone: two kilobytes a check and run."""
    # SQLAlchemy takes a quarter of a second to import, and definitions do not need it.
    from dagster._core.storage.event_log.schema import AssetCheckExecutionsTable  # noqa: PLC0415
    from dagster._core.storage.event_log.sql_event_log import SqlEventLogStorage  # noqa: PLC0415

    storage = instance.event_log_storage
    if isinstance(storage, SqlEventLogStorage):
        with storage.index_connection() as connection:
            table = AssetCheckExecutionsTable
            connection.execute(table.delete().where(table.c.run_id.in_(run_ids)))


def _delete_shard(instance: dg.DagsterInstance, run_id: str) -> None:
    """Deletes the SQLite file of a run, which `delete_run` empties and leaves in its full size."""
    from dagster._core.storage.event_log.sqlite.sqlite_event_log import SqliteEventLogStorage  # noqa: PLC0415 - as above

    storage = instance.event_log_storage
    if isinstance(storage, SqliteEventLogStorage):
        for suffix in ("", "-wal", "-shm"):
            Path(f"{storage.path_for_shard(run_id)}{suffix}").unlink(missing_ok=True)
