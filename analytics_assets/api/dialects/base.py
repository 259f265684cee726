"""A dialect as data: how one API offers the resources. Each dialect has a file of its own in this folder.

The catalog says what a row is (columns, key, cursor), so every dialect fills the same tables.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from dlt.sources.helpers.rest_client.auth import APIKeyAuth, AuthConfigBase
from dlt.sources.helpers.rest_client.paginators import BasePaginator

from analytics_assets.api.declared_types import wrong_types
from analytics_assets.api.dialects.selector import read_steps, set_value

Param = str | int | float | bool
"""Value of a request parameter."""

PLACEHOLDER = re.compile(r"\{(\w+)\}")
"""Placeholder of a path, which a row of the parent fills."""

HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
"""Name of a header."""

OF_THE_CLIENT = frozenset({"connection", "content-length", "host", "transfer-encoding"})
"""Headers that the client makes of the request itself. With another length, the server waits for a body forever."""


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
class Parent:
    """The resource whose rows name the paths of a child: each row has a listing of its own."""

    resource: str
    """Name of the parent."""
    fields: Mapping[str, str]
    """Field of the parent's row, or a dotted path into it, by placeholder of the child's path.

    A declared column of the child with the name of a placeholder gets the same value, if the child's row lacks it or
    has null there.
    """

    def __str__(self) -> str:
        return f"for each row of {self.resource}"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a dialect has a resource, and what its requests carry."""

    path: str
    """Path under the base URL, with a leading slash. With a parent it has placeholders: `/sites/{siteId}/devices`."""
    selector: str | None = None
    """JSON path to the rows in the body: `data`, `data.items`, `edges[*].node`. With `None`, or `$`, the body itself is
    the list."""
    pagination: ByOffset | ById | BasePaginator | None = None
    """How the next page is requested: a class of ours, or any paginator of dlt; with `None` the listing comes in one
    response. A paginator of dlt has its own page size, as an argument or in `params`."""
    since_param: str | None = None
    """Parameter with a point in time: the API leaves out rows whose cursor is before it. With a `body`, a dotted path
    in it."""
    until_param: str | None = None
    """Parameter with a point in time: the API leaves out rows whose cursor is after it. With a `body`, a dotted path
    in it."""
    newest_first: bool = False
    """Whether the API lists rows by descending cursor, so that reading can stop at rows that are old enough."""
    params: Mapping[str, Param | Sequence[Param]] = field(default_factory=dict)
    """Parameters of every request."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Headers of every request, beside those of the dialect."""
    method: str = "GET"
    """GET, or POST for a search."""
    body: Mapping[str, Any] | None = None
    """JSON body of a POST request."""
    parent: Parent | None = None
    """The resource whose rows fill the placeholders of `path`."""
    ends_without_cursor: bool = False
    """Whether the last page lacks the key of dlt's cursor or link altogether. Otherwise a page without it is an error,
    because a misspelled path would end every listing after its first page."""

    def __str__(self) -> str:
        return f"{self.method} {self.path}"

    @property
    def pagination_is(self) -> str:
        """The pagination in words, for people."""
        if isinstance(self.pagination, BasePaginator):
            return f"dlt's {type(self.pagination).__name__}"
        return str(self.pagination or "none, one response")

    @property
    def rows_are(self) -> str:
        """Where the body holds the rows, in words, for people."""
        rows = f"key {self.selector!r} of the body" if self.selector else "the body"
        return f"{rows}, {self.parent}" if self.parent else rows

    def find(self, body: object) -> object:
        """Returns the value in a body where the rows belong; `None` if the body has no such key.

        Only for a selector that is one key, or none; any other finds nothing.
        """
        match read_steps(self.selector):
            case ():
                return body
            case (str(key),):
                return body.get(key) if isinstance(body, dict) else None
        return None

    def mistakes(self) -> list[str]:
        """Returns what is wrong in the endpoint itself, as sentences without its name."""
        return wrong_types(self) or [
            *self._mistakes_of_request(),
            *self._mistakes_of_body(),
            *self._mistakes_of_listing(),
        ]

    def _mistakes_of_request(self) -> Iterator[str]:
        if not self.path.startswith("/"):
            yield f"path {self.path!r} has to begin with a slash"
        if re.search("[{}]", PLACEHOLDER.sub("", self.path)):
            yield f"path {self.path!r} has a brace too many: a placeholder is one word, such as {{siteId}}"
        if "?" in self.path or "#" in self.path:
            yield f"path {self.path!r} has to be a path alone: parameters belong in params"
        if self.method not in {"GET", "POST"}:
            yield f"method {self.method!r} has to be GET or POST"
        yield from mistakes_of_headers(self.headers)
        needed, given = set(PLACEHOLDER.findall(self.path)), set(self.parent.fields if self.parent else ())
        for name in sorted(needed - given):
            yield f"path has the placeholder {{{name}}}, which no field of a parent fills"
        for name in sorted(given - needed):
            yield f"parent has a field for {name!r}, which is no placeholder of the path"

    def _mistakes_of_body(self) -> Iterator[str]:
        if self.method == "GET" and self.body is not None:
            yield 'body needs method="POST"'
        try:
            json.dumps(dict(self.body or {}))
        except (TypeError, ValueError, RecursionError) as error:
            yield f"body is no JSON: {error}"[:200]
            return
        for path in filter(None, (self.since_param, self.until_param)):
            if self.method == "POST" and self.body is None and "." in path:
                yield f"filter {path!r} is a path in the body, and there is none: add body={{}}"
            try:
                replaced = set_value(deepcopy(dict(self.body or {})), path, "")
            except (ValueError, IndexError, TypeError, AttributeError):
                yield f"filter {path!r} leads nowhere in the body"
            else:
                if isinstance(replaced, Mapping | list | tuple):
                    yield f"filter {path!r} would replace all that is there in the body: name a value within it"

    def _mistakes_of_listing(self) -> Iterator[str]:
        try:
            read_steps(self.selector)
        except ValueError as error:
            yield f"selector {self.selector!r} {error}"
        paths_in_body = ("param_body_path", "limit_body_path", "cursor_body_path")
        if self.method == "GET" and any(getattr(self.pagination, name, None) for name in paths_in_body):
            yield 'pagination writes into the body, which needs method="POST"'
        if self.parent and self.newest_first:
            yield "newest_first does not go with a parent: each parent has an order of its own"
        if self.parent and isinstance(self.pagination, ById) and self.pagination.descending:
            yield "paging by descending ids does not go with a parent: each parent has an order of its own"


