"""Tells a row that was edited while its listing was read from one that is merely listed twice."""

from collections.abc import Iterable
from typing import Any

import msgspec

from analytics_assets.api.catalog import Resource


class Versions:
    """The versions of the rows on the last pages, by key.

    An edit may move a row to a page that is still to come. That version has to be loaded, because the cursor moves past
    it. Only resources with a cursor need this, unless their rows are events, which nobody edits: without a cursor the
    next sync reads the row again.
    """

    def __init__(self, resource: Resource) -> None:
        self._is_needed = resource.cursor is not None and not resource.append_only
        self._versions: dict[Any, int] = {}

    def is_edited(self, key: Any, row: dict[str, Any]) -> bool:  # noqa: ANN401 - a key of whatever type
        """Whether a row differs from the one that was listed before under its key."""
        return self._is_needed and self._versions.get(key) != _version(row)

    def remember(self, keys: Iterable[Any], rows: Iterable[dict[str, Any]]) -> None:
        """Remembers the rows of a page."""
        if self._is_needed:
            self._versions.update(zip(keys, map(_version, rows), strict=True))

    def forget(self, keys: Iterable[Any]) -> None:
        """Forgets the rows of a page, which bounds memory."""
        for key in keys:
            self._versions.pop(key, None)


def _version(row: dict[str, Any]) -> int:
    """A hash of the values of a row, which is the same on a page of usual rows and on one of tokens."""
    encoded = msgspec.json.encode(row)
    try:
        values = msgspec.json.decode(encoded)
    except (msgspec.DecodeError, RecursionError):
        return hash(encoded)
    found = {name: value for name, value in values.items() if value is not None}
    return hash(msgspec.json.encode(found, order="sorted"))
