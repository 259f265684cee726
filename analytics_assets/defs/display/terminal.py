"""Shows the progress of a run live on a terminal."""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Any

from rich.console import Console, RenderableType
from rich.markup import escape
from rich.padding import Padding
from rich.progress import BarColumn, Progress, ProgressColumn, TextColumn
from rich.spinner import Spinner
from rich.table import Column, Table
from rich.text import Text

from analytics_assets.defs.display import progress

WIDE = 100
"""Columns of a terminal from which on each resource has a bar and all details; 80 are too few for both."""

NARROW = 80
"""Columns of a terminal below which the state of a resource at work gives its place to how far that is."""

NAME, STATE = 18, 12
"""Columns of the terminal for a resource's name and state."""

BESIDE = 60
"""Columns of a terminal from which on a text stands beside what it is about. With fewer it stands below."""

STYLES = {progress.QUEUED: "dim", progress.MATERIALIZED: "green", progress.FAILED: "red"}


class LiveProgress(Progress):
    """A line for each resource of one run.

    Args:
        width: Columns of the terminal.
        options: Options of rich's `Progress`.
    """

    def __init__(self, *, width: int, **options: Any) -> None:  # noqa: ANN401 - as rich has them
        self._stages: list[progress.Stage] = []
        self._width = width
        self._starting, self._checking = Spinner("dots"), Spinner("dots", "Checking the tables ...")
        self._says, self._since = "Starting ...", monotonic()
        self.stderr = 2
        """Descriptor of the process's stderr."""
        super().__init__(*_columns(width), **options)

    def follow(self, run: progress.Progress) -> None:
        """Shows the resources of `run`, which may be a step of several, from now on."""
        self._stages += run.stages.values()
        for stage in run.stages.values():
            self.add_task(stage.name, total=None, state="", details="")

    def say(self, text: str) -> None:
        """Shows a message in place of `Starting ...`, and for how long so far. A wait is said again and again."""
        if text != self._says:
            self._says, self._since = text, monotonic()

    def loaded(self) -> list[str]:
        """Names of the resources that are loaded so far."""
        return [stage.name for stage in self._stages if stage.outcome == progress.MATERIALIZED]

    @contextmanager
    def undisturbed(self) -> Iterator[None]:
        """Keeps stderr from the terminal inside the block.

        Dagster has processes that copy what a run writes to the terminal, and at Ctrl-C they write tracebacks. What the
        run writes is in its log all the same.
        """
        if self.disable:
            yield
            return
        self.stderr = os.dup(2)
        try:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, 2)
            os.close(nowhere)
            yield
        finally:
            os.dup2(self.stderr, 2)
            os.close(self.stderr)
            self.stderr = 2

    def get_renderables(self) -> Iterable[RenderableType]:
        """The lines, brought up to date. Rich calls this whenever it draws."""
        if not self._stages:
            self._starting.update(text=Text(f"{self._says} ({monotonic() - self._since:.0f} s so far)"))
            return [self._starting]
        for task, stage in zip(self.tasks, self._stages, strict=False):
            is_over = bool(stage.outcome)
            # Without a total (nobody knows how many rows there are), the bar moves to and fro.
            total = 1 if is_over or not stage.began else stage.expected
            self.update(
                task.id,
                total=total,
                completed=1 if is_over else stage.stats.rows_read if stage.began else 0,
                state=f"[{STYLES.get(stage.state, 'default')}]{stage.state}[/]",
                details=escape(self._details(stage)),
            )
        is_over = all(stage.outcome for stage in self._stages)
        return [*super().get_renderables(), *([self._checking] if is_over else [])]

    def _details(self, stage: progress.Stage) -> str:
        if self._width < NARROW:
            is_at_work = stage.state in {progress.READING, progress.LOADING}
            return stage.in_short(self._width - NAME - 1) if is_at_work else stage.state
        if not stage.began:
            return ""
        return stage.details() if self._width >= WIDE else stage.in_short(self._width - NAME - STATE - 2)


@contextmanager
def live_progress(console: Console) -> Iterator[LiveProgress]:
    """Follows a run inside the block. On a terminal it shows the progress, and removes it at the end of the block."""
    # While a step runs, Dagster redirects the process's output to a log file. Only a copy of the descriptor stays the
    # terminal's.
    descriptor = os.dup(console.file.fileno()) if console.is_terminal else os.open(os.devnull, os.O_WRONLY)
    with os.fdopen(descriptor, "w", encoding=console.encoding) as terminal:
        bars = LiveProgress(
            width=console.width,
            console=Console(file=terminal),
            disable=not console.is_terminal,
            refresh_per_second=5,
            transient=True,
            expand=True,
        )
        token = progress.WATCHER.set(bars)
        try:
            with bars:
                yield bars
        finally:
            progress.WATCHER.reset(token)


def open_console() -> Console:
    """For texts of any length: a terminal gets them broken between words, and a file or a pipe each in one line."""
    console = Console(emoji=False)
    console.soft_wrap = not (console.is_terminal or os.environ.get("COLUMNS"))
    return console


def print_about(console: Console, head: str, text: str) -> None:
    """Prints a text beside what it is about, or below that on a terminal with less than `BESIDE` columns.

    Args:
        console: Where to.
        head: What the text is about, in rich's markup, with blanks up to where the text begins.
        text: The text.
    """
    if console.soft_wrap:
        console.print(f"{head}{escape(text)}", highlight=False)
    elif console.width < BESIDE:
        console.print(head.rstrip(), Padding(Text(text), (0, 0, 0, 2)), sep="\n", highlight=False)
    else:
        lines = Table.grid()
        lines.add_row(head, Text(text))
        console.print(lines, highlight=False)


def _columns(width: int) -> list[ProgressColumn]:
    """Widths that do not depend on what is shown, so that nothing jumps. The details get what is left."""
    bar = [BarColumn(16, table_column=Column(min_width=16))] if width >= WIDE else []
    state = TextColumn("{task.fields[state]}", table_column=Column(min_width=STATE, no_wrap=True))
    return [
        TextColumn("{task.description}", table_column=Column(min_width=NAME, no_wrap=True)),
        *bar,
        *([state] if width >= NARROW else []),
        TextColumn("{task.fields[details]}", table_column=Column(ratio=1, no_wrap=True, overflow="ellipsis")),
    ]
