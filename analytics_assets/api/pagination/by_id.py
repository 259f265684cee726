"""Pagination by id: the next page lies behind the last id, or below the smallest.

An id stays where it is, so that a listing may change while it is read. But the rows have to be ordered by id, and the
API has to read the parameter as an id: both are checked on every page.
"""

from collections import deque
from itertools import chain, pairwise
from typing import Any

from analytics_assets.api.catalog import PRIMARY_KEY, Resource
from analytics_assets.api.dialects.base import ById, ByOffset, Endpoint
from analytics_assets.api.dialects.registry import suggest_dialect
from analytics_assets.api.pagination.base import PaginationError, check_cap
from analytics_assets.api.settings import Settings


class IdPagination:
    """Paging by the id where the page before has ended; a position is such an id. Only an empty page is the end.

    An empty page behind a full one is the end by chance, or that of a server that does not read the parameter as an id.
    So the last row is asked for once more, from one row before it.
    """

    def __init__(self, resource: Resource, by_id: ById, settings: Settings) -> None:
        self._name = resource.name
        self._param = by_id.param
        self._size_param = by_id.size_param
        self._limit = settings.rows_per_page
        self._max_pages = settings.max_pages
        self._pages = 0
        self._last_page: list[int] = []
        self._last_position = 0
        self._asked_again: int | None = None

    def query(self, position: int) -> dict[str, str]:
        """The page size, and from the second page on the id."""
        return {self._size_param: str(self._limit)} | ({self._param: str(position)} if position else {})

    def ahead(self, position: int, count: int) -> list[int]:  # noqa: ARG002 - the protocol's
        """The page alone: where the next one begins is known when this one has come."""
        return [position]

    def accept(self, position: int, rows: list[dict[str, Any]]) -> int | None:
        """Takes known rows out of `rows` and chooses the id behind which the next page is.

        Raises:
            PaginationError: The page does not begin behind the id, the rows are not ordered by id, there is nothing
                where there was a row, or the listing is longer than `max_pages`.
        """
        self._pages += 1
        if not rows:
            return self._find_end(position)
        check_cap(self._name, self._pages, self._max_pages)
        ids = [row[PRIMARY_KEY] for row in rows]
        odd = [each for each in ids if type(each) is not int or each < 1]
        if odd:
            raise PaginationError(
                f"{self._where(position)} has the {PRIMARY_KEY} {odd[0]!r:.40}, and paging by id takes numbers from 1."
            )
        follows = self._follow(position, ids, rows)
        self._last_page, self._last_position = ids, position
        if position == self._asked_again:
            if not rows:
                return None
            self._asked_again = None
        return follows

    def _follow(self, position: int, ids: list[int], rows: list[dict[str, Any]]) -> int:
        raise NotImplementedError

    def _row_before_last(self) -> int:
        raise NotImplementedError

    def _find_end(self, position: int) -> int | None:
        if position == self._asked_again:
            raise PaginationError(
                f"{self._where(position)} is empty, though a row lies behind it: after a full page"
                f" comes nothing. The API reads {self._param!r} as something else than an id.{self._suggestion()}"
            )
        if len(self._last_page) < self._limit or self._asked_again is not None:
            return None
        self._asked_again = self._row_before_last() if len(self._last_page) > 1 else self._last_position
        return self._asked_again

    def _where(self, position: int) -> str:
        return f"{self._name}: page {self._pages} ({f'{self._param}={position}' if position else 'the first'})"

    def _suggestion(self) -> str:
        def fits(endpoint: Endpoint) -> bool:
            return isinstance(endpoint.pagination, ByOffset) and endpoint.pagination.param == self._param

        return suggest_dialect(self._name, fits)


class LastIdPagination(IdPagination):
    """Ids ascend: the next page is behind the last of them."""

    def _follow(self, position: int, ids: list[int], rows: list[dict[str, Any]]) -> int:
        if position and ids[0] <= position:
            raise PaginationError(
                f"{self._where(position)} begins with {PRIMARY_KEY} {ids[0]}, which is not behind it: the listing does"
                f" not advance. The API ignores {self._param!r} or reads it as something else than the last"
                f" id.{self._suggestion()}"
            )
        for one, other in pairwise(ids):
            if one >= other:
                raise PaginationError(
                    f"{self._where(position)} is not ordered by {PRIMARY_KEY}: {other} follows {one}. With the last id"
                    f" in {self._param!r}, rows would be lost."
                )
        if position == self._asked_again:
            rows[:] = [row for row in rows if row[PRIMARY_KEY] > self._last_page[-1]]
        return ids[-1]

    def _row_before_last(self) -> int:
        return self._last_page[-2]


class SmallestIdPagination(IdPagination):
    """Ids descend, or nearly so: the next page is below the smallest of them.

    A server may order by time instead, to which ids are close, and pages may overlap a little. Where a full page is out
    of order by some ids, a row with a greater id than its smallest may be on no page yet. So the next page begins that
    much higher, and known rows are taken out of it.
    """

    def __init__(self, resource: Resource, by_id: ById, settings: Settings) -> None:
        super().__init__(resource, by_id, settings)
        self._recent: deque[set[int]] = deque(maxlen=4)
        self._positions: set[int] = set()
        self._disorder = 0

    def _follow(self, position: int, ids: list[int], rows: list[dict[str, Any]]) -> int:
        self._positions.add(position)
        known = set(chain.from_iterable(self._recent))
        rows[:] = [row for row in rows if row[PRIMARY_KEY] not in known]
        self._recent.append(set(ids))
        smallest = lowest = min(ids)
        if len(ids) >= self._limit and rows:
            self._disorder = max(self._disorder, _disorder(ids))
            lowest += self._disorder + bool(self._disorder)
            if 2 * self._disorder > max(ids) - smallest:
                raise PaginationError(
                    f"{self._where(position)} is not ordered by {PRIMARY_KEY}, from {max(ids)} down to {smallest}. With"
                    f" the smallest id in {self._param!r}, rows would be lost."
                )
        # Without a new row it goes on from where it has been asked last, or the order of the API has its end.
        for follows in (lowest, smallest, ids[-1]):
            if follows not in self._positions:
                return follows
        raise PaginationError(
            f"{self._where(position)} brings nothing new: the listing does not advance. The API ignores {self._param!r}"
            f" or reads it as something else than the smallest id.{self._suggestion()}"
        )

    def _row_before_last(self) -> int:
        return sorted(self._last_page)[1]


def _disorder(ids: list[int]) -> int:
    """By how much an id is greater than one before it, at most; 0 if they descend."""
    lowest, most = ids[0], 0
    for each in ids:
        lowest = min(lowest, each)
        most = max(most, each - lowest)
    return most
