"""Reads the new part alone of a listing whose order was learned.

The reading goes on from the anchor, a row that is older than all that has to be read. In an ascending listing its place
is found by bisection: if old rows are gone, it has moved forward. A descending one is read from the first row down to
it. If rows were added to the old part, they may be ones that the sync has to load, so that everything has to be read:
the number of rows before the anchor, or behind it if the listing descends, may get smaller, but not larger.
"""

from collections.abc import Awaitable, Callable
from datetime import datetime
from itertools import pairwise
from typing import Any

from analytics_assets.api.catalog import Resource
from analytics_assets.api.dialects.base import ByOffset
from analytics_assets.api.http.errors import PayloadError, StatusError
from analytics_assets.api.http.request import ApiRequest
from analytics_assets.api.order import DisorderError, Order
from analytics_assets.api.pagination.offset import MOST_SETBACKS, OffsetPagination
from analytics_assets.api.reading import usual_lag
from analytics_assets.api.settings import Settings
from analytics_assets.api.values.cells import UnfitError, read_cell
from analytics_assets.api.values.columns import key_text
from analytics_assets.api.values.tokens import Row, find_nested

Ask = Callable[[ApiRequest], Awaitable[list[Row]]]
"""Sends a request and returns the rows of the response."""


class NewPart(OffsetPagination):
    """Pagination of the new part. `find` comes before the first page, and `settle` after the last.

    Args:
        resource: The resource to list.
        settings: Hold the page size and the limit of pages.
        start: The request that the listing begins with.
        order: The order of the listing.
        ask: Sends a request that is not for a page.

    Attributes:
        place: The place of the anchor, once it is settled.
    """

    def __init__(self, resource: Resource, settings: Settings, start: ApiRequest, order: Order, ask: Ask) -> None:
        by_offset = settings.endpoint(resource.name).pagination
        assert isinstance(by_offset, ByOffset)  # noqa: S101 - `has_order` has checked it
        super().__init__(resource, by_offset, settings, start)
        self.place = order.place
        self._cursor = resource.cursor or ""
        self._order = order
        self._bound = order.bound(usual_lag(resource, settings))
        self._ask = ask
        self._least = settings.wire_format.least_page_size
        self._found_at: int | None = None
        self._seen_at: dict[int, datetime] = {}

    async def find(self) -> None:
        """Finds where to begin.

        Raises:
            DisorderError: The rows that were looked at are not in order, or some were added before the anchor.
        """
        if not self._order.descending:
            self.first = self._consumed = await self._find_first()

    def accept(self, position: int, rows: list[dict[str, Any]], response: object = None) -> int | None:
        """As `OffsetPagination`; `None` also if the listing descends and the anchor is met.

        Raises:
            PaginationError: As `OffsetPagination` says.
            DisorderError: The anchor is not where it has to be.
        """
        moments = [self._moment(row) for row in rows]
        if self._found_at is None:
            self._found_at = self._find_anchor(position, rows)
        following = super().accept(position, rows, response)
        if self._found_at is not None:
            return None if self._order.descending else following
        if following is None or (moments and self._is_beyond(moments)):
            raise DisorderError("a row that was known is not where it has to be")
        return following

    async def settle(self) -> None:
        """Finds the place of the anchor. If rows were added to the old part, this notices it.

        Raises:
            DisorderError: Rows were added to the old part.
        """
        assert self._found_at is not None  # noqa: S101 - no listing ends without it
        if self._order.descending:
            self.place = await self._count_behind(self._found_at)
        elif self._found_at > self._order.place:
            raise DisorderError("rows were added before those that were known")
        else:
            self.place = self._found_at

    def _is_beyond(self, moments: list[datetime]) -> bool:
        """Whether the anchor cannot come behind a page."""
        if self._order.descending:
            return max(moments) < self._order.at - self._bound
        return min(moments) > self._order.at + self._bound

    def _find_anchor(self, position: int, rows: list[Row]) -> int | None:
        """Returns the offset of the anchor, given the rows from a position on; `None` if it is not among them.

        Raises:
            DisorderError: The anchor has another cursor value than before.
        """
        keys = [key_text(self._key_of(row)) for row in rows]
        if self._order.anchor not in keys:
            return None
        index = keys.index(self._order.anchor)
        if self._moment(rows[index]) != self._order.at:
            raise DisorderError("a row that was known has another cursor value")
        return position + index

    async def _find_first(self) -> int:
        """Returns an offset less than a page before the first row that may be the anchor, or 0."""
        place = self._order.place
        if self._find_anchor(place, (await self._rows_at(place))[:1]) == place:
            return place
        if await self._is_before(place):
            raise DisorderError("rows were added before those that were known")
        return await self._find_before(place, self._limit, self._is_before)

    async def _find_before(self, beyond: int, closeness: int, is_before: Callable[[int], Awaitable[object]]) -> int:
        """Returns an offset, or 0, at which `is_before` holds, and `closeness` behind which it holds no more."""
        low = high = beyond
        step = closeness
        while low > 0 and not await is_before(low := max(0, beyond - step)):
            high, step = low, 2 * step
        while high - low > closeness:
            middle = (low + high) // 2
            if await is_before(middle):
                low = middle
            else:
                high = middle
        return low

    async def _is_before(self, offset: int) -> bool:
        """Whether the row at an offset is so old that the anchor is behind it; false beyond the end."""
        if offset not in self._seen_at:
            await self._rows_at(offset)
        found = self._seen_at.get(offset)
        return found is not None and found < self._order.at - self._bound

    async def _rows_at(self, offset: int, count: int = 1) -> list[Row]:
        """Requests a few rows.

        Raises:
            DisorderError: The API refuses the request, or the rows are not in order.
        """
        params = {self._offset_param: str(offset), self._limit_param: str(max(count, self._least))}
        try:
            rows = await self._ask(self._start.with_params(params))
        except (StatusError, PayloadError) as error:
            raise DisorderError(f"row {offset} could not be looked at ({error})") from error
        if rows:
            self._seen_at[offset] = self._moment(rows[0])
            looked_at = sorted(self._seen_at.items(), reverse=self._order.descending)
            if any(one[1] - other[1] > self._bound for one, other in pairwise(looked_at)):
                raise DisorderError("the rows that were looked at are not in the order that was learned")
        return rows

    async def _count_behind(self, found_at: int) -> int:
        """Returns how many rows are listed behind the anchor, which was found at an offset."""
        for _ in range(MOST_SETBACKS):
            last = found_at + self._order.place
            rows = await self._rows_at(last, 2)
            if len(rows) == 1:
                return self._order.place
            end = last if rows else await self._find_before(last, 1, self._rows_at)
            # Rows that have come at the beginning meanwhile have moved the anchor backward.
            found_again = self._find_anchor(found_at, await self._rows_at(found_at, self._limit))
            if found_again is None or (rows and found_again == found_at):
                break
            if not rows:
                return end - found_again
            found_at = found_again
        raise DisorderError("rows were added behind those that were known")

    def _moment(self, row: Row) -> datetime:
        token = row[self._cursor] if self._cursor in row else find_nested(row, self._cursor)
        try:
            moment: datetime | None = read_cell(bytes(token), "timestamp")
        except UnfitError:
            moment = None
        if moment is None:
            raise DisorderError("a row has no cursor value")
        return moment
