"""The keys of the last pages of a listing, by which a row that is listed twice is noticed."""

from collections import deque
from itertools import compress
from operator import itemgetter
from typing import Any

from analytics_assets.api.catalog import Resource
from analytics_assets.api.pagination.offset import REMEMBERED_KEYS
from analytics_assets.api.pagination.versions import Versions


class RecentKeys:
    """The keys of a resource's rows on the last pages."""

    def __init__(self, resource: Resource) -> None:
        self._key_of = itemgetter(*resource.key_names)
        self._pages: deque[set[Any]] = deque()
        self._seen: set[Any] = set()
        self._versions = Versions(resource)

    def keep_new(self, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Returns the rows that were on none of the last pages, or have been edited since, and remembers them."""
        keys = list(map(self._key_of, rows))
        kept = [
            key not in self._seen or self._versions.is_edited(key, row) for key, row in zip(keys, rows, strict=True)
        ]
        new = list(compress(rows, kept))
        self._pages.append(set(compress(keys, kept)))
        self._versions.remember(keys, rows)
        self._seen |= self._pages[-1]
        while len(self._seen) > REMEMBERED_KEYS and len(self._pages) > 1:
            gone = self._pages.popleft()
            self._seen -= gone
            self._versions.forget(gone)
        return new
