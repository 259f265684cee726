"""How far a run is: lines in its log while it works, a table at its end, and what a terminal shows live."""

from collections.abc import Callable, Iterable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from time import monotonic
from typing import Any

from analytics_assets.api.listing import Listing
from analytics_assets.api.report import Report

EVERY = 5.0
"""Seconds between two lines about one resource, and before the first: a quick one has none."""

QUEUED, READING, LOADING, MATERIALIZED, FAILED = "queued", "reading", "loading", "materialized", "failed"


@dataclass(slots=True)
class Stage:
    """How far one resource is. Seconds are of the monotonic clock; `said` is when the last line was logged."""

    name: str
    report: Report
    outcome: str = ""
    began: float = 0.0
    said: float = 0.0
    seconds: float = 0.0
    loaded: int | None = None
    deleted: int | None = None

    @property
    def state(self) -> str:
        """One of the five words above."""
        if self.outcome or not self.began:
            return self.outcome or QUEUED
        return LOADING if self.report.is_read else READING

    @property
    def rows_per_second(self) -> float:
        """Rows read, over the time since the resource's turn came."""
        seconds = self.seconds or monotonic() - self.began
        return self.report.rows_read / seconds if self.began and seconds else 0.0

    def waits_for(self) -> str:
        """What the requests wait for, the longest wait if there are several; empty if they do not."""
        longest = max(list(self.report.waits), key=lambda wait: wait.until, default=None)
        return f"waiting {max(0.0, longest.until - monotonic()):.0f} s for {longest.why}" if longest else ""

    def describe(self) -> str:
        """One line about it."""
        report = self.report
        texts = [count(report.pages, "page"), count(report.rows_read, "row"), f"{self.rows_per_second:,.0f} rows/s"]
        if report.total is not None:
            texts.append(f"{max(0, report.total - report.rows_read):,} of {report.total:,} rows left")
        if report.retries:
            texts.append(f"retries: {report.retries}, after {report.seconds_waited:.0f} s of waiting")
        if waits := self.waits_for():
            texts.append(waits)
        return f"{self.name}: {self.state}: {', '.join(texts)}"


class Progress:
    """How far the resources of a run are. They are synced one after the other, while all are read ahead.

    Lines are logged where the run waits for rows, in its own thread, which is the only one that Dagster's log is for.
    """

    def __init__(self, listings: Mapping[str, Listing], say: Callable[[str], None]) -> None:
        self.stages = {name: Stage(name, listing.report) for name, listing in listings.items()}
        self._listings = listings
        self._say = say
        if watcher := WATCHER.get():
            watcher(self)

    def begin(self, name: str) -> None:
        """The turn of a resource has come."""
        stage = self.stages[name]
        stage.began = stage.said = monotonic()
        self._listings[name].watch = lambda: self._look(stage)

    def end(self, name: str, numbers: Mapping[str, Any] | None = None) -> None:
        """A resource is done: materialized, with the metadata of that, or failed."""
        stage = self.stages[name]
        stage.seconds = monotonic() - stage.began
        stage.outcome = FAILED if numbers is None else MATERIALIZED
        if numbers is not None:
            stage.loaded, stage.deleted = numbers["rows_loaded"], numbers["rows_marked_deleted"]

    def summary(self) -> str:
        """A table of all resources, in Markdown that can be read as text."""
        head = ["resource", "outcome", "loaded", "read", "marked deleted", "rescued", "requests", "retries", "seconds"]
        lines = [head, *(_cells(stage) for stage in self.stages.values())]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        lines.insert(
            1, ["-" * width if position < 2 else f"{'-' * (width - 1)}:" for position, width in enumerate(widths)]
        )
        return "\n".join(f"| {' | '.join(_aligned(line, widths))} |" for line in lines)

    def _look(self, stage: Stage) -> None:
        now = monotonic()
        # Once there is a line about a resource, there is one that its rows have come, too.
        has_come = stage.report.is_read and stage.said > stage.began
        if now - stage.said >= EVERY or has_come:
            stage.said = now
            self._say(stage.describe())


WATCHER: ContextVar[Callable[[Progress], None] | None] = ContextVar("WATCHER", default=None)
"""Is shown the progress of each run of this process when it begins."""


def count(number: int, noun: str) -> str:
    """A number of things, such as `1 page` or `2,000 rows`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _cells(stage: Stage) -> list[str]:
    report = stage.report
    numbers = (stage.loaded, report.rows_read, stage.deleted, report.values_rescued, report.requests, report.retries)
    texts = ["" if number is None else f"{number:,}" for number in numbers]
    return [stage.name, stage.state, *texts, f"{stage.seconds:.1f}"]


def _aligned(line: Iterable[str], widths: Iterable[int]) -> list[str]:
    """Words to the left, numbers to the right."""
    return [
        text.ljust(width) if position < 2 else text.rjust(width)
        for position, (text, width) in enumerate(zip(line, widths, strict=True))
    ]
