"""How old an incremental asset may become."""

from datetime import datetime, timedelta, timezone
from functools import cache
from itertools import pairwise

import dagster as dg
from croniter import croniter

from analytics_assets.api.catalog import Resource

RUN_TIME = timedelta(minutes=15)
"""Room for the run itself: a materialization is stamped when it ends, not when its tick comes."""

WARN_AFTER = 2
"""Ticks. One may be missed for good reasons (the skip rule, a deployment); two in a row want a look."""

FAIL_AFTER_EVENTS = 4
"""Ticks, for the activity log: alerts and reports of the day are built on it."""

FAIL_AFTER_INVENTORY = 24
"""Ticks, for what people edit now and then (policies, scripts, groups, roles): yesterday's is still useful."""


def freshness_policy(resource: Resource, cron: str) -> dg.FreshnessPolicy | None:
    """The policy of an incremental resource that is synced by `cron`; `None` for the others.

    It says when the asset was last materialized, with or without new rows.
    """
    if resource.cursor is None:
        return None
    cadence = longest_gap(cron)
    ticks = FAIL_AFTER_EVENTS if resource.append_only else FAIL_AFTER_INVENTORY
    return dg.FreshnessPolicy.time_window(
        warn_window=WARN_AFTER * cadence + RUN_TIME,
        fail_window=ticks * cadence + RUN_TIME,
    )


@cache
def longest_gap(cron: str) -> timedelta:
    """The longest time between two ticks of a cron, as far as a year or 200 ticks show."""
    start = datetime(2024, 1, 1, tzinfo=timezone.utc)
    ticks = croniter(cron, start)
    moments = [start]
    while len(moments) < 200 and moments[-1] - start < timedelta(days=366):
        moments.append(ticks.get_next(datetime))
    return max(later - earlier for earlier, later in pairwise(moments[1:]))
