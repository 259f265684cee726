"""The scenarios: which contestants are measured, on how many rows, under which conditions."""

import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from analytics_assets.api.connector import SHIPPED
from analytics_assets.defs.names import name_all
from benchmarks.events import EVENTS
from benchmarks.peers.known import PEERS, Peer

DEV = "this project, launched in `make dev`"
DAGSTER = "this project, Dagster's CLI"
ALONE = "this project, dlt alone"
PLAIN = "plain dlt"
PARQUET = "plain dlt, parquet"
FLOOR = "floor, by hand"

ONCE = 10_000_000
"""Number of activities that are measured in one round only."""


@dataclass(frozen=True, slots=True)
class Conditions:
    """What a contestant gets on its command line. The project gets the same in its environment."""

    url: str
    """Base URL of the API."""
    database: Path
    """The DuckDB file to load into."""
    page_size: int
    """Rows per page."""
    in_flight: int
    """Most requests at once. Plain dlt and the Singer tap ignore it."""


@dataclass(frozen=True, slots=True)
class Contestant:
    """A process to measure."""

    name: str
    command: Callable[[Conditions], list[str]]
    """Returns the command line."""
    quiet: bool = True
    """Whether it can sync again into the same file."""
    slow: bool = False
    """Whether it takes minutes, so that it has rounds of its own."""
    most: int = 1_000_000
    """Most activities with which it is measured."""
    peer: Peer | None = None
    """The peer that it is. A peer that loses rows is measured all the same."""


def _dev(_: Conditions) -> list[str]:
    return [sys.executable, "-m", "benchmarks.dev"]


def _dagster(_: Conditions) -> list[str]:
    cli = Path(sys.executable).with_name("dagster")
    return [
        str(cli),
        "asset",
        "materialize",
        "--select",
        f"group:{name_all().group}",
        "-m",
        "analytics_assets.definitions",
    ]


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


def _as_peer(peer: Peer) -> Contestant:
    def command(given: Conditions) -> list[str]:
        sizes = (str(given.page_size), str(given.in_flight))
        return [*peer.command, given.url, str(given.database), *sizes]

    return Contestant(peer.name, command, slow=True, peer=peer)


CONTESTANTS = (
    Contestant(DEV, _dev, slow=True),
    Contestant(DAGSTER, _dagster),
    Contestant(ALONE, _alone, most=ONCE),
    Contestant(PLAIN, _plain, slow=True, most=100_000),
    Contestant(PARQUET, _parquet),
    *map(_as_peer, PEERS),
    Contestant(FLOOR, _floor, quiet=False),
)
BY_NAME = {contestant.name: contestant for contestant in CONTESTANTS}


@dataclass(frozen=True, slots=True)
class Scenario:
    """Syncs to measure: those of each contestant, at each number of activities."""

    name: str
    title: str
    """Heading in the document."""
    activities: tuple[int, ...]
    """Numbers of activities, ascending. Each is measured."""
    organizations: int
    """Number of organizations."""
    locations: int
    """Number of locations."""
    others: int
    """Number of rows of every other resource."""
    page_size: int
    """Rows per page."""
    latency: float = 0
    """Seconds from each request to its response."""
    contestants: tuple[str, ...] = (DAGSTER, ALONE, PLAIN, PARQUET, FLOOR)
    """Names of the contestants that are no peers."""
    peers: bool = False
    """Whether `--peers` measures this scenario."""
    quiet: bool = True
    """Whether a quiet sync is measured after each first one."""
    history: bool = False
    """Whether only quiet syncs are measured, of an API that filters activities by time."""

    def divided(self, by: int) -> "Scenario":
        """The same scenario with fewer rows, to try the harness."""
        fewer = tuple(max(1, count // by) for count in self.activities)
        others = (max(1, count // by) for count in (self.organizations, self.locations, self.others))
        organizations, locations, rest = others
        return replace(self, activities=fewer, organizations=organizations, locations=locations, others=rest)

    def rows(self, activities: int) -> dict[str, int]:
        """The number of rows of each resource that has another number than `others`, by name."""
        rows = {"organizations": self.organizations, "locations": self.locations, EVENTS: activities}
        return {name: count for name, count in rows.items() if name in SHIPPED.by_name}

    @property
    def conditions(self) -> str:
        """The numbers of rows, in words."""
        activities = " / ".join(f"{count:,}" for count in self.activities)
        return (
            f"{activities} activities, {self.organizations:,} organizations, {self.locations:,} locations,"
            f" {self.others:,} of each other resource"
        )


FIRST_20 = Scenario(
    "first20",
    "First sync, 20 rows a page",
    (100_000,),
    *(2_000, 5_000, 500),
    page_size=20,
    contestants=(DEV, DAGSTER, ALONE, PLAIN, PARQUET, FLOOR),
    peers=True,
)
FIRST_1000 = replace(FIRST_20, name="first1000", title="First sync, 1,000 rows a page", page_size=1_000)
LATENCY_20 = replace(
    FIRST_20,
    name="latency20",
    title="First sync, 20 rows a page, 20 ms a request",
    activities=(20_000,),
    latency=0.02,
    contestants=(DAGSTER, ALONE, PLAIN, PARQUET, FLOOR),
    peers=False,
)
ROWS_PLOT = "performance-rows.png"
"""The picture of `SCALE`."""

QUIET_PLOT = "performance-quiet.png"
"""The picture of `HISTORY`."""

SCALE = Scenario(
    "scale",
    "First sync by number of activities, 1,000 rows a page",
    (1_000, 10_000, 100_000, 1_000_000, ONCE),
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
    """Variables that make `benchmarks.alone` read through a dialect whose API filters by time."""
    return {"BENCHMARKS_SINCE": SINCE}
