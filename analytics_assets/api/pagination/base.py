"""How a listing is read page by page, without losing a row while it changes.

With plain offsets, a row that is deleted upstream in the middle of a listing moves all later ones forward, and the next
page misses one that is alive. So each page starts on the last row of the page before: as long as they share a row,
nothing lies between them. Where they share none, the listing has changed, and it is read again from one page earlier.

Paging by id does not have this problem, as an id stays where it is. It has others: it trusts that the rows are ordered
by id, and that the API reads the parameter as an id at all.
"""

from typing import Any, Protocol


class PaginationError(ValueError):
    """The pages of a listing do not fit together."""


class Pagination(Protocol):
    """What to ask for next. A position is whatever tells one page of a listing from another; the first is 0."""

    def query(self, position: int) -> dict[str, str]:
        """The parameters of the request for the page at a position."""

    def accept(self, position: int, rows: list[dict[str, Any]]) -> int | None:
        """Takes the rows of the page at a position, in place less those of earlier pages; returns the next position.

        Returns `None` at the end.

        Raises:
            PagingError: The page does not fit to those before.
        """

    def ahead(self, position: int, count: int) -> list[int]:
        """Up to `count` positions that are likely to follow a position, itself included."""


class SinglePage:
    """A listing that comes whole."""

    def query(self, position: int) -> dict[str, str]:  # noqa: ARG002 - the protocol's
        """No parameters."""
        return {}

    def accept(self, position: int, rows: list[dict[str, Any]]) -> None:
        """Nothing follows."""

    def ahead(self, position: int, count: int) -> list[int]:  # noqa: ARG002 - the protocol's
        """The page alone."""
        return [position]
