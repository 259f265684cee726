"""The jobs, and the schedules that run them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import dagster as dg
import dlt
from croniter import croniter

from analytics_assets.defs.assets.config import Mode
from analytics_assets.defs.automation.run_tags import RETRY_WHAT_FAILED
from analytics_assets.defs.names import Names

HOURLY = "0 * * * *"
"""Default cron of the sync: people want activities on the same day, and a sync without new rows is a few hundred small
requests."""

WEEKLY = "30 3 * * 0"
"""Default cron of the reconcile, between two hourly syncs on Sunday night: deletions, and edits that no cursor shows,
wait a week at most."""

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


@dataclass(frozen=True, slots=True)
class Crons:
    """When the schedules of a connector tick."""

    sync: str
    reconcile: str


def read_crons(names: Names, sync: str | None = None, reconcile: str | None = None) -> Crons:
    """The crons of both schedules: those that are given, else `[schedules]` of dlt's configuration, else the defaults.

    The keys are the schedules' names: `SCHEDULES__ANALYTICS_SYNC` in the environment.

    Raises:
        ScheduleConfigError: A text is not a cron expression.
    """
    for argument, given in (("sync_cron", sync), ("reconcile_cron", reconcile)):
        if given and not _is_cron(given):
            raise ScheduleConfigError(f"{argument} = {given!r:.60} is not a cron expression such as {HOURLY!r}.")
    return Crons(sync or _read_cron(names.sync, HOURLY), reconcile or _read_cron(names.reconcile, WEEKLY))


def _is_cron(text: str) -> bool:
    # Dagster takes no seconds.
    return croniter.is_valid(text) and len(text.split()) <= 5


def _read_cron(schedule: str, default: str) -> str:
    cron = dlt.config.get(f"schedules.{schedule}", str) or default
    if not _is_cron(cron):
        raise ScheduleConfigError(
            f"schedules.{schedule} = {cron!r} is not a cron expression such as {default!r}. Set it in [schedules] of"
            f" .dlt/config.toml, or as SCHEDULES__{schedule.upper()}."
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


def build_jobs(names: Names) -> list[Any]:
    """The jobs `analytics_sync`, `analytics_reconcile` and `analytics_verify`, of this connector's name.

    They select assets by key: whoever puts the assets into another group keeps them in their jobs.
    """
    full: Mapping[str, Any] = {"ops": {names.op: {"config": {"mode": Mode.full.name}}}}
    selection = dg.AssetSelection.assets(*names.asset_keys())
    # The assets are one step. A process for each step would add seconds to every run and gain nothing.
    executor = dg.in_process_executor
    return [
        dg.define_asset_job(
            names.sync,
            selection,
            tags=RETRY_WHAT_FAILED,
            executor_def=executor,
            description="Loads new rows of all resources.",
        ),
        dg.define_asset_job(
            names.reconcile,
            selection,
            tags=RETRY_WHAT_FAILED,
            config=full,
            executor_def=executor,
            description="Reads all resources again and marks rows that are gone upstream.",
        ),
        dg.define_asset_job(
            names.derived("verify"),
            dg.AssetSelection.checks_for_assets(*names.asset_keys()),
            executor_def=executor,
            description="Evaluates the checks of all tables, without a sync.",
        ),
    ]


def build_schedules(names: Names, crons: Crons) -> list[dg.ScheduleDefinition]:
    """The schedules of the sync and the reconcile. Both are stopped until somebody switches them on in the UI."""
    return [_schedule(names.sync, crons.sync), _schedule(names.reconcile, crons.reconcile)]


def _schedule(name: str, cron: str) -> dg.ScheduleDefinition:
    @dg.schedule(
        name=name,
        job_name=name,
        cron_schedule=cron,
        execution_timezone=read_timezone(),
        description=f"Runs {name}, unless a run of it is unfinished.",
    )
    def tick(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        unfinished = dg.RunsFilter(job_name=name, statuses=UNFINISHED)
        if runs := context.instance.get_runs(unfinished, limit=1):
            return dg.SkipReason(f"Run {runs[0].run_id} of {name} is {runs[0].status.value.lower()}.")
        return dg.RunRequest()

    return tick
