"""The progress of a run: lines in its log while it works, a table at its end, and the source of the live display."""

from collections.abc import Callable, Iterable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from time import monotonic
from typing import Protocol

from analytics_assets.api.listing import Listing
from analytics_assets.api.stats import SyncStats
from analytics_assets.warehouse.sync import Synced

EVERY = 5.0
"""Seconds between two lines about one resource, and before the first, so that a quick resource has no line."""

QUEUED, READING, LOADING, MATERIALIZED, FAILED = "queued", "reading", "loading", "materialized", "failed"
"""The states of a resource, in their order."""

HEAD = ["resource", "outcome", "loaded", "read", "deleted", "rescued", "requests", "retries", "seconds"]
"""Columns of the table at the end of a run."""


@dataclass(slots=True)
class Stage:
    """How far one resource is."""

    name: str
    """Name of the resource."""
    stats: SyncStats
    """What was counted so far while the listing was read."""
    last_time: int | None = None
    """Rows that the listing had last time, if it was read in the same way; they estimate a total that nobody says."""
    outcome: str = ""
    """`MATERIALIZED` or `FAILED`; empty until the sync of the resource is over."""
    began: float = 0.0
    """When its sync began, in seconds of the monotonic clock; 0 before."""
    said: float = 0.0
    """When the last line about it was logged, in seconds of the monotonic clock."""
    seconds: float = 0.0
    """How long its sync took; 0 until it is over."""
    loaded: int | None = None
    """Rows that the sync loaded; `None` until it is over, or if it failed."""
    deleted: int | None = None
    """Rows that the sync marked as deleted; `None` until it is over, or if it failed."""

    @property
    def state(self) -> str:
        """`QUEUED`, `READING`, `LOADING`, `MATERIALIZED` or `FAILED`."""
        if self.outcome or not self.began:
            return self.outcome or QUEUED
        return LOADING if self.stats.is_read else READING

    @property
    def expected(self) -> int | None:
        """Rows that the listing has, as the API says or as it had last time; `None` if neither is known."""
        return self.last_time if self.stats.total is None else self.stats.total

    @property
    def rows_per_second(self) -> float:
        """Rows read per second since the sync began. Rows that were read ahead count as well."""
        seconds = self.seconds or monotonic() - self.began
        return self.stats.rows_read / seconds if self.began and seconds else 0.0

    def waits_for(self) -> str:
        """What the requests wait for, and how long; the longest of several waits, and an empty text without any."""
        longest = max(list(self.stats.waits), key=lambda wait: wait.until, default=None)
        return f"waiting {max(0.0, longest.until - monotonic()):.0f} s for {longest.why}" if longest else ""

    def describe(self) -> str:
        """One line with name, state and details."""
        return f"{self.name}: {self.state}: {self.details()}"

    def details(self) -> str:
        """How much was read, how fast, how much is left, and what the requests wait for."""
        stats = self.stats
        texts = [count(stats.pages, "page"), count(stats.rows_read, "row"), f"{self.rows_per_second:,.0f} rows/s"]
        if stats.total is not None:
            texts.append(self._left(stats.total))
        elif self.last_time is not None and self.last_time > stats.rows_read:
            texts.append(f"{self._left(self.last_time)}, if there are as many as last time")
        if stats.retries:
            texts.append(f"retries: {stats.retries}, after {stats.seconds_waited:.0f} s of waiting")
        if waits := self.waits_for():
            texts.append(waits)
        return ", ".join(texts)

    def _left(self, total: int) -> str:
        left, speed = max(0, total - self.stats.rows_read), self.rows_per_second
        return f"{left:,} of {total:,} rows left" + (f", about {left / speed:,.0f} s" if left and speed else "")

    def in_short(self, room: int) -> str:
        """As `details`, as far as it fits into so many characters. What is waited for is not left out."""
        stats = self.stats
        text, total = count(stats.rows_read, "row"), self.expected
        if waits := self.waits_for():
            return f"{text}, {waits}"
        texts = []
        if not self.outcome and total and total > stats.rows_read:
            texts.append(f"{stats.rows_read / total:.0%}")
            if speed := self.rows_per_second:
                texts.append(f"about {(total - stats.rows_read) / speed:,.0f} s left")
        if stats.retries:
            texts.append(count(stats.retries, "retry", "retries"))
        for each in texts:
            text = f"{text}, {each}" if len(text) + 2 + len(each) <= room else text
        return text


