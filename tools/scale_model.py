"""What a backfill of more rows than were loaded here would take: a model of few parameters, each of them measured."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tools.scale import Measured

SIZES = (10**6, 10**7, 10**8, 10**9)
PAGE = 1000
SLICE = 100 * PAGE
API_RATE = 40
"""Requests a second that the API allows. With 20 rows a page all requests are fifty times as many."""
LIMITS = ("the API", "the workers", "the warehouse")
COSTS = ("on the wire", "in the table", "to load", "to keep")
WORKERS = 8
"""Of one core each."""
WAREHOUSE_CORES = 4
CORE_HOUR = 0.05
"""Dollars. A list price of a general-purpose virtual core in 2026, without discounts."""
GIGABYTE_MONTH = 0.12
"""Dollars for a gigabyte of a database's disk."""


@dataclass(frozen=True)
class Parameters:
    """What was measured.

    Args:
        worker: CPU seconds a row at a worker.
        warehouse: CPU seconds a row in the warehouse, without what grows with the table.
        scan: CPU seconds a row that is there already and each slice, if the key has no index.
        wire: Bytes a row in the API's responses.
        stored: Bytes a row in the table.
    """

    worker: float
    warehouse: float
    scan: float
    wire: float
    stored: float

    @classmethod
    def of(cls, found: "Measured") -> "Parameters":
        """The parameters that follow from a backfill."""
        without_index, with_index = found.notes["merge"]
        scan = max(0.0, without_index - with_index) / found.rows
        scans = scan * sum(number * SLICE for number in range(found.rows // SLICE))
        return cls(
            found.worker_cpu / found.rows,
            max(0.0, found.postgres_cpu - scans) / found.rows,
            scan,
            found.sent / found.rows,
            found.stored / found.rows,
        )


def table(*lines: Iterable[object]) -> list[str]:
    """Lines of cells as a table of Markdown; the first is its head."""
    head, *rest = [[str(cell) for cell in line] for line in lines]
    return [f"| {' | '.join(line)} |" for line in (head, ["---"] * len(head), *rest)]


def forecast(measured: Parameters) -> list[str]:
    """The parameters and the forecast, in Markdown."""
    granted = (
        f"{API_RATE} requests a second of {PAGE:,} rows, {WORKERS} workers of one core, {WAREHOUSE_CORES} cores of"
    )
    prices = f"the warehouse, {CORE_HOUR} $ a core and hour, {GIGABYTE_MONTH} $ a GB and month"
    return [
        *table(
            ("parameter", "value"),
            (
                "a worker",
                f"{measured.worker * 1e6:.1f} µs of CPU a row: {1 / measured.worker:,.0f} rows a core and second",
            ),
            ("the warehouse", f"{measured.warehouse * 1e6:.1f} µs of CPU a row"),
            ("a merge without an index", f"{measured.scan * 1e9:.0f} ns for each row of the table, each slice"),
            ("a row", f"{measured.wire:.0f} bytes on the wire, {measured.stored:.0f} in the table"),
            ("taken for granted", f"{granted} {prices}"),
        ),
        "",
        *table(
            ("activities", "requests", *LIMITS, "without the index", "the bottleneck", *COSTS),
            *_rows(measured),
        ),
    ]


def _rows(measured: Parameters) -> Iterator[list[str]]:
    for size in SIZES:
        requests = size / PAGE
        slices = size / SLICE
        rates = requests / API_RATE, size * measured.worker / WORKERS, size * measured.warehouse / WAREHOUSE_CORES
        times = dict(zip(LIMITS, rates, strict=True))
        # Each slice looks through the table as it is by then: half of the final one on average.
        scans = measured.scan * size / 2 * slices / WAREHOUSE_CORES
        bottleneck = max(times, key=lambda name: times[name])
        cores = size * (measured.worker + measured.warehouse) / 3600
        stored = size * measured.stored / 1e9
        yield [
            f"10{'⁶⁷⁸⁹'[SIZES.index(size)]}",
            f"{requests:,.0f}",
            *map(_duration, times.values()),
            _duration(rates[-1] + scans),
            bottleneck,
            f"{size * measured.wire / 1e9:,.1f} GB",
            f"{stored:,.1f} GB",
            f"{cores * CORE_HOUR:,.2f} $",
            f"{stored * GIGABYTE_MONTH:,.2f} $ a month",
        ]


def _duration(seconds: float) -> str:
    """A time in the unit that suits it."""
    for unit, length in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:,.0f} {unit}"
    return f"{seconds:.0f} s"
