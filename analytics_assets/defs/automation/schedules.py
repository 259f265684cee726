"""The jobs, and the schedules that run them."""

from collections.abc import Sequence
from typing import Any

import dagster as dg

from analytics_assets.defs.assets.config import Mode
from analytics_assets.defs.automation.crons import Crons, read_timezone
from analytics_assets.defs.automation.run_tags import RETRY_WHAT_FAILED, UNFINISHED, selected_assets
from analytics_assets.defs.execution import read_executor
from analytics_assets.defs.names import Names


def build_jobs(names: Names) -> list[Any]:
    """The jobs `analytics_sync`, `analytics_reconcile` and `analytics_verify`, of this connector's name.

    They select assets by key: whoever puts the assets into another group keeps them in their jobs.
    """
    full = names.run_config(mode=Mode.full.name)
    selection = dg.AssetSelection.assets(*names.asset_keys())
    executor = read_executor()
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
    """The schedules of the sync and the reconcile. All are stopped until somebody switches them on in the UI.

    Resources with another cron than the rest have a schedule of their own, one for each cron. It is named after the
    first of them. If all resources have such crons, the schedule of the rest has nothing to do, and does not exist.
    """
    groups: dict[str, list[str]] = {}
    for name in names.connector.by_name:
        groups.setdefault(crons.of(name), []).append(name)
    rest = groups.pop(crons.sync, [])
    schedules = [_schedule(f"{names.sync}_{found[0]}", names, cron, found) for cron, found in groups.items()]
    if rest:
        schedules.insert(0, _schedule(names.sync, names, crons.sync, rest if groups else []))
    return [*schedules, _schedule(names.reconcile, names, crons.reconcile, [], names.reconcile)]


def _schedule(
    name: str, names: Names, cron: str, resources: Sequence[str], job: str | None = None
) -> dg.ScheduleDefinition:
    """A schedule of a job, by default the sync.

    Args:
        name: Name of the schedule.
        names: Names of the connector.
        cron: When it ticks.
        resources: Names of the resources that its runs are for; empty for all.
        job: Name of the job.
    """
    job_name = job or names.sync
    keys = [names.asset_key(resource) for resource in resources] or None
    for_them = f" for {', '.join(resources)}" if resources else ""

    @dg.schedule(
        name=name,
        job_name=job_name,
        cron_schedule=cron,
        execution_timezone=read_timezone(),
        description=f"Runs {job_name}{for_them}, unless a run of it {'for one of them ' if keys else ''}is unfinished.",
    )
    def tick(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        for run in context.instance.get_runs(dg.RunsFilter(job_name=job_name, statuses=UNFINISHED)):
            theirs = selected_assets(run)
            # A run without a selection is for all.
            if not (keys and theirs) or theirs.intersection(keys):
                return dg.SkipReason(f"Run {run.run_id} of {job_name} is {run.status.value.lower()}.")
        return dg.RunRequest(asset_selection=keys)

    return tick