class Progress:
    """How far the resources of a run are. They are loaded one after the other, while all of them are read ahead.

    Lines are logged by the run's own thread, while it waits for rows: Dagster's log works in no other thread.
    """

    def __init__(
        self, listings: Iterable[Listing], log: Callable[[str], None], last_time: Mapping[str, int | None]
    ) -> None:
        self._listings = {listing.resource.name: listing for listing in listings}
        self.stages = {
            name: Stage(name, listing.stats, last_time.get(name)) for name, listing in self._listings.items()
        }
        self._log = log
        if watcher := WATCHER.get():
            watcher.follow(self)

    def begin(self, name: str) -> None:
        """Notes that the sync of a resource begins, and watches its listing from now on."""
        stage = self.stages[name]
        stage.began = stage.said = monotonic()
        self._listings[name].watch = lambda: self._look(stage)

    def end(self, name: str, done: Synced | None = None) -> None:
        """Notes that the sync of a resource is over. `done` is what the sync did; without it, the resource failed."""
        stage = self.stages[name]
        stage.seconds = monotonic() - stage.began
        stage.outcome = MATERIALIZED if done else FAILED
        if done:
            stage.loaded, stage.deleted = done.rows_loaded, done.rows_marked_deleted

    def summary(self) -> str:
        """A table of all resources, in Markdown that is readable as plain text."""
        rows = [HEAD, *map(_cells, self.stages.values())]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        # tabulate pads numbers so much that the log of the UI, in a window of 1440 pixels, would wrap each line.
        lines = [
            " | ".join(
                cell.rjust(width) if place > 1 else cell.ljust(width)
                for place, (cell, width) in enumerate(zip(row, widths, strict=True))
            )
            for row in rows
        ]
        rule = "|".join(
            f"{'-' * (width + 1)}:" if place > 1 else f":{'-' * (width + 1)}" for place, width in enumerate(widths)
        )
        return "\n".join([f"| {lines[0]} |", f"|{rule}|", *(f"| {line} |" for line in lines[1:])])

    def _look(self, stage: Stage) -> None:
        now = monotonic()
        # A resource that had a line while it was read gets another as soon as the listing has ended.
        has_ended = stage.stats.is_read and stage.said > stage.began
        if now - stage.said >= EVERY or has_ended:
            stage.said = now
            self._log(stage.describe())


class Watcher(Protocol):
    """Shows the runs of this process while they work."""

    def follow(self, run: Progress, /) -> None:
        """Shows the progress of a run from now on."""

    def say(self, text: str, /) -> None:
        """Shows what a run that has not begun to read says, such as what it waits for."""


WATCHER: ContextVar[Watcher | None] = ContextVar("WATCHER", default=None)
"""The live display, if there is one."""


def also_shown(log: Callable[[str], None]) -> Callable[[str], None]:
    """The log of a run, whose messages the live display shows as well."""

    def say(text: str) -> None:
        log(text)
        if watcher := WATCHER.get():
            watcher.say(text)

    return say


def count(number: int, noun: str, plural: str | None = None) -> str:
    """A number with its noun, such as `1 page` or `2,000 rows`. The plural is the noun with an s by default."""
    return f"{number:,} {noun if number == 1 else plural or f'{noun}s'}"


def _cells(stage: Stage) -> list[str]:
    stats = stage.stats
    numbers = (stage.loaded, stats.rows_read, stage.deleted, stats.values_rescued, stats.requests, stats.retries)
    texts = ["" if number is None else f"{number:,}" for number in numbers]
    return [stage.name, stage.state, *texts, f"{stage.seconds:.1f}"]
