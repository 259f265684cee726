"""Dagster's automation sensor, as the tests of checks and of reports meet it."""

from typing import Any

import dagster as dg
import pytest

from analytics_assets.warehouse.sync import Pending, sync
from analytics_assets_tests.support.eight import defs


class Sensor:
    """Ticks, and says which checks it would evaluate, or which assets it would refresh, of a selection."""

    def __init__(self, instance: dg.DagsterInstance, selection: dg.AssetSelection) -> None:
        self.instance = instance
        self.selection = selection
        self.cursor: Any = None

    def tick(self) -> set[Any]:
        """Names of assets, or pairs of an asset's name and a check's."""
        result = dg.evaluate_automation_conditions(defs(), self.instance, self.selection, cursor=self.cursor)
        self.cursor = result.cursor
        return {_name(each.key) for each in result.results if each.true_subset.size}


def tick_before_each_sync(
    sensor: Sensor, monkeypatch: pytest.MonkeyPatch, dies_at: str | None = None
) -> list[tuple[str, set[Any]]]:
    """Lets a sensor tick in the middle of runs; returns the list in which it then says what it would do.

    A run that comes to the resource `dies_at` is interrupted.
    """
    asked_for: list[tuple[str, set[Any]]] = []

    def tick_and_sync(pending: Pending, *arguments: Any, **options: Any) -> Any:
        asked_for.append((pending.listing.resource.name, sensor.tick()))
        if pending.listing.resource.name == dies_at:
            raise KeyboardInterrupt
        return sync(pending, *arguments, **options)

    monkeypatch.setattr("analytics_assets.defs.assets.step.sync", tick_and_sync)
    return asked_for


def _name(key: dg.AssetKey | dg.AssetCheckKey) -> str | tuple[str, str]:
    return key.path[-1] if isinstance(key, dg.AssetKey) else (key.asset_key.path[-1], key.name)
