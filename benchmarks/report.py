"""Writes docs/performance.md: puts the tables between the marks of its text, and draws the plots beside it."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from statistics import median

from tabulate import tabulate

from analytics_assets.project import project_dir
from benchmarks.results import COUNTED, PACKAGES, SYNCS, Quantity, Results, Sync
from benchmarks.scenarios import (
    ALONE,
    DAGSTER,
    DEV,
    FLOOR,
    HISTORY,
    QUIET_PLOT,
    ROWS_PLOT,
    SCALE,
    SCENARIOS,
    Scenario,
)
from benchmarks.targets import TARGETS

DOCUMENT = project_dir() / "docs" / "performance.md"
START = "<!-- measured -->\n"
END = "<!-- end of measured -->\n"
ABSENT = "-"
THROUGH_DAGSTER = {"by its CLI": DAGSTER, "launched in `make dev`": DEV}
"""The contestants that show Dagster's overhead, by how they are started."""
HEAD = (
    *(
        "contestant",
        "whole process, s",
        "/ dlt alone",
        "its CPU, s",
        "10⁹ instructions",
        "work, s",
        "/ floor",
        "peak MB",
    ),
    *("requests", "in flight", "server's CPU, s", "rounds", "rows"),
)
"""Columns of the table of a sync."""


def write(results: Results, to: Path = DOCUMENT) -> None:
    """Writes the document to `to`, with the results between the marks of its present text, and draws the plots."""
    from benchmarks.plots import draw  # noqa: PLC0415 - matplotlib is of the extra `bench`, and tables need none

    before, rest = DOCUMENT.read_text(encoding="utf-8").split(START)
    _, after = rest.split(END)
    images = to.parent / "images"
    images.mkdir(parents=True, exist_ok=True)
    draw(results, images)
    to.write_text(f"{before}{START}{render(results)}{END}{after}", encoding="utf-8")


def render(results: Results) -> str:
    """The machine, the targets and the tables of all measured scenarios, in Markdown."""
    sections = [_machine(results), "## Targets\n\n" + _targets(results)]
    sections += [_section(results, scenario) for scenario in SCENARIOS.values() if scenario.name in results.conditions]
    return "\n".join(sections)


def _machine(results: Results) -> str:
    here = results.here
    versions = ", ".join(f"{package} {here[package]}" for package in PACKAGES)
    machine = f"Measured on {here['processor']}, {here['memory']}, {here['system']}"
    return f"{machine}; Python {here['python']}, {versions}.{_uncounted(here)}\n"


def _uncounted(here: dict[str, str]) -> str:
    return "" if here.get("instructions") == COUNTED else " This machine does not count instructions."


def _targets(results: Results) -> str:
    rows = []
    for target in TARGETS:
        measured = target.measure(results)
        shown, met = ABSENT, "not measured"
        if measured is not None:
            shown = f"{measured:.{0 if abs(measured) >= 100 else 1}f}{target.unit}"
            met = "yes" if target.is_met(measured) else "**no**"
        rows.append((target.scenario.name, target.what, target.wanted, shown, met))
    return table(("scenario", "what", "target", "measured", "met"), rows)


def _section(results: Results, scenario: Scenario) -> str:
    if scenario is SCALE:
        return _scale(results)
    if scenario is HISTORY:
        return _history(results)
    return _syncs(results, scenario)


def _heading(results: Results, scenario: Scenario) -> str:
    return f"## {scenario.title} (`{scenario.name}`)\n\n{results.conditions[scenario.name]}\n\n"


def _syncs(results: Results, scenario: Scenario) -> str:
    parts = [_heading(results, scenario), _sync_table(results, scenario, "first")]
    parts += ["\nThe second sync, right after it, with nothing new:\n\n", _sync_table(results, scenario, "quiet")]
    for sync in SYNCS:
        alone = results.median("seconds", scenario.name, sync, ALONE)
        through = {how: results.median("seconds", scenario.name, sync, name) for how, name in THROUGH_DAGSTER.items()}
        more = [f"{how} {seconds - alone:.1f} s" for how, seconds in through.items() if seconds and alone]
        if more:
            parts.append(f"\nDagster's overhead, {sync} sync: {', '.join(more)}.\n")
    return "".join(parts)


