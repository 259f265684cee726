"""Shows the progress of a run live on a terminal."""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from rich.console import Console, RenderableType
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Column

from analytics_assets.defs.display import progress

COLUMNS = (
    TextColumn("{task.description}", table_column=Column(min_width=18, no_wrap=True)),
    BarColumn(16, table_column=Column(min_width=16)),
    TextColumn("{task.fields[state]}", table_column=Column(min_width=12, no_wrap=True)),
    TextColumn("{task.fields[details]}", table_column=Column(ratio=1, no_wrap=True, overflow="ellipsis")),
)
"""Of a narrow terminal the details get what is left."""

STYLES = {progress.QUEUED: "dim", progress.MATERIALIZED: "green", progress.FAILED: "red"}


class LiveProgress(Progress):
    """A bar for each resource of one run."""

    def follow(self, run: progress.Progress) -> None:
        """Shows the resources of `run` from now on."""
        self._stages = [
            (self.add_task(stage.name, total=None, state="", details=""), stage) for stage in run.stages.values()
        ]

    def get_renderables(self) -> Iterable[RenderableType]:
        """The bars, brought up to date. Rich calls this whenever it draws."""
        for task, stage in getattr(self, "_stages", ()):
            is_over = bool(stage.outcome)
            # Without a total (the API does not say how many rows there are), the bar moves to and fro.
            total = 1 if is_over or not stage.began else stage.stats.total
            self.update(
                task,
                total=total,
                completed=1 if is_over else stage.stats.rows_read if stage.began else 0,
                state=f"[{STYLES.get(stage.state, 'default')}]{stage.state}[/]",
                details=escape(stage.details()) if stage.began else "",
            )
        return super().get_renderables()


@contextmanager
def live_progress(console: Console) -> Iterator[None]:
    """Shows the progress of a run inside the block, and removes the bars at its end."""
    # While a step runs, Dagster redirects the process's output to a log file. Only a copy of the descriptor stays the
    # terminal's.
    with os.fdopen(os.dup(console.file.fileno()), "w", encoding=console.encoding) as terminal:
        bars = LiveProgress(*COLUMNS, console=Console(file=terminal), refresh_per_second=5, transient=True, expand=True)
        token = progress.WATCHER.set(bars.follow)
        try:
            with bars:
                yield
        finally:
            progress.WATCHER.reset(token)
