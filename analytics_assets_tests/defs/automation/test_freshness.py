"""The freshness policies, and the windows that follow from a cron."""

from datetime import timedelta
from typing import Any

import pytest

from analytics_assets.defs.automation.freshness import longest_gap
from analytics_assets_tests.support.eight import defs

POLICIES = {
    # hourly: warn after two ticks, fail after four (events) or twenty-four (inventory), with 15 minutes for the run
    "policies": (timedelta(hours=2, minutes=15), timedelta(hours=24, minutes=15)),
    "activities": (timedelta(hours=2, minutes=15), timedelta(hours=4, minutes=15)),
    "automation_scripts": (timedelta(hours=2, minutes=15), timedelta(hours=24, minutes=15)),
    "groups": (timedelta(hours=2, minutes=15), timedelta(hours=24, minutes=15)),
    "roles": (timedelta(hours=2, minutes=15), timedelta(hours=24, minutes=15)),
}


def windows() -> dict[str, tuple[timedelta, timedelta]]:
    found = {}
    for spec in defs().resolve_all_asset_specs():
        if spec.freshness_policy is not None:
            policy: Any = spec.freshness_policy
            found[spec.key.path[-1]] = (policy.warn_window.to_timedelta(), policy.fail_window.to_timedelta())
    return found


def test_incremental_resources_have_policies_and_no_others() -> None:
    assert windows() == POLICIES


def test_the_windows_follow_the_cron_of_the_sync(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCHEDULES__ANALYTICS_SYNC", "*/15 * * * *")
    monkeypatch.setenv("SCHEDULES__TIMEZONE", "Europe/Berlin")
    assert windows()["activities"] == (timedelta(minutes=45), timedelta(minutes=75))


@pytest.mark.parametrize(
    ("cron", "gap"),
    [
        ("0 * * * *", timedelta(hours=1)),
        ("*/15 * * * *", timedelta(minutes=15)),
        ("0 6 * * *", timedelta(days=1)),
        ("0 8-18 * * 1-5", timedelta(days=2, hours=14)),
        ("0 0 1 * *", timedelta(days=31)),
    ],
)
def test_the_longest_gap_of_a_cron(cron: str, gap: timedelta) -> None:
    assert longest_gap(cron) == gap
