"""How much of a resource a sync reads."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

GAP = "gap"
"""Key of a gap in the state of a resource."""


@dataclass(frozen=True, slots=True)
class Gap:
    """The rows that a listing in slices has still to bring: ids below `below`, cursor values from `since` on.

    The newest row comes first and moves the cursor, when the rows below are still to be read. So each slice leaves in
    the resource's state, which is committed with its rows, where the listing goes on: that gap is filled, by this sync
    or the next, before anything newer is read. There is one gap at most.
    """

    below: int
    since: datetime


def read_gap(state: dict[str, Any]) -> Gap | None:
    """The gap in the state of a resource."""
    return Gap(**state[GAP]) if GAP in state else None


def write_gap(state: dict[str, Any], gap: Gap | None) -> None:
    """Leaves a gap in the state of a resource, or none."""
    state.pop(GAP, None)
    if gap:
        state[GAP] = {"below": gap.below, "since": gap.since}


@dataclass(frozen=True, slots=True)
class Reading:
    """How much of the incremental resources to read.

    Without fields: what is new since the cursor. `everything`: all rows since the start date, and the cursor moves on.
    `start` and `end`: the rows with a cursor value in this window (the end excluded), and the cursor stays where it is.
    `gap`: what a sliced listing has left out, and the cursor stays likewise.
    """

    everything: bool = False
    start: datetime | None = None
    end: datetime | None = None
    gap: Gap | None = None

    @property
    def is_window(self) -> bool:
        """Whether a bounded window is asked for."""
        return self.start is not None or self.end is not None
