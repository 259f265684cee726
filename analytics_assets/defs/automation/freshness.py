"""How old an incremental asset may become before Dagster warns or fails it."""

from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import pairwise

import dagster as dg
from croniter import croniter

from analytics_assets.api.catalog import Resource

RUN_TIME = timedelta(minutes=15)
"""Time added for the run itself, because a materialization is stamped when the run ends and not at its tick."""

WARN_AFTER = 2
"""Ticks without a materialization that warn. One tick may be missed for good reasons: the skip rule, a deployment."""

FAIL_AFTER_EVENTS = 4
"""Ticks without a materialization that fail activities. Alerts and reports of the same day depend on them."""

FAIL_AFTER_INVENTORY = 24
"""Ticks without a materialization that fail policies, scripts, groups and roles. People edit these rarely, so a copy
from yesterday is still useful."""


def freshness_policy(resource: Resource, cron: str) -> dg.FreshnessPolicy | None:
    """The policy of an incremental resource that is synced by `cron`; `None` for any other resource.

    It counts from the last materialization, whether that had new rows or not.
    """
    if resource.cursor is None:
        return None
    return dg.FreshnessPolicy.time_window(
        warn_window=WARN_AFTER * longest_gap(cron) + RUN_TIME,
        fail_window=_fail_window(resource, cron),
    )


def data_window(resource: Resource, cron: str) -> timedelta | None:
    """How old the newest row may be: for events the fail window of the policy, for other resources `None`.

    New events come all the time, so a pause is suspicious. Policies and roles may stay unchanged for months.
    """
    return _fail_window(resource, cron) if resource.append_only else None


def _fail_window(resource: Resource, cron: str) -> timedelta:
    ticks = FAIL_AFTER_EVENTS if resource.append_only else FAIL_AFTER_INVENTORY
    return ticks * longest_gap(cron) + RUN_TIME


@cache
def longest_gap(cron: str) -> timedelta:
    """The longest time between two ticks of a cron, among the first 200 ticks or one year from a fixed date."""
    start = datetime(2024, 1, 1, tzinfo=UTC)
    ticks = croniter(cron, start)
    times = [start]
    while len(times) < 200 and times[-1] - start < timedelta(days=366):
        times.append(ticks.get_next(datetime))
    return max(later - earlier for earlier, later in pairwise(times[1:]))
