"""Pagination by id: the next page lies behind the last id, or below the smallest.

A row keeps its id, so no row is lost if the listing changes while it is read. But the API has to order the rows by id,
and has to read the parameter as an id: both are checked on every page.
"""

from collections import deque
from itertools import chain, pairwise
from typing import Any

from analytics_assets.api.catalog import Resource
from analytics_assets.api.dialects.base import ById
from analytics_assets.api.http.request import ApiRequest
from analytics_assets.api.pagination.base import PaginationError, check_cap, describe_unpaged
from analytics_assets.api.settings import Settings


class IdPagination:
    """Pagination by the id at which the previous page ended. A position is such an id; an empty page is the end.

    If an empty page follows a full one, either the listing ends there, or the server does not read the parameter as an
    id. To tell these apart, the last row is requested once more, from the row before it.
    """

    first = 0

    def __init__(self, resource: Resource, by_id: ById, settings: Settings, start: ApiRequest) -> None:
        self._start = start
        self._name = resource.name
        # The catalog declares a single integer: see `mistakes`.
        [self._key] = resource.key_names
        self._param = by_id.param
        self._size_param = by_id.size_param
        self._limit = settings.rows_per_page
        self._max_pages = settings.max_pages
        self._pages = 0
        self._last_page: list[int] = []
        self._last_position = 0
        self._asked_again: int | None = None

    def request(self, position: int) -> ApiRequest:
        """Returns the request with the page size and, from the second page on, the id."""
        params = {self._size_param: str(self._limit)} | ({self._param: str(position)} if position else {})
        return self._start.with_params(params)

    def ahead(self, position: int, count: int) -> list[int]:  # noqa: ARG002 - the protocol's
        """Returns `position` alone: the id of the next page is only known when this page has come."""
        return [position]

    def accept(self, position: int, rows: list[dict[str, Any]], _response: object = None) -> int | None:
        """Removes known rows from `rows`, in place, and returns the id for the next page; `None` at the end.

        Raises:
            PaginationError: The page does not begin behind the id, its rows are not ordered by id, a row that was read
                before is missing, an id is no positive number, or the listing exceeds `max_pages`.
        """
        self._pages += 1
        if not rows:
            return self._find_end(position)
        check_cap(self._name, self._pages, self._max_pages)
        ids = [row[self._key] for row in rows]
        odd = [each for each in ids if type(each) is not int or each < 1]
        if odd:
            raise PaginationError(
                f"{self._page_at(position)} has the {self._key} {odd[0]!r:.40}, and paging by id takes numbers from"
                " 1. Does the dialect fit this API?"
            )
        if self._pages == 2 and ids == self._last_page and len(ids) != self._limit:
            raise PaginationError(describe_unpaged(self._name, len(ids), self._limit, self._param))
        next_position = self._follow(position, ids, rows)
        self._last_page, self._last_position = ids, position
        if position == self._asked_again:
            if not rows:
                return None
            self._asked_again = None
        return next_position

    def _follow(self, position: int, ids: list[int], rows: list[dict[str, Any]]) -> int:
        """Validates the order of a page, removes known rows, and returns the next position."""
        raise NotImplementedError

    def _row_before_last(self) -> int:
        """Returns the id of the row before the last one, on the last page that had rows."""
        raise NotImplementedError

    def _find_end(self, position: int) -> int | None:
        if position == self._asked_again:
            raise PaginationError(
                f"{self._page_at(position)} is empty, though a row lies behind it: after a full page comes nothing."
                f" The API reads {self._param!r} as something else than an id. Does the dialect fit this API?"
            )
        if len(self._last_page) < self._limit or self._asked_again is not None:
            return None
        self._asked_again = self._row_before_last() if len(self._last_page) > 1 else self._last_position
        return self._asked_again

    def _page_at(self, position: int) -> str:
        return f"{self._name}: page {self._pages} ({f'{self._param}={position}' if position else 'the first'})"


class LastIdPagination(IdPagination):
    """Pagination by ascending ids: the next page lies behind the last id."""

    def _follow(self, position: int, ids: list[int], rows: list[dict[str, Any]]) -> int:
        if position and ids[0] <= position:
            raise PaginationError(
                f"{self._page_at(position)} begins with {self._key} {ids[0]}, which is not behind it: the listing"
                f" does not advance. The API ignores {self._param!r} or reads it as something else than the last"
                " id. Does the dialect fit this API?"
            )
        for one, other in pairwise(ids):
            if one >= other:
                raise PaginationError(
                    f"{self._page_at(position)} is not ordered by {self._key}: {other} follows {one}. With the last"
                    f" id in {self._param!r}, rows would be lost. Does the dialect fit this API?"
                )
        if position == self._asked_again:
            rows[:] = [row for row in rows if row[self._key] > self._last_page[-1]]
        return ids[-1]

    def _row_before_last(self) -> int:
        return self._last_page[-2]


class SmallestIdPagination(IdPagination):
    """Pagination by ids that descend, or nearly so: the next page lies below the smallest id.

    A server may order by time instead, which is nearly the order of ids. If a full page is out of order by some ids, a
    row whose id is above the page's smallest may still be on no page. So the next page begins that much higher, and
    known rows are removed from it.
    """

    def __init__(self, resource: Resource, by_id: ById, settings: Settings, start: ApiRequest) -> None:
        super().__init__(resource, by_id, settings, start)
        self._recent: deque[set[int]] = deque(maxlen=4)
        self._positions: set[int] = set()
        self._disorder = 0

    def _follow(self, position: int, ids: list[int], rows: list[dict[str, Any]]) -> int:
        self._positions.add(position)
        known = set(chain.from_iterable(self._recent))
        rows[:] = [row for row in rows if row[self._key] not in known]
        self._recent.append(set(ids))
        smallest = overlapping = min(ids)
        if len(ids) >= self._limit and rows:
            self._disorder = max(self._disorder, _disorder(ids))
            overlapping += self._disorder + bool(self._disorder)
            if 2 * self._disorder > max(ids) - smallest:
                raise PaginationError(
                    f"{self._page_at(position)} is not ordered by {self._key}, from {max(ids)} down to {smallest}."
                    f" With the smallest id in {self._param!r}, rows would be lost. Does the dialect fit this API?"
                )
        # A page without new rows may lead to a position that was requested before. Then try the next candidate.
        for next_position in (overlapping, smallest, ids[-1]):
            if next_position not in self._positions:
                return next_position
        raise PaginationError(
            f"{self._page_at(position)} brings nothing new: the listing does not advance. The API ignores"
            f" {self._param!r} or reads it as something else than the smallest id. Does the dialect fit this API?"
        )

    def _row_before_last(self) -> int:
        return sorted(self._last_page)[1]


def _disorder(ids: list[int]) -> int:
    """Returns the most by which an id exceeds an earlier one of the page; 0 if the ids descend."""
    lowest, largest_rise = ids[0], 0
    for each in ids:
        lowest = min(lowest, each)
        largest_rise = max(largest_rise, each - lowest)
    return largest_rise
