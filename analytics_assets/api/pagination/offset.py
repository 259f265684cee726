"""Pagination by offset, in which pages overlap so that no row is lost while the listing changes.

If a row is deleted upstream while a listing is read, all later rows move forward. With plain offsets the next page
would then miss a row that is alive. So each page starts on the last row of the page before: as long as two pages share
a row, nothing lies between them. If they share none, the listing has changed, and it is read again from a page earlier.
"""

from collections import deque
from typing import Any

from analytics_assets.api.catalog import PRIMARY_KEY, Resource
from analytics_assets.api.dialects.base import ById, ByOffset, Endpoint
from analytics_assets.api.dialects.registry import suggest_dialect
from analytics_assets.api.pagination.base import PaginationError, check_cap
from analytics_assets.api.settings import Settings

MOST_SETBACKS = 5
"""How often in a row a listing is read again from one page earlier, or brings nothing new, before it fails."""

REMEMBERED_KEYS = 100_000
"""How many rows back a row that is listed twice is noticed, to bound memory; a merge loads it once in any case."""


class OffsetPagination:
    """Offset paging in which each page begins with the last row of the page before.

    Only an empty page is the end: after a page that is shorter than others, the next request asks for what lies behind
    it. The offset advances by the rows that came, not by those asked for, as servers cap the page size. Rows that were
    on an earlier page are taken out of the page.
    """

    def __init__(self, resource: Resource, by_offset: ByOffset, settings: Settings) -> None:
        self._name = resource.name
        self._offset_param = by_offset.param
        self._limit_param = by_offset.size_param
        self._limit = settings.rows_per_page
        self._max_pages = settings.max_pages
        self._pages = 0
        self._setbacks = 0
        self._consumed = 0
        self._largest = 0
        self._read_before = 0
        self._stride = 0
        self._last_page: list[Any] = []
        self._seen: set[Any] = set()
        self._pages_seen: deque[list[Any]] = deque()

    def query(self, position: int) -> dict[str, str]:
        """The offset and the page size."""
        return {self._offset_param: str(position), self._limit_param: str(self._limit)}

    def ahead(self, position: int, count: int) -> list[int]:
        """The offsets of the next pages, if they are as long as the last one was; none while pages do not follow."""
        return [position + self._stride * step for step in range(count if self._stride else 1)]

    def accept(self, position: int, rows: list[dict[str, Any]]) -> int | None:
        """Takes known rows out of `rows` and chooses the next offset.

        Raises:
            PaginationError: The page repeats the last one or lists a row twice, the listing keeps changing, or it is
                longer than `max_pages`.
        """
        keys = [row[PRIMARY_KEY] for row in rows]
        self._pages += 1
        if not rows and position == self._consumed:
            return None
        if rows:
            check_cap(self._name, self._pages, self._max_pages)
        # A shorter page may come again because rows were inserted before it.
        if keys == self._last_page and len(keys) == self._largest > 1:
            raise PaginationError(
                f"{self._name}: page {self._pages} ({self._offset_param}={position}) repeats the page before. The API"
                f" ignores {self._offset_param!r}, or reads it as something else than an offset.{self._suggestion()}"
            )
        if position and self._largest > 1 and self._seen.isdisjoint(keys):
            rows.clear()
            return self._set_back(position)
        again = [key for key in keys[_leading(keys, self._seen) :] if key in self._seen]
        if again and keys[:1] == self._last_page[-1:] and position >= self._read_before:
            raise PaginationError(
                f"{self._name}: {PRIMARY_KEY} {again[0]!r} is listed twice, the second time on page {self._pages}"
                f" ({self._offset_param}={position}). Either the listing changed while it was read, and another run"
                " helps, or the API repeats rows."
            )
        return self._advance(rows, keys, position)

    def _advance(self, rows: list[dict[str, Any]], keys: list[Any], position: int) -> int:
        had_rows = bool(self._seen)
        rows[:] = [row for row, key in zip(rows, keys, strict=True) if key not in self._seen]
        from_the_start_again = position == 0 and had_rows
        if rows and not from_the_start_again:
            self._setbacks = 0
        elif had_rows and not rows:
            self._count_setback(position)
        self._remember(keys)
        self._consumed = position + len(keys)
        short = len(keys) < (self._largest or self._limit)
        self._largest = max(self._largest, len(keys))
        follows = self._consumed if short or self._largest == 1 else self._consumed - 1
        self._stride = 0 if short else follows - position
        return follows

    def _remember(self, keys: list[Any]) -> None:
        self._last_page = keys
        self._pages_seen.append(keys)
        self._seen.update(keys)
        while len(self._seen) > REMEMBERED_KEYS and len(self._pages_seen) > MOST_SETBACKS:
            self._seen.difference_update(self._pages_seen.popleft())
            self._seen.update(self._pages_seen[0][:1])

    def _set_back(self, position: int) -> int:
        self._count_setback(position)
        # Known rows come again then, perhaps a little further on.
        self._read_before = max(self._read_before, self._consumed + self._largest)
        self._last_page = []
        self._stride = 0
        if position == self._consumed:
            # Behind a short page there are rows after all: ask for them with the shared row.
            return self._consumed - 1
        return max(0, position - self._largest + 1)

    def _count_setback(self, position: int) -> None:
        self._setbacks += 1
        if self._setbacks > MOST_SETBACKS:
            raise PaginationError(
                f"{self._name}: page {self._pages} ({self._offset_param}={position}) does not follow the pages before,"
                f" and reading again has not helped {MOST_SETBACKS} times. Either the listing changes faster than it"
                " can be read (a larger sources.analytics.page_size helps), or the API reads"
                f" {self._offset_param!r} as something else than an offset.{self._suggestion()}"
            )

    def _suggestion(self) -> str:
        def fits(endpoint: Endpoint) -> bool:
            by_id = isinstance(endpoint.pagination, ById) and endpoint.pagination.param == self._offset_param
            return by_id or endpoint.since_param == self._offset_param

        return suggest_dialect(self._name, fits)


def _leading(keys: list[Any], seen: set[Any]) -> int:
    """How many keys at the head of a page were on an earlier one."""
    return next((index for index, key in enumerate(keys) if key not in seen), len(keys))
