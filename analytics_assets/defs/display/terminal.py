"""The progress of a run on a terminal, live."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table

from analytics_assets.defs.display.progress import FAILED, MATERIALIZED, QUEUED, WATCHER, Progress, Stage, count

STYLES = {QUEUED: "dim", MATERIALIZED: "green", FAILED: "red"}


@contextmanager
def live_progress(console: Console) -> Iterator[None]:
    """Shows the run that happens meanwhile, a bar for each resource; takes it away at the end."""
    seen: list[Progress] = []
    token = WATCHER.set(seen.append)

    def render() -> RenderableType:
        return _bars(seen[-1]) if seen else "Syncing the eight resources through Dagster ..."

    # Dagster turns the process's output into a log file while a step runs: the terminal needs a descriptor of its own.
    with os.fdopen(os.dup(console.file.fileno()), "w", encoding=console.encoding) as terminal:
        screen = Console(file=terminal)
        try:
            with Live(get_renderable=render, console=screen, refresh_per_second=5, transient=True):
                yield
        finally:
            WATCHER.reset(token)


def _bars(progress: Progress) -> Table:
    table = Table.grid(padding=(0, 2))
    for position in range(6):
        table.add_column(justify="right" if 2 <= position < 5 else "left", no_wrap=True)
    for stage in progress.stages.values():
        stats = stage.stats
        pace = f"{stage.rows_per_second:,.0f} rows/s" if stage.began else ""
        says = stage.waits_for() or stage.state
        counts = (count(stats.pages, "page"), count(stats.rows_read, "row"))
        table.add_row(stage.name, _bar(stage), *counts, pace, says, style=STYLES.get(stage.state, ""))
    return table


def _bar(stage: Stage) -> ProgressBar:
    """Full when it is done; as far as rows have come where the API says how many there are; else it moves."""
    total = stage.stats.total
    if stage.outcome or stage.state == QUEUED:
        return ProgressBar(total=1, completed=1 if stage.outcome else 0, width=24)
    return ProgressBar(total=total or None, completed=stage.stats.rows_read, width=24, pulse=not total)
