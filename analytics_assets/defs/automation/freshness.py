"""How old an incremental asset may become."""

from datetime import UTC, datetime, timedelta
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
    return dg.FreshnessPolicy.time_window(
        warn_window=WARN_AFTER * longest_gap(cron) + RUN_TIME,
        fail_window=_fail_window(resource, cron),
    )


def data_window(resource: Resource, cron: str) -> timedelta | None:
    """How old the newest row of a resource may be: the fail window of its policy for events, `None` for the rest.

    Something always happens; but that nobody has edited a policy or created a role for months says nothing.
    """
    return _fail_window(resource, cron) if resource.append_only else None


def _fail_window(resource: Resource, cron: str) -> timedelta:
    ticks = FAIL_AFTER_EVENTS if resource.append_only else FAIL_AFTER_INVENTORY
    return ticks * longest_gap(cron) + RUN_TIME


@cache
def longest_gap(cron: str) -> timedelta:
    """The longest time between two ticks of a cron, as far as a year or 200 ticks show."""
    start = datetime(2024, 1, 1, tzinfo=UTC)
    ticks = croniter(cron, start)
    moments = [start]
    while len(moments) < 200 and moments[-1] - start < timedelta(days=366):
        moments.append(ticks.get_next(datetime))
    return max(later - earlier for earlier, later in pairwise(moments[1:]))
