"""The protocol of every pagination, and the limit of pages that they share."""

from typing import Any, Protocol


class PaginationError(ValueError):
    """The pages of a listing do not fit together."""


class Pagination(Protocol):
    """Chooses the pages of one listing. A position, an offset or an id, tells one page from another; the first is 0."""

    def query(self, position: int) -> dict[str, str]:
        """Returns the request parameters of the page at a position."""

    def accept(self, position: int, rows: list[dict[str, Any]]) -> int | None:
        """Removes rows of earlier pages from `rows`, in place, and returns the next position; `None` at the end.

        Pages must be passed in the order of the listing.

        Raises:
            PaginationError: The page does not fit the earlier pages, or the listing exceeds `max_pages`.
        """

    def ahead(self, position: int, count: int) -> list[int]:
        """Returns `position` and the positions that are likely to follow it, `count` in all at most."""


def check_cap(name: str, pages: int, max_pages: int) -> None:
    """Fails if a listing has reached `max_pages` while the API still sends rows.

    Raises:
        PaginationError: The listing has `max_pages` pages or more.
    """
    if pages >= max_pages:
        raise PaginationError(
            f"{name}: the listing goes on after {pages} pages. If it really is that long, raise"
            " sources.analytics.max_pages or page_size."
        )
