"""When the assets are synced by themselves."""

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

RECONCILE = "analytics_reconcile"

VERIFY = "analytics_verify"

DEFAULT_CRONS = {
    # Every hour on the hour: activities are wanted the same day, and a quiet sync is a few hundred small requests.
    SYNC: "0 * * * *",
    # Sunday before dawn, between two hourly syncs: edits that no cursor shows and deletions wait a week at most.
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


class ScheduleConfigError(ValueError):
    """A cron expression or a time zone that is none."""


def read_cron(schedule: str) -> str:
    """The cron of a schedule: `[schedules]` of dlt's configuration (`SCHEDULES__ANALYTICS_SYNC`), or the default.

    Raises:
        ScheduleConfigError: It is not a cron expression.
    """
    cron = dlt.config.get(f"schedules.{schedule}", str) or DEFAULT_CRONS[schedule]
    if not croniter.is_valid(cron):
        raise ScheduleConfigError(
            f"schedules.{schedule} = {cron!r} is not a cron expression such as {DEFAULT_CRONS[schedule]!r}. Set it in"
            f" [schedules] of .dlt/config.toml, or as SCHEDULES__{schedule.upper()}."
        )
    return cron


def read_timezone() -> str:
    """The time zone of both schedules: `SCHEDULES__TIMEZONE`, or UTC.

    Raises:
        ScheduleConfigError: There is no such time zone.
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
    """All eight assets incrementally, all eight in full, and their checks alone."""
    full: Mapping[str, Any] = {"ops": {OP_NAME: {"config": {"mode": Mode.full.name}}}}
    selection = dg.AssetSelection.groups(GROUP)
    return [
        dg.define_asset_job(
            SYNC, selection, tags=RETRY_WHAT_FAILED, description="Loads what is new in all eight resources."
        ),
        dg.define_asset_job(
            RECONCILE,
            selection,
            tags=RETRY_WHAT_FAILED,
            config=full,
            description="Reads all eight resources again and marks what is gone upstream.",
        ),
        dg.define_asset_job(
            VERIFY,
            dg.AssetSelection.checks_for_assets(*[asset_key(resource.name) for resource in RESOURCES]),
            description="Evaluates the checks of all eight tables, without a sync.",
        ),
    ]


def build_schedules() -> list[dg.ScheduleDefinition]:
    """A schedule for each job, stopped until it is switched on in the UI."""
    return [_schedule(name) for name in (SYNC, RECONCILE)]


def _schedule(name: str) -> dg.ScheduleDefinition:
    @dg.schedule(
        name=name,
        job_name=name,
        cron_schedule=read_cron(name),
        execution_timezone=read_timezone(),
        description=f"Runs {name}, unless one is still at work.",
    )
    def tick(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        unfinished = dg.RunsFilter(job_name=name, statuses=UNFINISHED)
        if runs := context.instance.get_runs(unfinished, limit=1):
            return dg.SkipReason(f"Run {runs[0].run_id} of {name} is {runs[0].status.value.lower()}.")
        return dg.RunRequest()

    return tick
