"""Pagination by offset, in which pages overlap so that no row is lost while the listing changes.

If a row is deleted upstream while a listing is read, all later rows move forward. With plain offsets the next page
would then miss a live row. So each page starts at the last row of the previous page: if two pages share a row, no row
lies between them. If they share none, the listing has changed, and is read again from one page earlier.
"""

from collections import deque
from operator import itemgetter
from typing import Any

from analytics_assets.api.catalog import Resource
from analytics_assets.api.dialects.base import ByOffset
from analytics_assets.api.http.request import ApiRequest
from analytics_assets.api.pagination.base import PaginationError, check_cap, describe_unpaged
from analytics_assets.api.pagination.versions import Versions
from analytics_assets.api.settings import Settings

MOST_SETBACKS = 5
"""How many times in a row a listing may be read again from one page earlier, or bring no new row, before it fails."""

REMEMBERED_KEYS = 100_000
"""Keys that are kept to notice a row that is listed twice. The number bounds memory; a merge loads the row once even
if it is not noticed."""


class OffsetPagination:
    """Pagination by offset in which each page begins with the last row of the previous page.

    Only an empty page is the end: after a short page, the next request asks for the rows behind it. The offset advances
    by the rows that came, not by those requested, because servers may send fewer. Rows of an earlier page are removed,
    unless they have been edited since.

    Attributes:
        moved: Rows by which the listing has moved forward while it was read, because rows were deleted.
    """

    first = 0

    def __init__(self, resource: Resource, by_offset: ByOffset, settings: Settings, start: ApiRequest) -> None:
        self._start = start
        self._name = resource.name
        self._key_label = resource.key_label
        self._key_of = itemgetter(*resource.key_names)
        self._offset_param = by_offset.param
        self._limit_param = by_offset.size_param
        self._limit = settings.rows_per_page
        self._max_pages = settings.max_pages
        self.moved = 0
        self._new = 0
        self._pages = 0
        self._setbacks = 0
        self._consumed = 0
        self._largest = 0
        self._read_before = 0
        self._stride = 0
        self._last_page: list[Any] = []
        self._seen: set[Any] = set()
        self._versions = Versions(resource)
        self._pages_seen: deque[list[Any]] = deque()

    def request(self, position: int) -> ApiRequest:
        """Returns the request with the offset and the page size."""
        return self._start.with_params({self._offset_param: str(position), self._limit_param: str(self._limit)})

    def ahead(self, position: int, count: int) -> list[int]:
        """Returns the offsets of the next pages if all are as long as the last; `position` alone if that was short."""
        return [position + self._stride * step for step in range(count if self._stride else 1)]

    def accept(self, position: int, rows: list[dict[str, Any]], _response: object = None) -> int | None:
        """Removes known rows from `rows`, in place, and returns the next offset; `None` at the end.

        Raises:
            PaginationError: The page repeats the previous one or lists a row again, the listing keeps changing, or it
                exceeds `max_pages`.
        """
        keys = list(map(self._key_of, rows))
        self._pages += 1
        if not rows and position == self._consumed:
            return None
        if rows:
            check_cap(self._name, self._pages, self._max_pages)
        # A short page may repeat legitimately: rows may have been inserted before it.
        if keys == self._last_page and len(keys) == self._largest > 1:
            if self._pages == 2 and len(keys) != self._limit:
                raise PaginationError(describe_unpaged(self._name, len(keys), self._limit, self._offset_param))
            raise PaginationError(
                f"{self._name}: page {self._pages} ({self._offset_param}={position}) repeats the page before. The API"
                f" ignores {self._offset_param!r}, or reads it as something else than an offset. Does the dialect fit"
                " this API?"
            )
        if position and self._largest > 1 and self._seen.isdisjoint(keys):
            rows.clear()
            return self._set_back(position)
        known = _leading(keys, self._seen)
        repeated = [
            key
            for key, row in zip(keys[known:], rows[known:], strict=True)
            if key in self._seen and not self._versions.is_edited(key, row)
        ]
        if repeated and keys[:1] == self._last_page[-1:] and position >= self._read_before:
            raise PaginationError(
                f"{self._name}: {self._key_label} {repeated[0]!r} is listed twice, the second time on page"
                f" {self._pages} ({self._offset_param}={position}). Either the listing changed while it was read, and"
                " another run helps, or the API repeats rows."
            )
        return self._advance(rows, keys, position)

    def _advance(self, rows: list[dict[str, Any]], keys: list[Any], position: int) -> int:
        had_rows = bool(self._seen)
        new = [
            row
            for row, key in zip(rows, keys, strict=True)
            if key not in self._seen or self._versions.is_edited(key, row)
        ]
        self._versions.remember(keys, rows)
        rows[:] = new
        is_restart = position == 0 and had_rows
        if rows and not is_restart:
            self._setbacks = 0
        elif had_rows and not rows:
            self._count_setback(position)
        self._remember(keys)
        self._consumed = position + len(keys)
        self._new += len(new)
        self.moved = max(self.moved, self.first + self._new - self._consumed)
        is_short = len(keys) < (self._largest or self._limit)
        self._largest = max(self._largest, len(keys))
        next_position = self._consumed if is_short or self._largest == 1 else self._consumed - 1
        self._stride = 0 if is_short else next_position - position
        return next_position

    def _remember(self, keys: list[Any]) -> None:
        self._last_page = keys
        self._pages_seen.append(keys)
        self._seen.update(keys)
        while len(self._seen) > REMEMBERED_KEYS and len(self._pages_seen) > MOST_SETBACKS:
            gone = self._pages_seen.popleft()
            self._seen.difference_update(gone)
            self._seen.update(self._pages_seen[0][:1])
            self._versions.forget(gone)

    def _set_back(self, position: int) -> int:
        self._count_setback(position)
        # After a setback known rows come again, perhaps at a higher offset. They are no error up to here.
        self._read_before = max(self._read_before, self._consumed + self._largest)
        self._last_page = []
        self._stride = 0
        if position == self._consumed:
            # Rows follow a short page after all: request them together with the shared row.
            return self._consumed - 1
        return max(0, position - self._largest + 1)

    def _count_setback(self, position: int) -> None:
        self._setbacks += 1
        if self._setbacks > MOST_SETBACKS:
            raise PaginationError(
                f"{self._name}: page {self._pages} ({self._offset_param}={position}) does not follow the pages before,"
                f" and reading again has failed {MOST_SETBACKS} times. Either the listing changes faster than it can"
                " be read (a larger page_size helps), or the API reads"
                f" {self._offset_param!r} as something else than an offset."
            )


def _leading(keys: list[Any], seen: set[Any]) -> int:
    """Returns how many keys at the beginning of a page were on an earlier one."""
    return next((index for index, key in enumerate(keys) if key not in seen), len(keys))
