"""A long listing from the newest row down is loaded in slices, so that a sync that dies does not start over.

The newest row comes first and moves the cursor, when the rows below are still to be read. So each slice leaves in the
resource's state, which is committed with its rows, where the listing goes on: that gap is filled, by this sync or the
next, before anything newer is read. There is one gap at most.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

STATE = "gap"
"""Its key in the state of a resource."""

SLICE_PAGES = 100
"""Pages of a slice: what a sync that dies has read in vain, at most. Each slice costs a load, half a second."""


@dataclass(frozen=True, slots=True)
class Gap:
    """The rows that a listing has still to bring: ids below `below`, cursor values from `since` on."""

    below: int
    since: datetime


def read_gap(state: dict[str, Any]) -> Gap | None:
    """The gap in the state of a resource."""
    return Gap(**state[STATE]) if STATE in state else None


def write_gap(state: dict[str, Any], gap: Gap | None) -> None:
    """Leaves a gap in the state of a resource, or none."""
    state.pop(STATE, None)
    if gap:
        state[STATE] = {"below": gap.below, "since": gap.since}
