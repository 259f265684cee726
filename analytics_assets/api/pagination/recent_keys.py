"""The keys of the last pages of a listing, by which a row that is listed twice is noticed."""

from collections import deque
from operator import itemgetter
from typing import Any

from analytics_assets.api.catalog import Resource
from analytics_assets.api.pagination.offset import REMEMBERED_KEYS


class RecentKeys:
    """The keys of a resource's rows on the last pages."""

    def __init__(self, resource: Resource) -> None:
        self._key_of = itemgetter(*resource.key_names)
        self._pages: deque[set[Any]] = deque()
        self._seen: set[Any] = set()

    def keep_new(self, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Returns the rows whose keys were on none of the last pages, and remembers them."""
        new = [row for row in rows if self._key_of(row) not in self._seen]
        self._pages.append(set(map(self._key_of, new)))
        self._seen |= self._pages[-1]
        while len(self._seen) > REMEMBERED_KEYS and len(self._pages) > 1:
            self._seen -= self._pages.popleft()
        return new
