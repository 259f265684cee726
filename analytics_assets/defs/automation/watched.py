"""What is watched: the definitions of a connector, and nothing of another team's in the same instance."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import dagster as dg
from croniter import croniter

from analytics_assets.defs.automation.run_tags import is_here, is_ours

SCHEDULE = "dagster/schedule_name"
"""Key of the tag of a run that a schedule has launched."""


@dataclass(frozen=True, eq=False)
class Watched:
    """Names and keys of a connector's definitions."""

    jobs: Collection[str]
    assets: Collection[dg.AssetKey]
    checks: Collection[dg.AssetCheckKey]
    schedules: Mapping[str, dg.ScheduleDefinition]
    sensors: Collection[str]
    location: str | None = None
    """The code location; `None` for whichever has definitions of these names."""

    def counted(self) -> str:
        """How much is watched, in words."""
        return f"{len(self.assets)} assets, {len(self.checks)} checks, {len(self.schedules)} schedules and their runs"

    def has_run(self, run: dg.DagsterRun) -> bool:
        """Whether a run is of these definitions, in the code location or by the command line."""
        return (self.location is None or is_here(run, self.location)) and is_ours(run, self.jobs, self.assets)

    def cadence(self, run: dg.DagsterRun, at: datetime) -> timedelta:
        """The time between two ticks of a run's schedule, around a point in time.

        A run that no schedule has launched is judged by the schedules of its job, or by all. A cron such as
        `0 8-18 * * 1-5` has long and short pauses, so that the point in time decides.
        """
        everything = self.schedules.values()
        own = [each for each in everything if each.name == run.tags.get(SCHEDULE)]
        ticks = [
            _ticks(each, at)
            for each in own or [each for each in everything if each.job_name == run.job_name] or everything
        ]
        return min((each.get_next(datetime) - each.get_prev(datetime) for each in ticks), default=timedelta.max)

    def due(self, schedule: str, last: datetime) -> datetime:
        """When a schedule that ticked last at a point in time must have ticked again: at the second tick after it."""
        ticks = _ticks(self.schedules[schedule], last)
        ticks.get_next(datetime)
        following: datetime = ticks.get_next(datetime)
        return following


def _ticks(schedule: dg.ScheduleDefinition, at: datetime) -> croniter:
    return croniter(str(schedule.cron_schedule), at.astimezone(ZoneInfo(schedule.execution_timezone or "UTC")))


def watched_of(definitions: dg.Definitions) -> Watched:
    """What there is to watch in some definitions.

    Args:
        definitions: The definitions of a connector, or of a project that has nothing else.
    """
    checks = [each for each in definitions.asset_checks or () if isinstance(each, dg.AssetChecksDefinition)]
    assets = [each for each in definitions.assets or () if isinstance(each, dg.AssetsDefinition)]
    schedules = [each for each in definitions.schedules or () if isinstance(each, dg.ScheduleDefinition)]
    return Watched(
        jobs=[job.name for job in definitions.jobs or ()],
        assets=sorted(key for each in assets for key in each.keys),
        # Dagster has them as sets, and texts are to have an order.
        checks=sorted({key for each in [*assets, *checks] for key in each.check_keys}),
        # One with several crons, which a host may have, is not watched.
        schedules={each.name: each for each in schedules if isinstance(each.cron_schedule, str)},
        sensors=[sensor.name for sensor in definitions.sensors or ()],
    )
