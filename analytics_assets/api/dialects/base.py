"""A dialect as data: how one API offers the resources. Each dialect has a file of its own in this folder.

The catalog says what a row is (columns, key, cursor), so every dialect fills the same tables.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime


@dataclass(frozen=True, slots=True)
class ByOffset:
    """Pagination in which `param` carries the number of rows to skip, and `size_param` the rows per page."""

    param: str
    size_param: str

    def __str__(self) -> str:
        return f"offset in `{self.param}`, until an empty page"


@dataclass(frozen=True, slots=True)
class ById:
    """Pagination in which `param` carries an id of the previous page, and `size_param` the rows per page.

    Ids ascend, and `param` carries the last one. With `descending` they go down from the newest row, and `param`
    carries the smallest one.
    """

    param: str
    size_param: str
    descending: bool = False

    def __str__(self) -> str:
        return f"{'smallest' if self.descending else 'last'} id in `{self.param}`, until an empty page"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a dialect has a resource, and which parameters its requests take."""

    path: str
    """Path under the base URL, with a leading slash."""
    selector: str | None = None
    """Key of the body that holds the rows; with `None` the body itself is the list."""
    pagination: ByOffset | ById | None = None
    """How the next page is requested; with `None` the listing comes in one response."""
    since_param: str | None = None
    """Parameter with a point in time: the API leaves out rows whose cursor is before it."""
    until_param: str | None = None
    """Parameter with a point in time: the API leaves out rows whose cursor is after it."""
    newest_first: bool = False
    """Whether the API lists rows by descending cursor, so that reading can stop at rows that are old enough."""

    def __str__(self) -> str:
        return f"GET {self.path}"

    @property
    def pagination_is(self) -> str:
        """The pagination in words, for people."""
        return str(self.pagination or "none, one response")

    @property
    def rows_are(self) -> str:
        """Where the body holds the rows, in words, for people."""
        return f"key {self.selector!r} of the body" if self.selector else "the body"

    def mistakes(self) -> list[str]:
        """Returns what is wrong in the endpoint itself."""
        return []

    def find(self, body: object) -> object:
        """Returns the value in a body where the rows belong; `None` if the body has no such key."""
        if self.selector is None:
            return body
        return body.get(self.selector) if isinstance(body, dict) else None


def as_iso(moment: datetime) -> str:
    """Writes a point in time in ISO 8601 and UTC, such as `2024-01-01T00:00:00Z`."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


@dataclass(frozen=True, slots=True)
class Dialect:
    """The endpoints of all resources, and what they have in common."""

    name: str
    """Value of the setting `dialect` that selects it."""
    endpoints: Mapping[str, Endpoint]
    """Endpoint of each resource, by the resource's name."""
    page_size: int
    """Rows per page that are requested by default."""
    least_page_size: int = 1
    """Smallest page size that the API accepts, in rows."""
    largest_page_size: int | None = None
    """Largest page size that the API accepts, in rows; `None` if it documents no limit."""
    format_datetime: Callable[[datetime], str] = as_iso
    """Writes a point in time as `since_param` and `until_param` of the endpoints expect it."""
    token_path: str | None = None
    """Path under the base URL of the OAuth token endpoint; `None` if the API has none."""
    scope: str | None = None
    """OAuth scope that is requested by default."""
    hosts: tuple[str, ...] = ()
    """Known hosts of the API, shown in error messages."""
    expired_code: int | None = None
    """`error_code` in the body of a 401 by which the API says that the token has expired."""
    unreadable_token: int = 401
    """Status with which the API answers a token that it cannot read."""