def mistakes_of_headers(headers: Mapping[str, str]) -> Iterator[str]:
    """Yields what is wrong in the static headers of a dialect or an endpoint."""
    for name, value in headers.items():
        if not HEADER.fullmatch(name):
            yield f"headers has {name!r:.60}, which is no name of a header"
        elif name.lower() == "authorization":
            yield "headers has Authorization: credentials belong in the dialect's auth, and into the settings"
        elif name.lower() in OF_THE_CLIENT:
            yield f"headers has {name}, which the client makes of the request itself: remove it"
        elif not value.isascii() or not value.isprintable():
            yield f"headers has a value for {name} that is no printable text"


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
    page_size: int = 100
    """Rows per page that `ByOffset` and `ById` request by default."""
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
    hosts: Sequence[str] = ()
    """Known hosts of the API, shown in error messages."""
    expired_code: int | None = None
    """`error_code` in the body of a 401 by which the API says that the token has expired."""
    unreadable_token: int = 401
    """Status with which the API answers a token that it cannot read."""
    auth: AuthConfigBase | None = None
    """One of dlt's auth classes, without its secrets, which come from the settings; with `None` a bearer token."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Headers of every request."""

    def mistakes(self) -> list[str]:
        """Returns what is wrong in the dialect itself, as sentences without its name; endpoints have their own."""
        return wrong_types(self) or [
            *self._mistakes_of_auth(),
            *mistakes_of_headers(self.headers),
            *self._mistakes_of_parents(),
        ]

    def _mistakes_of_auth(self) -> Iterator[str]:
        if isinstance(self.auth, APIKeyAuth) and self.auth.location == "cookie":
            yield 'auth is APIKeyAuth(location="cookie"), which dlt does not implement: use "header" or "query"'

    def _mistakes_of_parents(self) -> Iterator[str]:
        # What is no parent by mistake, the endpoint says.
        parents = {
            name: each.parent if isinstance(each.parent, Parent) else None for name, each in self.endpoints.items()
        }
        for name, own in parents.items():
            seen, parent = [name], own
            while parent and parent.resource in parents and parent.resource not in seen:
                seen.append(parent.resource)
                parent = parents[parent.resource]
            if parent and parent.resource not in parents:
                yield f"{name} has the parent {parent.resource!r}, which has no endpoint"
            elif parent and parent.resource == name:
                yield f"{name} is its own parent: {' of '.join([*seen, name])}"
