"""Measures scenarios: all contestants in turn, round after round, each sync in a process of its own."""

import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from benchmarks.peers.environments import prepare
from benchmarks.processes import FailedError, Server, Taken, compare_rows, environment, serving, take, workplace
from benchmarks.results import ALL_ROWS, SYNCS, Measurement, Results, Sync
from benchmarks.scenarios import ALONE, BY_NAME, ONCE, Conditions, Contestant, Scenario, filter_environment


@dataclass(frozen=True, slots=True)
class Rounds:
    """How often to measure a contestant (`usual`), and one that takes minutes (`slow`)."""

    usual: int
    slow: int


@dataclass(frozen=True, slots=True)
class Stage:
    """Where a contestant syncs."""

    scenario: Scenario
    activities: int
    """Number of activities that the server has."""
    server: Server
    directory: Path
    """Holds the DuckDB file, dlt's files and the Dagster instance."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Further variables of the process."""


class Harness:
    """Measures scenarios and adds the measurements to results."""

    def __init__(self, results: Results, console: Console, rounds: Rounds, in_flight: int) -> None:
        self._results = results
        self._console = console
        self._rounds = rounds
        self._in_flight = in_flight

    def measure(self, scenario: Scenario) -> None:
        """Measures one scenario in all rounds."""
        in_flight = f"the project and the floor with {self._in_flight} requests in flight"
        self._results.start(scenario.name, scenario.contestants, f"{scenario.conditions}; {in_flight}")
        if scenario.history:
            self._measure_history(scenario)
            return
        for activities in scenario.activities:
            with serving(scenario, activities) as server:
                for number in range(max(self._rounds.usual, self._rounds.slow)):
                    self._measure_round(scenario, activities, server, number)

    def skip(self, name: str, reason: str) -> None:
        """Leaves a peer out of the measurement, and notes why."""
        self._results.skipped[name] = reason
        self._console.print(f"{name}: {reason}", style="yellow", highlight=False, soft_wrap=True)

    def prepare(self, contestants: Iterable[str], *, install: bool) -> None:
        """Makes the environments of the peers among some contestants. One that cannot be had is skipped.

        Args:
            contestants: Their names.
            install: Whether to make environments that are not there, which downloads a gigabyte.
        """
        for peer in (BY_NAME[name].peer for name in contestants):
            if not peer:
                continue
            self._results.skipped.pop(peer.name, None)
            with self._progress(f"Making the environment of {peer.name}"):
                reason = prepare(peer) if install else peer.reason
            if reason:
                self.skip(peer.name, reason)

    def estimate(self, scenarios: Iterable[Scenario], known: Results) -> tuple[float, list[str]]:
        """Estimates how long scenarios take, by how long they took.

        Returns:
            Minutes, and the contestants of which nothing is known, so that they are not in the estimate.
        """
        seconds, unknown = 0.0, []
        for scenario in scenarios:
            for contestant in (BY_NAME[name] for name in scenario.contestants):
                for activities in scenario.activities:
                    rounds = self._rounds_of(contestant, activities)
                    took = [known.median("seconds", scenario.name, sync, contestant.name, activities) for sync in SYNCS]
                    seconds += rounds * sum(filter(None, took))
                    if rounds and not any(took):
                        unknown.append(f"{contestant.name} ({scenario.name}, {activities:,})")
        return seconds / 60, unknown

    def _rounds_of(self, contestant: Contestant, activities: int) -> int:
        if contestant.name in self._results.skipped or activities > contestant.most:
            return 0
        rounds = self._rounds.slow if contestant.slow else self._rounds.usual
        return min(rounds, 1) if activities >= ONCE else rounds

    def _measure_round(self, scenario: Scenario, activities: int, server: Server, number: int) -> None:
        for contestant in (BY_NAME[name] for name in scenario.contestants):
            if number >= self._rounds_of(contestant, activities):
                continue
            with workplace() as directory:
                stage = Stage(scenario, activities, server, directory)
                self._measure_sync(stage, contestant, "first")
                if scenario.quiet and contestant.quiet and contestant.name not in self._results.skipped:
                    self._measure_sync(stage, contestant, "quiet")

    def _measure_history(self, scenario: Scenario) -> None:
        """Measures quiet syncs only. Each history is loaded once, before the first round."""
        more = filter_environment()
        contestant = BY_NAME[ALONE]
        with ExitStack() as stack:
            stages = []
            for activities in scenario.activities:
                server = stack.enter_context(serving(scenario, activities))
                stages.append(Stage(scenario, activities, server, stack.enter_context(workplace()), more))
            for stage in stages:
                # The history is loaded by large pages, because this sync is not measured.
                loading = replace(stage, scenario=replace(scenario, page_size=1_000))
                self._sync(loading, contestant, "first")
            for _ in range(self._rounds.usual):
                for stage in stages:
                    self._measure_sync(stage, contestant, "quiet")

    def _measure_sync(self, stage: Stage, contestant: Contestant, sync: Sync) -> None:
        try:
            taken, rows = self._sync(stage, contestant, sync)
        except FailedError as error:
            self.skip(contestant.name, f"its {sync} sync failed: {error.reason}")
            return
        what = (stage.scenario.name, sync, contestant.name, stage.activities)
        self._results.measurements.append(Measurement(*what, **asdict(taken), rows=rows))

    def _sync(self, stage: Stage, contestant: Contestant, sync: Sync) -> tuple[Taken, str]:
        """Runs a contestant once. Returns what it took, and which rows its tables have.

        A failure, or rows that are wrong, end the benchmark, because the time means nothing then.

        Raises:
            FailedError: A peer has failed. Rows that it lacks are only reported.
        """
        database = stage.directory / "measured.duckdb"
        given = Conditions(stage.server.url, database, stage.scenario.page_size, self._in_flight)
        what = f"{stage.scenario.name}, {stage.activities:,} activities, {sync} sync: {contestant.name}"
        variables = environment(stage.directory, given, stage.environment)
        try:
            with self._progress(what):
                taken = take(contestant.command(given), variables, stage.server)
        except FailedError as error:
            if contestant.peer:
                raise
            sys.exit(str(error))
        rows = compare_rows(database, stage.server)
        if rows != ALL_ROWS and not contestant.peer:
            sys.exit(f"{what}: {rows}")
        work = "" if taken.work is None else f" ({taken.work:.1f} s of work)"
        used = "" if taken.cpu is None else f", {taken.cpu:.1f} s of CPU, {taken.memory:.0f} MB"
        took = f"{taken.seconds:.1f} s{work}{used}, {taken.requests:,} requests, rows: {rows}"
        self._console.print(f"{what}: {took}", highlight=False, soft_wrap=True)
        return taken, rows

    @contextmanager
    def _progress(self, what: str) -> Iterator[None]:
        columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
        hidden = not self._console.is_terminal
        with Progress(
            *columns, console=self._console, transient=True, refresh_per_second=2, disable=hidden
        ) as progress:
            progress.add_task(what, total=None)
            yield
