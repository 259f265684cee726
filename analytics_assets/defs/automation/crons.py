"""When the schedules of a connector tick, as arguments or the configuration say."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import dagster as dg
import dlt
from croniter import CroniterError, croniter

from analytics_assets.api.mistakes import did_you_mean, nearest
from analytics_assets.defs.names import Names

HOURLY = "0 * * * *"
"""Default cron of the sync: people want activities on the same day, and a sync without new rows is a few hundred small
requests."""

WEEKLY = "30 3 * * 0"
"""Default cron of the reconcile, between two hourly syncs on Sunday night: deletions, and edits that no cursor shows,
wait a week at most."""

DEFAULT_TIMEZONE = "UTC"

OF_RESOURCES = "resources"
"""Table in `[schedules]` with the crons of single resources."""


class ScheduleConfigError(ValueError):
    """A configured cron expression or time zone is not valid."""


@dataclass(frozen=True, slots=True)
class Crons:
    """When the schedules of a connector tick."""

    sync: str
    reconcile: str
    own: Mapping[str, str] = field(default_factory=dict)
    """Crons of single resources that are synced at other times than the rest, by name."""

    def of(self, resource_name: str) -> str:
        """The cron by which a resource is synced."""
        return self.own.get(resource_name, self.sync)


def read_crons(
    names: Names, sync: str | None = None, reconcile: str | None = None, own: Mapping[str, str] | None = None
) -> Crons:
    """The crons that are given, else those in `[schedules]` of dlt's configuration, else the defaults.

    The keys are the schedules' names: `SCHEDULES__ANALYTICS_SYNC` in the environment. Those of single resources stand
    in `[schedules.resources]` under their names: `SCHEDULES__RESOURCES__ACTIVITIES`.

    Args:
        names: The connector and its names.
        sync: Cron of the sync.
        reconcile: Cron of the reconcile.
        own: Crons of single resources, by name.

    Raises:
        ScheduleConfigError: A text is not a cron expression, or names no resource.
    """
    given = own or {}
    for argument, cron in (("sync_cron", sync), ("reconcile_cron", reconcile), *given.items()):
        if cron and not _is_cron(cron):
            place = f"resource_crons: {argument}" if argument in given else argument
            raise ScheduleConfigError(f"{place} = {cron!r:.60} is not a cron expression such as {HOURLY!r}.")
    for name in given:
        _check_resource(names, name, "resource_crons")
    found = {
        name: cron
        for name in names.connector.by_name
        if (cron := given.get(name) or _read_cron(f"{OF_RESOURCES}.{name}", HOURLY))
    }
    return Crons(
        sync or _read_cron(names.sync, HOURLY) or HOURLY,
        reconcile or _read_cron(names.reconcile, WEEKLY) or WEEKLY,
        found,
    )


def check_names(names: Names) -> None:
    """Refuses a key in `[schedules.resources]` that is no resource of the only connector of a code location.

    Those in the environment count, too.

    Raises:
        ScheduleConfigError: There is such a key.
    """
    configured: object = dlt.config.get(f"schedules.{OF_RESOURCES}")
    for name in configured if isinstance(configured, Mapping) else ():
        _check_resource(names, name, f"schedules.{OF_RESOURCES}")
    prefix = f"SCHEDULES__{OF_RESOURCES.upper()}__"
    for variable in os.environ:
        if variable.startswith(prefix):
            _check_resource(names, variable.removeprefix(prefix).lower(), variable)


def _check_resource(names: Names, name: str, place: str) -> None:
    known = {*names.connector.by_name, *names.connector.left_out}
    if name not in known:
        guess = did_you_mean(nearest(name, known)) or f". It has {', '.join(sorted(known))}"
        raise ScheduleConfigError(f"{place}: {name!r:.60} is no resource of {names.connector.name}{guess}")


def _is_cron(text: str) -> bool:
    """Whether Dagster takes a text as a cron, and it ever comes: 31 February and the like do not."""
    if any(item.lower().startswith("r") for item in re.split(r"[\s,]", text)):
        # Croniter takes a random time of its own for `R` whenever it is asked, and so would each tick.
        return False
    try:
        dg.ScheduleDefinition(name="cron", job_name="cron", cron_schedule=text)
        croniter(text).get_next()
    except (dg.DagsterInvalidDefinitionError, CroniterError):
        return False
    return True


def _read_cron(key: str, example: str) -> str | None:
    cron = dlt.config.get(f"schedules.{key}", str)
    if cron and not _is_cron(cron):
        section, _, name = f"schedules.{key}".rpartition(".")
        raise ScheduleConfigError(
            f"schedules.{key} = {cron!r} is not a cron expression such as {example!r}. Set {name} in [{section}] of"
            f" .dlt/config.toml, or as SCHEDULES__{key.replace('.', '__').upper()}."
        )
    return cron or None


def read_timezone() -> str:
    """The time zone of all schedules: `timezone` in `[schedules]` (`SCHEDULES__TIMEZONE`), or UTC.

    Raises:
        ScheduleConfigError: The configured name is not a time zone.
    """
    timezone = dlt.config.get("schedules.timezone", str) or DEFAULT_TIMEZONE
    try:
        ZoneInfo(timezone)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        # A directory of time zones, such as America, is an error of the system.
        raise ScheduleConfigError(
            f"schedules.timezone = {timezone!r} is not a time zone such as 'Europe/Berlin'. Set it in [schedules] of"
            " .dlt/config.toml, or as SCHEDULES__TIMEZONE."
        ) from error
    return timezone
