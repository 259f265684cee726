"""The job `analytics_backfill`: loads events by windows of a day, a week or a month, one run a partition.

The assets have no partitions: the freshness of a table and its cursor are of the whole table. So this is a job of an
op, which is what Dagster's page of backfills offers partitions of, and the op reports the materializations.
"""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg

from analytics_assets.api.redaction import redact
from analytics_assets.api.settings import Settings, SettingsError
from analytics_assets.api.settings_reader import read_date
from analytics_assets.defs.assets.config import SyncConfig
from analytics_assets.defs.assets.resource import AnalyticsResource
from analytics_assets.defs.assets.run_facts import configured_settings
from analytics_assets.defs.assets.step import Syncs
from analytics_assets.defs.assets.windows import is_backfilled, reads_all
from analytics_assets.defs.automation.run_tags import BACKFILL, RETRY_ALL
from analytics_assets.defs.names import Names, given_resource
from analytics_assets.defs.quality.checks import Checks, evaluate
from analytics_assets.warehouse.errors import DestinationError
from analytics_assets.warehouse.sync import run_by_dlt

DAY = timedelta(days=1)

PARTITIONS: dict[str, Callable[[datetime], dg.TimeWindowPartitionsDefinition]] = {
    "daily": lambda start: dg.DailyPartitionsDefinition(f"{start:%Y-%m-%d}"),
    "weekly": lambda start: dg.WeeklyPartitionsDefinition(f"{start - start.weekday() * DAY:%Y-%m-%d}", day_offset=1),
    "monthly": lambda start: dg.MonthlyPartitionsDefinition(f"{start:%Y-%m-01}"),
}
"""What the setting `backfill_partitions` may be: the partitions, of which the first has the start. Weeks begin on
Monday."""

WAITING = [dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.NOT_STARTED, dg.DagsterRunStatus.STARTING]
"""Statuses of a run that has not begun."""


def build_backfill(
    names: Names, resource: AnalyticsResource, syncs: Syncs, checks: Checks, tags: dict[str, str]
) -> dg.JobDefinition | None:
    """The job `analytics_backfill`; `None` if the connector has no events.

    Args:
        names: Names of the connector.
        resource: The Dagster resource, of whose configuration the partitions follow.
        syncs: What the op does.
        checks: The checks of all tables.
        tags: Tags of the op.

    Raises:
        SettingsError: `backfill_partitions` is none of `PARTITIONS`.
    """
    events = [each for each in names.connector.resources if is_backfilled(each)]
    if not events:
        return None
    settings = configured_settings(names, resource)
    start = _start(settings)
    partitions = _partition(settings, start)
    wanted = {key: found for key, found in checks.items() if found[0] in events}

    @dg.op(
        name=names.window_op,
        pool=names.pool,
        tags=tags,
        description="Loads the window of a partition, and reports it on the assets.",
    )
    @given_resource(names)
    def analytics_window(context: dg.OpExecutionContext, config: SyncConfig, analytics: AnalyticsResource) -> None:
        for event in syncs(context, config, analytics, events, run_by_dlt):
            context.log_event(_without_output(event))  # type: ignore[arg-type] # it takes evaluations, too
        if _is_last(context):
            for evaluation in _evaluate(names, context, analytics, wanted):
                context.log_event(evaluation)  # type: ignore[arg-type] # it takes evaluations, too

    def window(key: str) -> dict[str, Any]:
        bounds = partitions.time_window_for_partition_key(key)
        given = {"start": max(bounds.start, start).isoformat(), "end": bounds.end.isoformat()}
        return {"ops": {names.window_op: {"config": given}}}

    @dg.job(
        name=names.derived("backfill"),
        description=_describe(names, settings, [each.name for each in events]),
        config=dg.PartitionedConfig(partitions, run_config_for_partition_key_fn=window),
        # Dagster would put a copy of the job, with the resource, into the sensor that launches it, and warn of that.
        resource_defs={names.resource_key: resource},
        executor_def=dg.in_process_executor,
        tags=RETRY_ALL,
    )
    def analytics_backfill() -> None:
        analytics_window()

    return analytics_backfill


def _start(settings: Settings) -> datetime:
    try:
        return read_date(settings.start_date).astimezone(UTC)
    except ValueError:
        # An error of each run that reads the setting.
        return read_date(Settings().start_date)


def _partition(settings: Settings, start: datetime) -> dg.TimeWindowPartitionsDefinition:
    by = settings.backfill_partitions
    if by not in PARTITIONS:
        raise settings.error("backfill_partitions", f"is none of {', '.join(PARTITIONS)}", by)
    return PARTITIONS[by](start)


def _describe(names: Names, settings: Settings, events: list[str]) -> str:
    costs = {
        name: reads_all(settings, names.connector.by_name[name])
        for name in events
        if settings.dialect in names.connector.dialects_by_name
    }
    does = (
        f"Loads {', '.join(events)} by windows from the start date on, one run a partition. It leaves the cursor alone:"
        " once all partitions are loaded, the next sync loads what is new."
    )
    return "\n\n".join([does, *(f"**{name}**: {why}." for name, why in costs.items() if why)])


def _without_output(event: Any) -> dg.AssetMaterialization | dg.AssetObservation | dg.AssetCheckEvaluation:  # noqa: ANN401 - MaterializeResult has the type of its value
    """An event of the assets' step, as a step may log it that has no assets."""
    if not isinstance(event, dg.MaterializeResult):
        return event  # type: ignore[no-any-return] # the other kinds of `Events`
    assert event.asset_key  # noqa: S101 - each of ours has one
    return dg.AssetMaterialization(event.asset_key, metadata=event.metadata)


def _is_last(context: dg.OpExecutionContext) -> bool:
    """Whether no run of the same backfill is still to begin. To measure the whole table after each would take long."""
    backfill = context.run.tags.get(BACKFILL)
    waiting = dg.RunsFilter(tags={BACKFILL: backfill or ""}, statuses=WAITING)
    return backfill is None or not context.instance.get_runs(waiting, limit=1)


def _evaluate(
    names: Names, context: dg.OpExecutionContext, analytics: AnalyticsResource, checks: Checks
) -> Iterator[dg.AssetCheckEvaluation]:
    try:
        with analytics.session(names, context.log.warning) as session:
            yield from list(evaluate(names, session, checks))
    except (SettingsError, DestinationError) as error:
        # Not chained: the message says the cause, and the cause's own text may quote secrets.
        raise dg.Failure(redact(str(error), analytics.secrets(names.connector))) from None
