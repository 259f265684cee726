"""Stats of one sync of one resource, counted while it runs."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from datetime import datetime
from time import monotonic
from typing import Any

from analytics_assets.api.order import Order
from analytics_assets.api.reading import Gap

ON_THE_WIRE = {
    "requests",
    "pages",
    "retries",
    "responses",
    "seconds_to_respond",
    "slowest_response",
    "status",
    "body_bytes",
    "seconds_waited",
    "waits",
}
"""Stats of requests, not of the rows that they have brought."""


@dataclass(frozen=True, slots=True)
class Wait:
    """A wait of a request, shown as progress."""

    why: str
    until: float
    """End of the wait, in seconds on the monotonic clock."""


@dataclass(slots=True)
class Misfits:
    """Values of one column that do not fit its type."""

    count: int = 0
    ids: list[Any] = field(default_factory=list)
    """Keys of the first few rows that have such a value."""
    example: Any = None
    """One of the values, as a JSON token."""


@dataclass(slots=True)
class SyncStats:
    """Stats of one sync of one resource."""

    requests: int = 0
    """Attempts on the wire, retries included."""
    pages: int = 0
    """Responses that held a list."""
    retries: int = 0
    """Attempts that repeat an earlier one."""
    responses: int = 0
    """Responses that came whole, whatever their status."""
    seconds_to_respond: float = 0.0
    """Sum of the seconds that these responses took."""
    slowest_response: float = 0.0
    """Seconds that the slowest of them took."""
    status: int | None = None
    """HTTP status of the last of them; `None` if none came."""
    body_bytes: int = 0
    """Bytes of decoded response bodies."""
    weight: int = 0
    """Bytes of memory that the rows take, as `http.body.weigh` estimates them."""
    seconds_waited: float = 0.0
    """Seconds between attempts of the same request."""
    rows_read: int = 0
    """Rows of the listing, before the cursor filters them."""
    rows_unchanged: int = 0
    """Rows that were read again, and dropped because nothing in them had changed."""
    loaded_by: str | None = None
    """Id of the load that brought the listing, if it is as it was then."""
    rows_without_cursor: int = 0
    """Rows whose cursor field is null."""
    rows_in_future: int = 0
    """Rows whose cursor value is later than the clock, by more than `CLOCK_SKEW`."""
    parents_gone: int = 0
    """Rows of the parent whose own listing answered 404, because they were deleted meanwhile."""
    values_rescued: int = 0
    """Values that do not fit their column."""
    values: Counter[str] = field(default_factory=Counter)
    """Values that are not null, by declared field."""
    misfits: dict[str, Misfits] = field(default_factory=dict)
    """Values that do not fit their column, by declared field."""
    masked: set[str] = field(default_factory=set)
    """Paths of `hashed` and `dropped` that rows of the listing have."""
    left_at: Any = None
    """Position at which the listing was cut; `None` if it was not."""
    gap: Gap | None = None
    """Rows that a listing in slices has still to bring."""
    cursor_before: datetime | None = None
    """Cursor before the sync; `None` if the resource has none, and for a window."""
    start_before: datetime | None = None
    """Where dlt's own record has the sync before this one begin, which is its `start_value`; `None` as above."""
    cursor_after: datetime | None = None
    """Cursor after the sync; `None` if the resource has none, and for a window."""
    order: Order | None = None
    """The order of the listing, as this sync leaves it in the state; `None` if none is known."""
    moved: int = 0
    """Rows by which the listing has moved forward while it was read, because rows were deleted."""
    place: int | None = None
    """The place of the anchor that a reading by the order went on from; `None` if it was read whole."""
    total: int | None = None
    """Rows that the listing has, if the API says so."""
    waits: list[Wait] = field(default_factory=list)
    """Waits of requests at the moment."""
    is_read: bool = False
    """Whether the listing has been read to its end."""

    def begin_again(self) -> None:
        """Forgets what was counted in the listing, because it is read once more, and keeps what its requests cost."""
        fresh = SyncStats()
        for name in {each.name for each in fields(self)} - ON_THE_WIRE:
            setattr(self, name, getattr(fresh, name))

    def count_response(self, status: int, seconds: float) -> None:
        """Counts a response that came whole."""
        self.responses += 1
        self.seconds_to_respond += seconds
        self.slowest_response = max(self.slowest_response, seconds)
        self.status = status

    @contextmanager
    def waiting(self, why: str, seconds: float) -> Iterator[None]:
        """Lists the wait of a request in `waits` while the context is open."""
        wait = Wait(why, monotonic() + seconds)
        self.waits.append(wait)
        try:
            yield
        finally:
            self.waits.remove(wait)
