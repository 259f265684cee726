"""How much of a resource a sync reads."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from analytics_assets.api.catalog import Resource
from analytics_assets.api.settings import Settings

GAP = "gap"
"""Key of a gap in the state of a resource."""


@dataclass(frozen=True, slots=True)
class Gap:
    """The rows that a listing in slices has still to bring: ids below `below`, cursor values from `since` on.

    The first slice brings the newest row, which moves the cursor past rows that are still unread. So each slice writes
    the gap below it to the resource's state, which dlt commits with the rows. This sync or the next fills the gap
    before it reads anything newer, so there is one gap at most.
    """

    below: int
    since: datetime


def read_gap(state: dict[str, Any]) -> Gap | None:
    """Reads the gap from the state of a resource; `None` if it has none."""
    return Gap(**state[GAP]) if GAP in state else None


def write_gap(state: dict[str, Any], gap: Gap | None) -> None:
    """Writes the gap to the state of a resource; `None` removes it."""
    state.pop(GAP, None)
    if gap:
        state[GAP] = {"below": gap.below, "since": gap.since}


@dataclass(frozen=True, slots=True)
class Reading:
    """How much of an incremental resource to read. With no field set: the rows that are new since the cursor."""

    everything: bool = False
    """Whether to read all rows since the start date. The cursor moves on."""
    start: datetime | None = None
    """First cursor value of a window. A window does not move the cursor."""
    end: datetime | None = None
    """End of a window, which the window excludes."""
    since: datetime | None = None
    """Where to begin if there is no cursor yet, in place of the start date. All rows before it are loaded."""
    gap: Gap | None = None
    """Rows that an earlier slice left out. Reading them does not move the cursor."""

    @property
    def is_window(self) -> bool:
        """Whether to read a window."""
        return self.start is not None or self.end is not None


def usual_lag(resource: Resource, settings: Settings) -> timedelta:
    """How far before its cursor a resource is read, for rows that appear late."""
    return timedelta(seconds=resource.lag_seconds if settings.lag_seconds is None else settings.lag_seconds)
