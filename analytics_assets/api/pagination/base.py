"""The protocol of every pagination, and the limit of pages that they share."""

from typing import Any, Protocol, TypeVar

from analytics_assets.api.http.request import ApiRequest
from analytics_assets.api.http.response import ApiResponse

Position = TypeVar("Position")
"""An offset, an id, or the request of a page."""


class PaginationError(ValueError):
    """The pages of a listing do not fit together."""


class Pagination(Protocol[Position]):
    """Chooses the pages of one listing. A position tells one page from another."""

    @property
    def first(self) -> Position:
        """The position of the first page."""

    def request(self, position: Position) -> ApiRequest:
        """Returns the request of the page at a position."""

    def accept(self, position: Position, rows: list[dict[str, Any]], response: ApiResponse) -> Position | None:
        """Removes rows of earlier pages from `rows`, in place, and returns the next position; `None` at the end.

        Pages must be passed in the order of the listing.

        Raises:
            PaginationError: The page does not fit the earlier pages, or the listing exceeds `max_pages`.
        """

    def ahead(self, position: Position, count: int) -> list[Position]:
        """Returns `position` and the positions that are likely to follow it, `count` in all at most."""


def check_cap(name: str, pages: int, max_pages: int) -> None:
    """Fails if a listing has reached `max_pages` while the API still sends rows.

    Raises:
        PaginationError: The listing has `max_pages` pages or more.
    """
    if pages >= max_pages:
        raise PaginationError(
            f"{name}: the listing goes on after {pages} pages. If it really is that long, raise the"
            " setting max_pages or page_size."
        )


def describe_unpaged(name: str, rows: int, page_size: int, param: str) -> str:
    """The text of the error if a first page comes again whole, and is no full page.

    Args:
        name: Name of the resource.
        rows: Rows of the page.
        page_size: Rows that were requested.
        param: Parameter that should have led to the next page.
    """
    return (
        f"{name}: the server does not page this list: it sent the same {rows} rows with {param!r} as without, though"
        f" {page_size} were requested. If these are all, pagination=None in its endpoint of the dialect reads them."
    )
