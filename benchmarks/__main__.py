"""Measures this project beside plain dlt and a floor, and writes docs/performance.md.

    python -m benchmarks                              # everything, which takes hours
    python -m benchmarks --only first20 --rounds 3
    python -m benchmarks --report                     # rewrites the document from the stored results
    python -m benchmarks --divide 100 --rounds 1      # tries the harness, in minutes

The exit status is 1 if a target is missed.
"""

import argparse
import os
from pathlib import Path

from rich.console import Console

from benchmarks.harness import Harness, Rounds
from benchmarks.report import DOCUMENT, render, write
from benchmarks.results import DIRECTORY, Results, describe_here
from benchmarks.scenarios import SCENARIOS, filter_environment
from benchmarks.targets import missed

STORED = DIRECTORY / "results.json"
"""The results of this machine."""

TRIAL = DIRECTORY / "trial"
"""Directory for results and document of a run with `--divide`."""

BUSY = 0.5
"""Load average above which other processes disturb the measurement."""


def main() -> int:
    """Parses the command line, measures, and writes the document. Returns the exit status."""
    arguments = parse()
    console = Console()
    names = list(SCENARIOS) if arguments.report else arguments.only
    if arguments.report:
        results = Results.read(STORED)
    elif arguments.divide > 1:
        results = Results(describe_here())
        measure(arguments, results, TRIAL / STORED.name, console)
    else:
        results = Results.read_comparable(STORED)
        measure(arguments, results, STORED, console)
    document = TRIAL / DOCUMENT.name if arguments.divide > 1 else DOCUMENT
    write(results, document)
    console.print(render(results), markup=False, highlight=False, soft_wrap=True)
    console.print(f"Written: {document}", highlight=False, soft_wrap=True)
    failures = [] if document.is_relative_to(TRIAL) else missed(results, names)
    for failure in failures:
        console.print(f"Missed: {failure}", style="red", highlight=False, soft_wrap=True)
    return 1 if failures else 0


def parse() -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=SCENARIOS, default=list(SCENARIOS), metavar="SCENARIO")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--slow-rounds", type=int, help="rounds of plain dlt with its defaults (default: --rounds)")
    parser.add_argument("--in-flight", type=int, default=8, help="requests at a time, for the project and the floor")
    parser.add_argument(
        "--divide",
        type=int,
        default=1,
        metavar="N",
        help="measure with an Nth of the rows, judge no target and leave the document alone",
    )
    parser.add_argument("--report", action="store_true", help="measure nothing, and rewrite the document")
    return parser.parse_args()


def measure(arguments: argparse.Namespace, results: Results, stored: Path, console: Console) -> None:
    """Measures the scenarios of `--only`, and stores the results after each."""
    scenarios = [SCENARIOS[name].divided(arguments.divide) for name in arguments.only]
    if any(scenario.history for scenario in scenarios):
        filter_environment()  # fails now rather than after an hour
    slow = arguments.rounds if arguments.slow_rounds is None else arguments.slow_rounds
    if os.getloadavg()[0] > BUSY:
        load = f"{os.getloadavg()[0]:.1f}"
        console.print(f"This machine is busy (load average {load}): expect noise.", style="yellow", highlight=False)
    rounds = Rounds(arguments.rounds, slow)
    harness = Harness(results, console, rounds, arguments.in_flight)
    for scenario in scenarios:
        harness.measure(scenario)
        results.write(stored)


if __name__ == "__main__":
    raise SystemExit(main())
