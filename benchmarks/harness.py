"""Measures scenarios: all contestants in turn, round after round, each sync in a process of its own."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from benchmarks.processes import Server, Taken, check_rows, environment, serving, take, workplace
from benchmarks.results import Measurement, Results, Sync
from benchmarks.scenarios import ALONE, BY_NAME, SLOW_LIMIT, Conditions, Contestant, Scenario, filter_environment


@dataclass(frozen=True, slots=True)
class Rounds:
    """How often to measure a contestant (`usual`), and the slow one (`slow`)."""

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
        self._results.start(scenario.name, f"{scenario.conditions}; {in_flight}")
        if scenario.history:
            self._measure_history(scenario)
            return
        for activities in scenario.activities:
            with serving(scenario, activities) as server:
                for number in range(self._rounds.usual):
                    self._measure_round(scenario, activities, server, number)

    def _measure_round(self, scenario: Scenario, activities: int, server: Server, number: int) -> None:
        for contestant in (BY_NAME[name] for name in scenario.contestants):
            if contestant.slow and (number >= self._rounds.slow or activities > SLOW_LIMIT):
                continue
            with workplace() as directory:
                stage = Stage(scenario, activities, server, directory)
                self._measure_sync(stage, contestant, "first")
                if scenario.quiet and contestant.quiet:
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
        taken = self._sync(stage, contestant, sync)
        what = (stage.scenario.name, sync, contestant.name, stage.activities)
        self._results.measurements.append(Measurement(*what, **asdict(taken)))

    def _sync(self, stage: Stage, contestant: Contestant, sync: Sync) -> Taken:
        database = stage.directory / "measured.duckdb"
        given = Conditions(stage.server.url, database, stage.scenario.page_size, self._in_flight)
        what = f"{stage.scenario.name}, {stage.activities:,} activities, {sync} sync: {contestant.name}"
        with self._progress(what):
            taken = take(
                contestant.command(given), environment(stage.directory, given, stage.environment), stage.server
            )
        check_rows(database, stage.server, what)
        work = "" if taken.work is None else f" ({taken.work:.1f} s of work)"
        took = f"{taken.seconds:.1f} s{work}, {taken.memory:.0f} MB, {taken.requests:,} requests"
        self._console.print(f"{what}: {took}", highlight=False, soft_wrap=True)
        return taken

    @contextmanager
    def _progress(self, what: str) -> Iterator[None]:
        columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
        hidden = not self._console.is_terminal
        with Progress(
            *columns, console=self._console, transient=True, refresh_per_second=2, disable=hidden
        ) as progress:
            progress.add_task(what, total=None)
            yield
