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


def ratio(scenario: Scenario, quantity: Quantity, above: str, below: str) -> Measure:
    """The median of one contestant divided by that of another, for the first sync."""

    def measure(results: Results) -> float | None:
        one = results.median(quantity, scenario.name, "first", above)
        other = results.median(quantity, scenario.name, "first", below)
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


def growth(quantity: Quantity) -> Measure:
    """How many percent more a quiet sync takes with the longest history than with the shortest, by medians."""

    def measure(results: Results) -> float | None:
        shortest, *_, longest = HISTORY.activities
        few = results.median(quantity, HISTORY.name, "quiet", ALONE, shortest)
        many = results.median(quantity, HISTORY.name, "quiet", ALONE, longest)
        return 100 * (many / few - 1) if few and many else None

    return measure


def _first_sync(scenario: Scenario, times_plain: float, times_floor: float) -> list[Target]:
    faster = ratio(scenario, "seconds", PLAIN, ALONE)
    slower = ratio(scenario, "work", ALONE, FLOOR)
    return [
        Target(scenario, "times faster than plain dlt, whole process", faster, times_plain, " x", at_least=True),
        Target(scenario, "work beside the floor's", slower, times_floor, " x"),
        Target(scenario, "Dagster's overhead, first sync", dagster_overhead(scenario, "first"), 4, " s"),
        Target(scenario, "Dagster's overhead, quiet sync", dagster_overhead(scenario, "quiet"), 4, " s"),
    ]


def _memory(scenario: Scenario, activities: int, limit: float) -> Target:
    what = f"peak memory at {activities:,} activities"
    return Target(scenario, what, peak_memory(scenario, activities), limit, " MB")


TARGETS = (
    *_first_sync(FIRST_20, 10, 3),
    _memory(FIRST_20, 100_000, 400),
    *_first_sync(FIRST_1000, 8, 4),
    _memory(FIRST_1000, 100_000, 400),
    *_first_sync(LATENCY_20, 6, 1.5),
    _memory(SCALE, 100_000, 400),
    _memory(SCALE, 1_000_000, 600),
    Target(HISTORY, "more requests after 1,000,000 activities than after 10,000", growth("requests"), 20, " %"),
    Target(HISTORY, "more time after 1,000,000 activities than after 10,000", growth("seconds"), 20, " %"),
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
