"""The jobs, and the schedules that run them."""

from collections.abc import Mapping
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import dagster as dg
import dlt
from croniter import croniter

from analytics_assets.api.catalog import RESOURCES
from analytics_assets.defs.assets.config import Mode
from analytics_assets.defs.assets.specs import GROUP, OP_NAME, asset_key
from analytics_assets.defs.automation.run_tags import RETRY_WHAT_FAILED

SYNC = "analytics_sync"
"""The job, and its schedule, that syncs all eight resources incrementally."""

RECONCILE = "analytics_reconcile"
"""The job, and its schedule, that reads all eight resources in full."""

VERIFY = "analytics_verify"
"""The job that evaluates the checks without a sync."""

DEFAULT_CRONS = {
    # Hourly: people want activities on the same day, and a sync without new rows is a few hundred small requests.
    SYNC: "0 * * * *",
    # Sunday night, between two hourly syncs: deletions, and edits that no cursor shows, wait a week at most.
    RECONCILE: "30 3 * * 0",
}

DEFAULT_TIMEZONE = "UTC"

UNFINISHED = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]
"""Statuses of a run for which the next tick of its schedule is skipped."""


class ScheduleConfigError(ValueError):
    """A configured cron expression or time zone is not valid."""


def read_cron(schedule: str) -> str:
    """The cron of a schedule: `[schedules]` of dlt's configuration (`SCHEDULES__ANALYTICS_SYNC`), or the default.

    Raises:
        ScheduleConfigError: The configured text is not a cron expression.
    """
    cron = dlt.config.get(f"schedules.{schedule}", str) or DEFAULT_CRONS[schedule]
    if not croniter.is_valid(cron):
        raise ScheduleConfigError(
            f"schedules.{schedule} = {cron!r} is not a cron expression such as {DEFAULT_CRONS[schedule]!r}. Set it in"
            f" [schedules] of .dlt/config.toml, or as SCHEDULES__{schedule.upper()}."
        )
    return cron


def read_timezone() -> str:
    """The time zone of both schedules: `timezone` in `[schedules]` (`SCHEDULES__TIMEZONE`), or UTC.

    Raises:
        ScheduleConfigError: The configured name is not a time zone.
    """
    timezone = dlt.config.get("schedules.timezone", str) or DEFAULT_TIMEZONE
    try:
        ZoneInfo(timezone)
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise ScheduleConfigError(
            f"schedules.timezone = {timezone!r} is not a time zone such as 'Europe/Berlin'. Set it in [schedules] of"
            " .dlt/config.toml, or as SCHEDULES__TIMEZONE."
        ) from error
    return timezone


def build_jobs() -> list[Any]:
    """The jobs `analytics_sync`, `analytics_reconcile` and `analytics_verify`."""
    full: Mapping[str, Any] = {"ops": {OP_NAME: {"config": {"mode": Mode.full.name}}}}
    selection = dg.AssetSelection.groups(GROUP)
    return [
        dg.define_asset_job(
            SYNC, selection, tags=RETRY_WHAT_FAILED, description="Loads new rows of all eight resources."
        ),
        dg.define_asset_job(
            RECONCILE,
            selection,
            tags=RETRY_WHAT_FAILED,
            config=full,
            description="Reads all eight resources again and marks rows that are gone upstream.",
        ),
        dg.define_asset_job(
            VERIFY,
            dg.AssetSelection.checks_for_assets(*[asset_key(resource.name) for resource in RESOURCES]),
            description="Evaluates the checks of all eight tables, without a sync.",
        ),
    ]


def build_schedules() -> list[dg.ScheduleDefinition]:
    """The schedules of the sync and the reconcile. Both are stopped until somebody switches them on in the UI."""
    return [_schedule(name) for name in (SYNC, RECONCILE)]


def _schedule(name: str) -> dg.ScheduleDefinition:
    @dg.schedule(
        name=name,
        job_name=name,
        cron_schedule=read_cron(name),
        execution_timezone=read_timezone(),
        description=f"Runs {name}, unless a run of it is unfinished.",
    )
    def tick(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        unfinished = dg.RunsFilter(job_name=name, statuses=UNFINISHED)
        if runs := context.instance.get_runs(unfinished, limit=1):
            return dg.SkipReason(f"Run {runs[0].run_id} of {name} is {runs[0].status.value.lower()}.")
        return dg.RunRequest()

    return tick
