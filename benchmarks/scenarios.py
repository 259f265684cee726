"""What is measured: who against whom, on how many rows, under which conditions."""

import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

DAGSTER = "this project, Dagster's CLI"
ALONE = "this project, dlt alone"
PLAIN = "plain dlt"
PARQUET = "plain dlt, parquet"
FLOOR = "floor, by hand"

SLOW_LIMIT = 100_000
"""Activities above which the slow contestant is not measured: it would take more than ten minutes a process."""


@dataclass(frozen=True, slots=True)
class Conditions:
    """What a contestant is told on its command line; the project has the same in its environment."""

    url: str
    database: Path
    page_size: int
    in_flight: int


@dataclass(frozen=True, slots=True)
class Contestant:
    """A process to measure. `quiet`: whether it can sync again; `slow`: whether it takes minutes."""

    name: str
    command: Callable[[Conditions], list[str]]
    quiet: bool = True
    slow: bool = False


def _dagster(_: Conditions) -> list[str]:
    cli = Path(sys.executable).with_name("dagster")
    return [str(cli), "asset", "materialize", "--select", "group:analytics_api", "-m", "analytics_assets.definitions"]


def _alone(_: Conditions) -> list[str]:
    return [sys.executable, "-m", "benchmarks.alone"]


def _plain(given: Conditions) -> list[str]:
    size = ("--page-size", str(given.page_size))
    return [sys.executable, "-m", "benchmarks.plain", given.url, str(given.database), *size]


def _parquet(given: Conditions) -> list[str]:
    return [*_plain(given), "--parquet"]


def _floor(given: Conditions) -> list[str]:
    sizes = ("--page-size", str(given.page_size), "--in-flight", str(given.in_flight))
    return [sys.executable, "-m", "benchmarks.floor", given.url, str(given.database), *sizes]


CONTESTANTS = (
    Contestant(DAGSTER, _dagster),
    Contestant(ALONE, _alone),
    Contestant(PLAIN, _plain, slow=True),
    Contestant(PARQUET, _parquet),
    Contestant(FLOOR, _floor, quiet=False),
)
BY_NAME = {contestant.name: contestant for contestant in CONTESTANTS}


@dataclass(frozen=True, slots=True)
class Scenario:
    """First syncs of new files, each perhaps followed by a quiet one, by each contestant at each number of activities.

    `history`: only the quiet sync is measured, and the API filters activities by time.
    """

    name: str
    title: str
    activities: tuple[int, ...]
    organizations: int
    locations: int
    others: int
    page_size: int
    latency: float = 0
    contestants: tuple[str, ...] = tuple(BY_NAME)
    quiet: bool = True
    history: bool = False

    def divided(self, by: int) -> "Scenario":
        """The same with fewer rows, to try the harness."""
        fewer = tuple(max(1, count // by) for count in self.activities)
        others = (max(1, count // by) for count in (self.organizations, self.locations, self.others))
        organizations, locations, rest = others
        return replace(self, activities=fewer, organizations=organizations, locations=locations, others=rest)

    def rows(self, activities: int) -> dict[str, int]:
        """Rows of each resource that has not `others`."""
        return {"activities": activities, "organizations": self.organizations, "locations": self.locations}

    @property
    def conditions(self) -> str:
        """How many rows there are, in words."""
        activities = " / ".join(f"{count:,}" for count in self.activities)
        return (
            f"{activities} activities, {self.organizations:,} organizations, {self.locations:,} locations,"
            f" {self.others:,} of each other resource"
        )


FIRST_20 = Scenario("first20", "First sync, 20 rows a page", (100_000,), 2_000, 5_000, 500, 20)
FIRST_1000 = replace(FIRST_20, name="first1000", title="First sync, 1,000 rows a page", page_size=1_000)
LATENCY_20 = replace(
    FIRST_20,
    name="latency20",
    title="First sync, 20 rows a page, 20 ms a request",
    activities=(20_000,),
    latency=0.02,
)
SCALE = Scenario(
    "scale",
    "First sync by number of activities, 1,000 rows a page",
    (1_000, 10_000, 100_000, 1_000_000),
    *(100, 100, 100),
    page_size=1_000,
    contestants=(ALONE, PLAIN, PARQUET, FLOOR),
    quiet=False,
)
HISTORY = Scenario(
    "history",
    "Quiet sync by number of activities, filtered by the API, 20 rows a page",
    (10_000, 100_000, 1_000_000),
    *(2_000, 5_000, 500),
    page_size=20,
    contestants=(ALONE,),
    history=True,
)
SCENARIOS = {scenario.name: scenario for scenario in (FIRST_20, FIRST_1000, LATENCY_20, SCALE, HISTORY)}

SINCE = "newerThan"
"""The parameter by which the server filters activities in the scenario `history`."""


def filter_environment() -> dict[str, str]:
    """What makes `benchmarks.alone` read through a dialect whose API filters by time."""
    return {"BENCHMARKS_SINCE": SINCE}
