"""How far a run is: lines in its log while it works, a table at its end, and what a terminal shows live."""

from collections.abc import Callable, Iterable
from contextvars import ContextVar
from dataclasses import dataclass
from time import monotonic

from tabulate import tabulate

from analytics_assets.api.listing import Listing
from analytics_assets.api.stats import SyncStats
from analytics_assets.warehouse.sync import Synced

EVERY = 5.0
"""Seconds between two lines about one resource, and before the first: a quick one has none."""

QUEUED, READING, LOADING, MATERIALIZED, FAILED = "queued", "reading", "loading", "materialized", "failed"


@dataclass(slots=True)
class Stage:
    """How far one resource is. Seconds are of the monotonic clock; `said` is when the last line was logged."""

    name: str
    stats: SyncStats
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
        return LOADING if self.stats.is_read else READING

    @property
    def rows_per_second(self) -> float:
        """Rows read, over the time since the resource's turn came."""
        seconds = self.seconds or monotonic() - self.began
        return self.stats.rows_read / seconds if self.began and seconds else 0.0

    def waits_for(self) -> str:
        """What the requests wait for, the longest wait if there are several; empty if they do not."""
        longest = max(list(self.stats.waits), key=lambda wait: wait.until, default=None)
        return f"waiting {max(0.0, longest.until - monotonic()):.0f} s for {longest.why}" if longest else ""

    def describe(self) -> str:
        """One line about it."""
        return f"{self.name}: {self.state}: {self.details()}"

    def details(self) -> str:
        """What has come, and what is being waited for."""
        stats = self.stats
        texts = [count(stats.pages, "page"), count(stats.rows_read, "row"), f"{self.rows_per_second:,.0f} rows/s"]
        if stats.total is not None:
            texts.append(f"{max(0, stats.total - stats.rows_read):,} of {stats.total:,} rows left")
        if stats.retries:
            texts.append(f"retries: {stats.retries}, after {stats.seconds_waited:.0f} s of waiting")
        if waits := self.waits_for():
            texts.append(waits)
        return ", ".join(texts)


class Progress:
    """How far the resources of a run are. They are synced one after the other, while all are read ahead.

    Lines are logged where the run waits for rows, in its own thread, which is the only one that Dagster's log is for.
    """

    def __init__(self, listings: Iterable[Listing], log: Callable[[str], None]) -> None:
        self._listings = {listing.resource.name: listing for listing in listings}
        self.stages = {name: Stage(name, listing.stats) for name, listing in self._listings.items()}
        self._log = log
        if watcher := WATCHER.get():
            watcher(self)

    def begin(self, name: str) -> None:
        """The turn of a resource has come."""
        stage = self.stages[name]
        stage.began = stage.said = monotonic()
        self._listings[name].watch = lambda: self._look(stage)

    def end(self, name: str, done: Synced | None = None) -> None:
        """The turn of a resource is over: it is synced, or it has failed."""
        stage = self.stages[name]
        stage.seconds = monotonic() - stage.began
        stage.outcome = MATERIALIZED if done else FAILED
        if done:
            stage.loaded, stage.deleted = done.rows_loaded, done.rows_marked_deleted

    def summary(self) -> str:
        """A table of all resources, in Markdown that can be read as text."""
        head = ["resource", "outcome", "loaded", "read", "marked deleted", "rescued", "requests", "retries", "seconds"]
        return tabulate(map(_cells, self.stages.values()), head, "pipe", intfmt=",", floatfmt=".1f", missingval="")

    def _look(self, stage: Stage) -> None:
        now = monotonic()
        # Once there is a line about a resource, there is one that its rows have come, too.
        has_come = stage.stats.is_read and stage.said > stage.began
        if now - stage.said >= EVERY or has_come:
            stage.said = now
            self._log(stage.describe())


WATCHER: ContextVar[Callable[[Progress], None] | None] = ContextVar("WATCHER", default=None)
"""Is shown the progress of each run of this process when it begins."""


def count(number: int, noun: str) -> str:
    """A number of things, such as `1 page` or `2,000 rows`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _cells(stage: Stage) -> list[object]:
    stats = stage.stats
    numbers = (stage.loaded, stats.rows_read, stage.deleted, stats.values_rescued, stats.requests, stats.retries)
    return [stage.name, stage.state, *numbers, stage.seconds]
