"""The targets of each scenario, and whether the results meet them."""

from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.results import Quantity, Results, Sync
from benchmarks.scenarios import (
    ALONE,
    DAGSTER,
    FIRST_20,
    FIRST_1000,
    FLOOR,
    HISTORY,
    LATENCY_20,
    ONCE,
    PARQUET,
    PLAIN,
    SCALE,
    Scenario,
)

Measure = Callable[[Results], float | None]
"""Computes a number from the results; `None` if they lack a measurement that it needs."""


@dataclass(frozen=True, slots=True)
class Target:
    """A limit for a measured number."""

    scenario: Scenario
    what: str
    """Name of the number, in words."""
    measure: Measure
    """Computes the number."""
    limit: float
    unit: str
    """Unit of number and limit, as it follows a number in text."""
    at_least: bool = False
    """Whether the number must be at least the limit; otherwise it must be at most the limit."""

    @property
    def wanted(self) -> str:
        """The limit in words."""
        return f"{'at least' if self.at_least else 'at most'} {self.limit:g}{self.unit}"

    def is_met(self, measured: float) -> bool:
        """Whether a number meets the limit."""
        return measured >= self.limit if self.at_least else measured <= self.limit


def ratio(
    scenario: Scenario, quantity: Quantity, sync: Sync, contestants: tuple[str, str], activities: int | None = None
) -> Measure:
    """The median of the first contestant divided by that of the second."""
    above, below = contestants

    def measure(results: Results) -> float | None:
        one = results.median(quantity, scenario.name, sync, above, activities)
        other = results.median(quantity, scenario.name, sync, below, activities)
        return one / other if one and other else None

    return measure


def dagster_overhead(scenario: Scenario, sync: Sync) -> Measure:
    """How many seconds longer a sync takes through Dagster than without it, by medians of whole processes."""

    def measure(results: Results) -> float | None:
        one = results.median("seconds", scenario.name, sync, DAGSTER)
        other = results.median("seconds", scenario.name, sync, ALONE)
        return one - other if one and other else None

    return measure


def peak_memory(scenario: Scenario, activities: int) -> Measure:
    """Most MB that the project took for a first sync in any round."""

    def measure(results: Results) -> float | None:
        return max(results.values("memory", scenario.name, "first", ALONE, activities), default=None)

    return measure


def growth(scenario: Scenario, quantity: Quantity, few: int, many: int) -> Measure:
    """How many percent more a sync takes with `many` activities than with `few`, by medians."""
    sync: Sync = "quiet" if scenario.history else "first"

    def measure(results: Results) -> float | None:
        one = results.median(quantity, scenario.name, sync, ALONE, few)
        other = results.median(quantity, scenario.name, sync, ALONE, many)
        return 100 * (other / one - 1) if one and other else None

    return measure


def _faster(scenario: Scenario, than: str, times: float, sync: Sync = "first") -> Target:
    what = f"{'' if sync == 'first' else 'quiet sync, '}times faster than {than}, whole process"
    return Target(scenario, what, ratio(scenario, "seconds", sync, (than, ALONE)), times, " x", at_least=True)


def _work(scenario: Scenario, times: float, activities: int | None = None) -> Target:
    at = f" at {activities:,} activities" if activities else ""
    measure = ratio(scenario, "work", "first", (ALONE, FLOOR), activities)
    return Target(scenario, f"work beside the floor's{at}", measure, times, " x")


def _overhead(scenario: Scenario, sync: Sync, seconds: float) -> Target:
    return Target(scenario, f"Dagster's overhead, {sync} sync", dagster_overhead(scenario, sync), seconds, " s")


def _memory(scenario: Scenario, activities: int, limit: float) -> Target:
    what = f"peak memory at {activities:,} activities"
    return Target(scenario, what, peak_memory(scenario, activities), limit, " MB")


def _growth(scenario: Scenario, quantity: Quantity, few: int, many: int, percent: float) -> Target:
    what = f"more {quantity} at {many:,} activities than at {few:,}"
    return Target(scenario, what, growth(scenario, quantity, few, many), percent, " %")


TARGETS = (
    _faster(FIRST_20, PLAIN, 20),
    _faster(FIRST_20, PARQUET, 7),
    _work(FIRST_20, 1.8),
    _overhead(FIRST_20, "first", 4),
    _overhead(FIRST_20, "quiet", 2.5),
    _memory(FIRST_20, 100_000, 400),
    _faster(FIRST_1000, PLAIN, 20),
    _work(FIRST_1000, 1.8),
    _faster(FIRST_1000, PARQUET, 2, "quiet"),
    _overhead(FIRST_1000, "first", 4),
    _overhead(FIRST_1000, "quiet", 2.5),
    _memory(FIRST_1000, 100_000, 400),
    _faster(LATENCY_20, PLAIN, 6),
    _work(LATENCY_20, 1.5),
    _overhead(LATENCY_20, "first", 4),
    _overhead(LATENCY_20, "quiet", 4),
    _work(SCALE, 1.4, 1_000_000),
    _memory(SCALE, 100_000, 400),
    _memory(SCALE, 1_000_000, 600),
    _memory(SCALE, ONCE, 450),
    _growth(SCALE, "memory", 1_000_000, ONCE, 10),
    _growth(HISTORY, "requests", 10_000, 1_000_000, 20),
    _growth(HISTORY, "seconds", 10_000, 1_000_000, 20),
)


def missed(results: Results, scenarios: list[str]) -> list[str]:
    """A line for each target of some scenarios that was measured and not met."""
    return [
        f"{target.scenario.name}: {target.what}: {measured:.2f}{target.unit}, wanted {target.wanted}"
        for target in TARGETS
        if target.scenario.name in scenarios
        and (measured := target.measure(results)) is not None
        and not target.is_met(measured)
    ]
