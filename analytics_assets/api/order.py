"""The order in which a listing has its rows: what a whole reading has proven of it, and where the next one may begin.

A listing by offset without a filter by time would be read whole by each sync. If a whole reading finds its rows in the
order of the cursor, the next sync needs the new part alone. `OrderTracker` learns the order, `NewPart` reads by it, and
both raise a `DisorderError` if anything does not fit; the sync then reads everything.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

from analytics_assets.api.catalog import Resource
from analytics_assets.api.dialects.base import ByOffset
from analytics_assets.api.reading import usual_lag
from analytics_assets.api.settings import Settings

ORDER = "order"
"""Key of the order in the state of a resource."""

MOST_DISORDER = timedelta(hours=1)
"""The most by which a row may be older than one listed before it, or newer if the listing descends."""

WORTH_PAGES = 8
"""Pages of the old part from which on it is left out. A shorter one is read as fast as a place in it is found."""


class DisorderError(Exception):
    """A listing is not, or may not be, in the order that was learned, so that everything has to be read."""


@dataclass(frozen=True, slots=True)
class Order:
    """The order of a listing, and its anchor: a row older than all that the next sync has to read."""

    descending: bool
    """Whether the newest row comes first."""
    disorder: float
    """Seconds by which a row was older than one listed before it, at the most; newer if the listing descends."""
    anchor: str
    """Key of the anchor, as text."""
    at: datetime
    """Cursor value of the anchor."""
    place: int
    """Rows that are listed before the anchor; behind it, if the listing descends."""
    witnesses: Mapping[str, int] | None
    """Rows that may show that an edit moves them, as `Witnesses` remembers them; `None` once one has. Of events none is
    remembered."""

    def bound(self, lag: timedelta) -> timedelta:
        """Returns by how much rows may be out of order.

        The lag is added for rows that appear late, so that one of them costs no whole reading.
        """
        return timedelta(seconds=self.disorder) + lag

    def __str__(self) -> str:
        way = "descending" if self.descending else "ascending"
        unproven = "; whether an edit moves a row is not known yet" if self.witnesses else ""
        return f"{way}, out of it by {self.disorder:g} s at the most{unproven}"


def read_order(state: dict[str, Any]) -> Order | None:
    """Reads the order from the state of a resource; `None` if none was learned."""
    return Order(**state[ORDER]) if ORDER in state else None


def write_order(state: dict[str, Any], order: Order | None) -> None:
    """Writes the order to the state of a resource; `None` removes it."""
    state.pop(ORDER, None)
    if order:
        state[ORDER] = asdict(order)


def has_order(resource: Resource, settings: Settings) -> bool:
    """Whether the order of a listing is learned."""
    endpoint = settings.endpoint(resource.name)
    return (
        settings.listing_order
        and resource.cursor is not None
        and isinstance(endpoint.pagination, ByOffset)
        and not (endpoint.since_param or endpoint.until_param or endpoint.newest_first or endpoint.parent)
    )


def is_usable(order: Order, cursor: datetime, resource: Resource, settings: Settings) -> bool:
    """Whether the next reading may go on from the anchor of an order, and whether it is worth that.

    Args:
        order: The order.
        cursor: The cursor of the table.
        resource: The resource.
        settings: The settings of the API.
    """
    lag = usual_lag(resource, settings)
    is_proven = resource.append_only or order.witnesses is None
    is_worth = order.place >= WORTH_PAGES * settings.rows_per_page
    return is_proven and is_worth and cursor - order.at > lag + order.bound(lag)
