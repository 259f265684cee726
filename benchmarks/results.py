"""The measurements, stored as JSON, and the queries of tables, targets and plots."""

import json
import os
import platform
import sys
from collections.abc import Collection, Iterable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any, Literal

from analytics_assets.project import project_dir
from benchmarks import instructions
from benchmarks.scenarios import BY_NAME

DIRECTORY = project_dir() / "benchmarks" / "results"
PACKAGES = ("dlt", "dagster", "duckdb", "pyarrow", "pyreqwest", "aiohttp", "uvloop")
"""Packages whose versions influence the results. Results of other versions are not comparable."""

Sync = Literal["first", "quiet"]
SYNCS: tuple[Sync, ...] = ("first", "quiet")
Quantity = Literal["seconds", "work", "cpu", "instructions", "memory", "requests", "most_in_flight", "server_seconds"]
COUNTED = "counted"
"""What `describe_here` says of instructions where the machine counts them."""
ALL_ROWS = "all"
"""What is said of the rows of a contestant that has each row of the API once."""


@dataclass(frozen=True, slots=True)
class Measurement:
    """What one process took, and in which scenario. The quantities are those of `processes.Taken`."""

    scenario: str
    """Name of the scenario."""
    sync: Sync
    """`first`: the sync into a new file. `quiet`: the sync after it, without new rows."""
    contestant: str
    """Name of the contestant."""
    activities: int
    """Number of activities that the API has."""
    seconds: float
    work: float | None
    memory: float | None
    requests: int
    most_in_flight: int
    server_seconds: float
    cpu: float | None = None
    instructions: int | None = None
    rows: str = ALL_ROWS
    """Which rows of the API the tables have after the sync."""


class Results:
    """Measurements on one machine with one set of versions.

    Args:
        here: The machine and the versions, as `describe_here` returns them.
        conditions: When and how each scenario was measured, by its name.
        measurements: The measurements so far.
        skipped: Why a peer was not measured, by its name.
    """

    def __init__(
        self,
        here: dict[str, str],
        conditions: dict[str, str] | None = None,
        measurements: Iterable[Measurement] = (),
        skipped: dict[str, str] | None = None,
    ) -> None:
        self.here = here
        self.conditions = conditions or {}
        self.measurements = list(measurements)
        self.skipped = skipped or {}

    @classmethod
    def read(cls, file: Path) -> "Results":
        """The results in a file.

        Raises:
            SystemExit: The file does not exist.
        """
        if not file.exists():
            raise SystemExit(f"Nothing has been measured on this machine: there is no {file}. Run make bench first.")
        stored: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        measurements = [Measurement(**fields) for fields in stored["measurements"]]
        return cls(stored["here"], stored["conditions"], measurements, stored.get("skipped"))

    @classmethod
    def read_comparable(cls, file: Path) -> "Results":
        """The results in a file if they are of this machine and these versions, else empty ones."""
        here = describe_here()
        if file.exists() and (stored := cls.read(file)).here == here:
            return stored
        return cls(here)

    def write(self, file: Path) -> None:
        """Stores the results in a file, as JSON."""
        file.parent.mkdir(parents=True, exist_ok=True)
        stored = {
            "here": self.here,
            "conditions": self.conditions,
            "skipped": self.skipped,
            "measurements": [asdict(measurement) for measurement in self.measurements],
        }
        file.write_text(json.dumps(stored, indent=1) + "\n", encoding="utf-8")

    def start(self, scenario: str, contestants: Collection[str], conditions: str) -> None:
        """Deletes what some contestants took in a scenario, before that is measured again, and notes the conditions."""
        today = datetime.now(UTC).strftime("%Y-%m-%d")
        self.measurements = [
            kept for kept in self.measurements if kept.scenario != scenario or kept.contestant not in contestants
        ]
        self.conditions[scenario] = f"{conditions}. Last measured on {today}."

    def values(
        self, quantity: Quantity, scenario: str, sync: Sync, contestant: str, activities: int | None = None
    ) -> list[float]:
        """One quantity in each round. Without `activities`, of all sizes."""
        return [
            getattr(measured, quantity)
            for measured in self.measurements
            if (measured.scenario, measured.sync, measured.contestant) == (scenario, sync, contestant)
            and activities in {None, measured.activities}
            and getattr(measured, quantity) is not None
        ]

    def median(
        self, quantity: Quantity, scenario: str, sync: Sync, contestant: str, activities: int | None = None
    ) -> float | None:
        """The median over the rounds, or `None` if the quantity was not measured."""
        values = self.values(quantity, scenario, sync, contestant, activities)
        return median(values) if values else None

    def sizes(self, scenario: str) -> list[int]:
        """The numbers of activities with which a scenario was measured, ascending."""
        return sorted({measured.activities for measured in self.measurements if measured.scenario == scenario})

    def contestants(self, scenario: str) -> list[str]:
        """The names of the measured contestants, in the order of `CONTESTANTS`."""
        measured = {one.contestant for one in self.measurements if one.scenario == scenario}
        return [name for name in BY_NAME if name in measured]

    def rows(self, scenario: str, sync: Sync, contestant: str) -> str:
        """Which rows the tables of a contestant had after each round: what is said most often of those not complete."""
        said = [
            one.rows
            for one in self.measurements
            if (one.scenario, one.sync, one.contestant) == (scenario, sync, contestant)
        ]
        return max(said, key=lambda rows: (rows != ALL_ROWS, said.count(rows)))


def describe_here() -> dict[str, str]:
    """The machine and the versions, as texts by name."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "processor": f"{_processor()}, {os.cpu_count()} cores",
        "memory": f"{memory:.0f} GiB",
        "system": _system(),
        "python": platform.python_version(),
        "instructions": COUNTED if instructions.are_counted() else "not counted",
        **{package: version(package) for package in PACKAGES},
    }


def _processor() -> str:
    return next(_cpu_models(), "") or platform.processor() or platform.machine()


def _cpu_models() -> Iterator[str]:
    info = Path("/proc/cpuinfo")
    for line in info.read_text(encoding="utf-8").splitlines() if info.exists() else ():
        if line.startswith("model name"):
            yield line.partition(":")[2].strip()


def _system() -> str:
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except OSError:
        return f"{sys.platform} {platform.release()}"
