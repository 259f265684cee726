"""Measures this project beside plain dlt and a floor, and writes docs/performance.md.

    python -m benchmarks                              # all but the peers, which takes an hour
    python -m benchmarks --only first20 --rounds 3    # a part; what was measured before stays in the document
    python -m benchmarks --peers --rounds 2           # another part: the peers alone
    python -m benchmarks --report                     # rewrites the document from the stored results
    python -m benchmarks --divide 100 --rounds 1      # tries the harness, in minutes

The exit status is 1 if a target is missed.
"""

import argparse
import os
from collections.abc import Sequence
from dataclasses import replace

from rich.console import Console

from benchmarks.arguments import at_least_one
from benchmarks.harness import Harness, Rounds
from benchmarks.peers.known import PEERS
from benchmarks.report import DOCUMENT, render, write
from benchmarks.results import DIRECTORY, Results, describe_here
from benchmarks.scenarios import SCENARIOS, Scenario, filter_environment
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
    if arguments.divide > 1:
        results, stored, document = Results(describe_here()), TRIAL / STORED.name, TRIAL / DOCUMENT.name
    elif arguments.report:
        results, stored, document = Results.read(STORED), STORED, DOCUMENT
    else:
        results, stored, document = Results.read_comparable(STORED), STORED, DOCUMENT
    if not arguments.report:
        scenarios = choose(arguments)
        harness = prepare(arguments, results, scenarios, console)
        if arguments.estimate:
            return 0
        for scenario in scenarios:
            harness.measure(scenario)
            results.write(stored)
    write(results, document)
    console.print(render(results), markup=False, highlight=False, soft_wrap=True)
    console.print(f"Written: {document}", highlight=False, soft_wrap=True)
    names = list(SCENARIOS) if arguments.report else arguments.only
    failures = [] if arguments.divide > 1 else missed(results, names)
    for failure in failures:
        console.print(f"Missed: {failure}", style="red", highlight=False, soft_wrap=True)
    return 1 if failures else 0


def parse(given: Sequence[str] | None = None) -> argparse.Namespace:
    """Parses the command line, or the words that are given."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=SCENARIOS, default=list(SCENARIOS), metavar="SCENARIO")
    parser.add_argument("--rounds", type=at_least_one, default=5)
    of_peers = " and ".join(name for name, scenario in SCENARIOS.items() if scenario.peers)
    parser.add_argument("--peers", action="store_true", help=f"measure the peers, and them alone, in {of_peers}")
    parser.add_argument(
        "--slow-rounds", type=at_least_one, help="rounds of what takes minutes: plain dlt, peers (default: --rounds)"
    )
    parser.add_argument(
        "--in-flight", type=at_least_one, default=8, help="requests at a time, for the project and the floor"
    )
    parser.add_argument(
        "--divide",
        type=at_least_one,
        default=1,
        metavar="N",
        help="measure with an Nth of the rows, judge no target and leave the document alone",
    )
    parser.add_argument("--estimate", action="store_true", help="measure nothing, and say how long it would take")
    parser.add_argument("--report", action="store_true", help="measure nothing, and rewrite the document")
    arguments = parser.parse_args(given)
    if arguments.estimate and arguments.divide > 1:
        parser.error("--estimate knows how long all rows take: leave --divide out")
    # The document would be written anew, with nothing measured.
    if arguments.peers and not any(SCENARIOS[name].peers for name in arguments.only):
        parser.error(f"--peers measures {of_peers}, and --only names neither of them")
    return arguments


def choose(arguments: argparse.Namespace) -> list[Scenario]:
    """The scenarios of `--only`, with the contestants that are to be measured."""
    scenarios = [SCENARIOS[name].divided(arguments.divide) for name in arguments.only]
    if not arguments.peers:
        return scenarios
    peers = tuple(peer.name for peer in PEERS)
    return [replace(scenario, contestants=peers) for scenario in scenarios if scenario.peers]


def prepare(arguments: argparse.Namespace, results: Results, scenarios: list[Scenario], console: Console) -> Harness:
    """Makes what the scenarios need, and says how long they will take."""
    measures = not arguments.estimate
    if measures and any(scenario.history for scenario in scenarios):
        filter_environment()  # fails now rather than after an hour
    if measures and os.getloadavg()[0] > BUSY:
        load = f"{os.getloadavg()[0]:.1f}"
        console.print(f"This machine is busy (load average {load}): expect noise.", style="yellow", highlight=False)
    slow = arguments.rounds if arguments.slow_rounds is None else arguments.slow_rounds
    harness = Harness(results, console, Rounds(arguments.rounds, slow), arguments.in_flight)
    names = {name for scenario in scenarios for name in scenario.contestants}
    harness.prepare(sorted(names), install=measures)
    if measures and arguments.divide == 1 and not results.measurements:
        alone = "nothing that can be compared with it was measured on this machine before"
        console.print(f"{DOCUMENT.name} will have this measurement alone: {alone}.", style="yellow", highlight=False)
    if arguments.divide == 1 and not STORED.exists():
        console.print("How long it takes is not known: nothing was measured on this machine before.", highlight=False)
    elif arguments.divide == 1:
        minutes, unknown = harness.estimate(scenarios, Results.read(STORED))
        console.print(f"About {minutes:.0f} minutes, by what was measured before.", highlight=False)
        for contestant in unknown:
            console.print(f"Not counted, because it was never measured here: {contestant}", highlight=False)
    return harness


if __name__ == "__main__":
    raise SystemExit(main())
