"""Rows that several parents of a child list under one key: the same row is read once, and different rows are an error.

A merge would keep one of the different rows, and nobody would notice that the others are missing.
"""

from operator import itemgetter
from typing import Any

from analytics_assets.api.catalog import Resource
from analytics_assets.api.dialects.base import Endpoint
from analytics_assets.api.http.errors import PayloadError, shortened
from analytics_assets.api.http.request import Place, fill_path
from analytics_assets.api.pagination.offset import REMEMBERED_KEYS
from analytics_assets.api.values.tokens import Row


class SharedRows:
    """The rows that the parents have listed lately: by key, a hash of the content, and the path of the listing.

    Args:
        resource: The child.
        endpoint: Where the child is.
    """

    def __init__(self, resource: Resource, endpoint: Endpoint) -> None:
        self._resource = resource
        self._endpoint = endpoint
        self._key_of = itemgetter(*resource.key_names)
        self._recent: dict[Any, tuple[int, str]] = {}
        self._older: dict[Any, tuple[int, str]] = {}

    def keep_new(self, rows: list[Row], place: Place) -> list[Row]:
        """Returns the rows of a page that are not known already, and remembers them.

        Raises:
            PayloadError: Another parent has listed a different row with the key of one of these.
        """
        path = fill_path(self._endpoint.path, place.path)
        new = []
        for row in rows:
            key, content = self._key_of(row), self._hash(row, path)
            known = self._recent.get(key) or self._older.get(key)
            if known and known[0] == content:
                continue
            if known and known[1] != path:
                raise self._conflict(key, known[1], path)
            self._recent[key] = content, path
            new.append(row)
        if len(self._recent) >= REMEMBERED_KEYS // 2:
            self._older, self._recent = self._recent, {}
        return new

    def _hash(self, row: Row, path: str) -> int:
        """Hashes what a row holds beside its key, the column that its parent has filled included.

        A row that holds nothing else has its path as content, because nothing says that it is another parent's, too.
        """
        own = [(name, bytes(token)) for name, token in row.items() if name not in self._resource.key_names]
        return hash(frozenset(own) or path)

    def _conflict(self, key: Any, *paths: str) -> PayloadError:  # noqa: ANN401 - one value or a tuple
        names, (before, here) = self._resource.key_names, paths
        lacking = [
            name for name in (self._endpoint.parent.fields if self._endpoint.parent else ()) if name not in names
        ]
        wanted = ", ".join(f'"{name}"' for name in (*lacking, *names))
        advice = (
            f" If only {' and '.join(lacking)} and {self._resource.key_label} together tell one row from another, set"
            f" key=({wanted}), declare {' and '.join(lacking)} with nullable=False, and run with mode:"
            " rebuild."
            if lacking
            else ""
        )
        return PayloadError(
            f"{self._resource.name}: {self._endpoint.method} {before} and {here} list different rows with"
            f" {self._resource.key_label} {shortened(key)}. A merge would keep one of them.{advice} If the row was"
            " edited between the two, run again."
        )
