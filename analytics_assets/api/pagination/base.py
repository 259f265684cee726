"""How a listing is read page by page: what every pagination answers, and the cap that they share."""

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
            PaginationError: The page does not fit to those before.
        """

    def ahead(self, position: int, count: int) -> list[int]:
        """Up to `count` positions that are likely to follow a position, itself included."""


def check_cap(name: str, pages: int, max_pages: int) -> None:
    """Ends a listing that has come to as many pages as it may have, and still has rows.

    Raises:
        PaginationError: It has.
    """
    if pages >= max_pages:
        raise PaginationError(
            f"{name}: the listing goes on after {pages} pages. If it really is that long, raise"
            " sources.analytics.max_pages or page_size."
        )
