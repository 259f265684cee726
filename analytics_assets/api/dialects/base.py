"""What a dialect is: the wire side of the resources, as data. The dialects themselves are in `dialects/`.

What a row is, its columns, key and cursor, is the catalogue's, so that every dialect fills the same tables.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime


@dataclass(frozen=True, slots=True)
class ByOffset:
    """`param` carries the number of rows to skip, `size_param` the rows a page."""

    param: str
    size_param: str

    def __str__(self) -> str:
        return f"offset in `{self.param}`, until an empty page"


@dataclass(frozen=True, slots=True)
class ById:
    """`param` carries the last id of the page before, `size_param` the rows a page.

    Ids ascend, or `descending` they go down from the newest row, and the last is the smallest.
    """

    param: str
    size_param: str
    descending: bool = False

    def __str__(self) -> str:
        return f"{'smallest' if self.descending else 'last'} id in `{self.param}`, until an empty page"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a resource is, and how it is asked for.

    `selector` is the key of the body that holds the rows; without one the body is the list itself. Without `paging` the
    listing comes in one response. `since_param` and `until_param` leave out rows whose cursor is before, or after, an
    instant. A listing by descending cursor is `newest_first`: reading stops where the rows are old enough.
    """

    path: str
    selector: str | None = None
    pagination: ByOffset | ById | None = None
    since_param: str | None = None
    until_param: str | None = None
    newest_first: bool = False

    def __str__(self) -> str:
        return f"GET {self.path}"

    @property
    def pagination_is(self) -> str:
        """How pages are asked for, in words."""
        return str(self.pagination or "none, one response")

    @property
    def rows_are(self) -> str:
        """Where the rows are in the body, in words."""
        return f"key {self.selector!r} of the body" if self.selector else "the body"

    def find(self, body: object) -> object:
        """What stands in a body where the rows belong; `None` if there is nothing."""
        if self.selector is None:
            return body
        return body.get(self.selector) if isinstance(body, dict) else None


def as_iso(moment: datetime) -> str:
    """An instant in ISO 8601."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


@dataclass(frozen=True, slots=True)
class Dialect:
    """The endpoints of the resources, by name, and what they have in common.

    `page_size` is what is asked for by default, between `least_page_size` and `largest_page_size`. `spell` writes an
    instant as the parameters of endpoints want it. `token_path` is where the API issues tokens, `scope` what for by
    default, `hosts` are where there is such an API. In the body of a 401 `expired_code` is the `error_code` of a token
    whose time is over; `unreadable_token` is the status of an answer to what the API does not take for a token.
    """

    name: str
    endpoints: Mapping[str, Endpoint]
    page_size: int
    least_page_size: int = 1
    largest_page_size: int | None = None
    format_datetime: Callable[[datetime], str] = as_iso
    token_path: str | None = None
    scope: str | None = None
    hosts: tuple[str, ...] = ()
    expired_code: int | None = None
    unreadable_token: int = 401