def _sync_table(results: Results, scenario: Scenario, sync: Sync) -> str:
    """A table with one line per contestant. Ratios are of medians."""
    reference = results.median("seconds", scenario.name, sync, ALONE)
    floor = results.median("work", scenario.name, sync, FLOOR)
    rows: list[tuple[str, ...]] = []
    for contestant in results.contestants(scenario.name):
        key: tuple[str, Sync, str] = (scenario.name, sync, contestant)
        seconds = results.values("seconds", *key)
        if not seconds:
            continue
        rows.append(
            (
                contestant,
                spread(seconds),
                times(results.median("seconds", *key), reference),
                spread(results.values("cpu", *key)),
                billions(results.median("instructions", *key)),
                spread(results.values("work", *key)),
                times(results.median("work", *key), floor),
                number(results.median("memory", *key)),
                number(results.median("requests", *key)),
                number(results.median("most_in_flight", *key)) if scenario.latency else ABSENT,
                number(results.median("server_seconds", *key), 1),
                str(len(seconds)),
                results.rows(*key),
            )
        )
    if scenario.peers:
        absent = [ABSENT] * (len(HEAD) - 2)
        rows += [(name, *absent, f"not measured: {why}") for name, why in results.skipped.items()]
    return table(*without_empty(HEAD, rows))


def _scale(results: Results) -> str:
    head = ("contestant", *(f"{size:,}" for size in results.sizes(SCALE.name)))
    shown: tuple[tuple[str, Quantity], ...] = (
        ("Whole process, seconds", "seconds"),
        ("Its CPU, seconds", "cpu"),
        ("Work, seconds", "work"),
        ("Peak memory, MB", "memory"),
        ("Rounds", "seconds"),
    )
    parts = [_heading(results, SCALE)]
    for title, quantity in shown:
        rows = [
            (contestant, *_scale_cells(results, contestant, quantity, counted=title == "Rounds"))
            for contestant in results.contestants(SCALE.name)
        ]
        if any(set(cells) != {ABSENT} for _, *cells in rows):
            parts.append(f"{title}:\n\n{table(head, rows)}\n")
    parts.append(f"![Time against rows](images/{ROWS_PLOT})\n")
    return "".join(parts)


def _scale_cells(results: Results, contestant: str, quantity: Quantity, *, counted: bool) -> Iterator[str]:
    for size in results.sizes(SCALE.name):
        values = results.values(quantity, SCALE.name, "first", contestant, size)
        if counted:
            yield str(len(values)) if values else ABSENT
        else:
            yield spread(values, 0 if quantity == "memory" else 1)


def _history(results: Results) -> str:
    rows = []
    for size in results.sizes(HISTORY.name):
        key: tuple[str, Sync, str, int] = (HISTORY.name, "quiet", ALONE, size)
        seconds = results.values("seconds", *key)
        rows.append(
            (
                f"{size:,}",
                spread(seconds),
                spread(results.values("cpu", *key)),
                spread(results.values("work", *key)),
                number(results.median("requests", *key)),
                number(results.median("memory", *key)),
                str(len(seconds)),
            )
        )
    head = ("activities before", "whole process, s", "its CPU, s", "work, s", "requests", "peak MB", "rounds")
    picture = f"\n![Quiet sync against history](images/{QUIET_PLOT})\n"
    return _heading(results, HISTORY) + table(*without_empty(head, rows)) + picture


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    return tabulate(rows, head, "github", disable_numparse=True) + "\n"


def without_empty(head: Sequence[str], rows: Sequence[Sequence[str]]) -> tuple[list[str], list[list[str]]]:
    """Leaves out the columns in which no row has anything."""
    kept = [place for place in range(len(head)) if any(row[place] != ABSENT for row in rows)]
    return [head[place] for place in kept], [[row[place] for place in kept] for row in rows]


def spread(values: Sequence[float], digits: int = 1) -> str:
    """The median of the rounds, and of several rounds also the least and the most."""
    if not values:
        return ABSENT
    middle = number(median(values), digits)
    if len(values) == 1:
        return middle
    return f"{middle} ({number(min(values), digits)} to {number(max(values), digits)})"


def billions(value: float | None) -> str:
    """A number in billions."""
    return ABSENT if value is None else number(value / 1e9, 1)


def times(one: float | None, other: float | None) -> str:
    """The ratio of two numbers as text, or `ABSENT` if one is missing."""
    return f"{one / other:.1f} x" if one and other else ABSENT


def number(value: float | None, digits: int = 0) -> str:
    """A number as text with `digits` decimals, or `ABSENT`."""
    return ABSENT if value is None else f"{value:,.{digits}f}"
