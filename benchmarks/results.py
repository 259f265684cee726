"""What was measured, as JSON on disk, and the questions that tables, targets and plots ask of it."""

import json
import os
import platform
import sys
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any, Literal

from analytics_assets.project import project_dir

DIRECTORY = project_dir() / "benchmarks" / "results"
PACKAGES = ("dlt", "dagster", "duckdb", "pyarrow", "pyreqwest", "aiohttp", "uvloop")

Sync = Literal["first", "quiet"]
Quantity = Literal["seconds", "work", "memory", "requests", "most_in_flight", "server_seconds"]


@dataclass(frozen=True, slots=True)
class Measurement:
    """What one process took."""

    scenario: str
    sync: Sync
    contestant: str
    activities: int
    seconds: float
    work: float | None
    memory: float
    requests: int
    most_in_flight: int
    server_seconds: float


class Results:
    """Measurements on one machine with one set of versions, and when and how each scenario was measured."""

    def __init__(
        self,
        here: dict[str, str],
        conditions: dict[str, str] | None = None,
        measurements: Iterable[Measurement] = (),
    ) -> None:
        self.here = here
        self.conditions = conditions or {}
        self.measurements = list(measurements)

    @classmethod
    def read(cls, file: Path) -> "Results":
        """Those in a file.

        Raises:
            SystemExit: There is none.
        """
        if not file.exists():
            raise SystemExit(f"Nothing has been measured here: there is no {file}.")
        stored: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        return cls(stored["here"], stored["conditions"], [Measurement(**fields) for fields in stored["measurements"]])

    @classmethod
    def read_comparable(cls, file: Path) -> "Results":
        """Those in a file if they are of this machine and these versions, else none."""
        here = describe_here()
        if file.exists() and (stored := cls.read(file)).here == here:
            return stored
        return cls(here)

    def write(self, file: Path) -> None:
        """Stores them."""
        file.parent.mkdir(parents=True, exist_ok=True)
        stored = {
            "here": self.here,
            "conditions": self.conditions,
            "measurements": [asdict(measurement) for measurement in self.measurements],
        }
        file.write_text(json.dumps(stored, indent=1) + "\n", encoding="utf-8")

    def start(self, scenario: str, conditions: str) -> None:
        """Forgets a scenario, which is about to be measured."""
        today = datetime.now(UTC).strftime("%Y-%m-%d")
        self.measurements = [kept for kept in self.measurements if kept.scenario != scenario]
        self.conditions[scenario] = f"{conditions}. Measured on {today}."

    def values(
        self, quantity: Quantity, scenario: str, sync: Sync, contestant: str, activities: int | None = None
    ) -> list[float]:
        """What each round has measured."""
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
        """The median over the rounds, or nothing if it was not measured."""
        values = self.values(quantity, scenario, sync, contestant, activities)
        return median(values) if values else None

    def sizes(self, scenario: str) -> list[int]:
        """The numbers of activities that were measured."""
        return sorted({measured.activities for measured in self.measurements if measured.scenario == scenario})

    def contestants(self, scenario: str) -> list[str]:
        """Who was measured, in the order of the first round."""
        return list(dict.fromkeys(one.contestant for one in self.measurements if one.scenario == scenario))


def describe_here() -> dict[str, str]:
    """The machine and the versions."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "processor": f"{_processor()}, {os.cpu_count()} cores",
        "memory": f"{memory:.0f} GiB",
        "system": _system(),
        "python": platform.python_version(),
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
