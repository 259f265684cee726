"""What one sync of one resource did, counted while it runs, and what it has left to the next."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from time import monotonic
from typing import Any

from analytics_assets.api.reading import Gap


@dataclass(frozen=True, slots=True)
class Wait:
    """What a request is waiting for, and until when on the monotonic clock."""

    why: str
    until: float


@dataclass(slots=True)
class Misfits:
    """Values that do not fit their column: how many, the keys of some rows, and one of the values as JSON."""

    count: int = 0
    ids: list[Any] = field(default_factory=list)
    example: Any = None


@dataclass(slots=True)
class SyncStats:
    """Counts of one sync of one resource.

    `requests` are attempts on the wire, `retries` those of them that repeat an earlier one, `seconds_waited` the time
    between them. `body_bytes` are decoded response bodies, `weight` is what `guards.weigh` says of them. `rows_read`
    are rows of the listing before the cursor's filter, `rows_unchanged` those of them that were read again because of
    the lag and dropped because nothing about them had changed, `values_rescued` values of the rows read that
    fit no column. `values` are those of the declared fields that are not null, `misfits` those of them that do not fit.
    `left_at` is the position at which a listing was cut,
    `gap` what has still to be read of one in slices. The cursors are where an incremental resource stood before and
    after (`None` where there is none).

    `pages` are the answers that hold a list, `total` is how many rows the API says that the listing has, if it does.
    `waits` are what requests wait for now, and `is_read` tells whether the listing has come to its end.
    """

    requests: int = 0
    pages: int = 0
    retries: int = 0
    body_bytes: int = 0
    weight: int = 0
    seconds_waited: float = 0.0
    rows_read: int = 0
    rows_unchanged: int = 0
    rows_without_cursor: int = 0
    rows_in_future: int = 0
    values_rescued: int = 0
    values: Counter[str] = field(default_factory=Counter)
    misfits: dict[str, Misfits] = field(default_factory=dict)
    left_at: int | None = None
    gap: Gap | None = None
    cursor_before: datetime | None = None
    cursor_after: datetime | None = None
    total: int | None = None
    waits: list[Wait] = field(default_factory=list)
    is_read: bool = False

    @contextmanager
    def waiting(self, why: str, seconds: float) -> Iterator[None]:
        """Says meanwhile that a request waits so many seconds."""
        wait = Wait(why, monotonic() + seconds)
        self.waits.append(wait)
        try:
            yield
        finally:
            self.waits.remove(wait)
