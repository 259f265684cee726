"""The plots of docs/performance.md."""

from collections.abc import Sequence
from pathlib import Path
from statistics import median

import matplotlib as mpl
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from benchmarks.results import Quantity, Results
from benchmarks.scenarios import ALONE, FLOOR, HISTORY, PARQUET, PLAIN, QUIET_PLOT, ROWS_PLOT, SCALE

COLOURS = {PLAIN: "#999999", PARQUET: "#d95f02", ALONE: "#1b6ca8", FLOOR: "#222222"}


def draw(results: Results, directory: Path) -> None:
    """Draws the plots whose scenario was measured, as PNG files in a directory."""
    mpl.use("Agg")
    if SCALE.name in results.conditions:
        _draw_rows(results, directory / ROWS_PLOT)
    if HISTORY.name in results.conditions:
        _draw_quiet(results, directory / QUIET_PLOT)


def _draw_rows(results: Results, path: Path) -> None:
    figure, axes = plt.subplots(figsize=(7, 4.5), layout="constrained")
    for contestant, colour in COLOURS.items():
        measured = [
            (size, values)
            for size in results.sizes(SCALE.name)
            if (values := results.values("seconds", SCALE.name, "first", contestant, size))
        ]
        _draw_line(axes, measured, contestant, colour)
    axes.set(xscale="log", yscale="log", xlabel="activities", ylabel="seconds, whole process", title=SCALE.title)
    _finish(axes)
    axes.legend(frameon=False)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def _draw_quiet(results: Results, path: Path) -> None:
    figure, pair = plt.subplots(1, 2, figsize=(8, 3.6), layout="constrained")
    shown: tuple[tuple[Quantity, str], ...] = (("seconds", "seconds, whole process"), ("requests", "requests"))
    for axes, (quantity, label) in zip(pair, shown, strict=True):
        measured = [
            (size, results.values(quantity, HISTORY.name, "quiet", ALONE, size)) for size in results.sizes(HISTORY.name)
        ]
        _draw_line(axes, measured, ALONE, COLOURS[ALONE])
        axes.set(xscale="log", xlabel="activities loaded before", ylabel=label)
        axes.set_ylim(bottom=0, top=1.3 * max(max(values) for _, values in measured))
        _finish(axes)
    figure.suptitle("Quiet sync, filtered by the API")
    figure.savefig(path, dpi=120)
    plt.close(figure)


def _draw_line(axes: Axes, measured: Sequence[tuple[int, list[float]]], label: str, colour: str) -> None:
    """Draws medians joined by a line, each with a bar from the least to the most of the rounds."""
    sizes = [size for size, _ in measured]
    middles = [median(values) for _, values in measured]
    below = [median(values) - min(values) for _, values in measured]
    above = [max(values) - median(values) for _, values in measured]
    axes.errorbar(sizes, middles, yerr=[below, above], label=label, color=colour, marker="o", markersize=4, capsize=3)


def _finish(axes: Axes) -> None:
    axes.grid(linewidth=0.4, alpha=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.yaxis.set_major_formatter("{x:,.10g}")
