"""What a response says about the next page: as dlt's paginators read it, and what they take for the end in silence."""

import json
from typing import Any

import msgspec
import requests
from dlt.common.jsonpath import find_values
from dlt.sources.helpers.rest_client.paginators import (
    BasePaginator,
    HeaderCursorPaginator,
    JSONLinkPaginator,
    JSONResponseCursorPaginator,
)

from analytics_assets.api.http.errors import kind_of, name_keys, shortened
from analytics_assets.api.http.response import ApiResponse

MISSING = object()
"""Stands for a cursor or link whose key the body lacks."""

UNREAD = object()
"""Stands for a body that is not decoded yet."""


class DltResponse(requests.Response):
    """A response as dlt's paginators read it. Its body is decoded when it is asked for."""

    def __init__(self, response: ApiResponse, prepared: requests.Request) -> None:
        super().__init__()
        self.status_code = response.status
        self.reason = response.reason
        self.url = prepared.url or ""
        for name, value in response.headers.items():
            self.headers[name] = f"{self.headers[name]}, {value}" if name in self.headers else value
        self._content = response.body
        self._decoded: Any = UNREAD

    @property
    def links(self) -> dict[str, Any]:
        """The links of the header `Link`, by relation. The standard (RFC 8288) compares relations without case."""
        return {relation.lower(): link for relation, link in super().links.items()} | super().links

    def json(self, **_options: Any) -> Any:  # noqa: ANN401 - as requests has it
        """Returns the decoded body."""
        if self._decoded is UNREAD:
            try:
                self._decoded = msgspec.json.decode(self.content)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                # What is JSON for Python only. `read_rows` has read it before.
                self._decoded = super().json()
        return self._decoded


def has_reference(paginator: BasePaginator, answer: DltResponse) -> bool:
    """Whether a response has a cursor or a link. dlt would take an empty link for one.

    True for a paginator that needs none, or whose link stands in a header by which the standard tells the end.
    """
    match paginator:
        case HeaderCursorPaginator():
            return bool(answer.headers.get(paginator.cursor_key))
        case JSONLinkPaginator() | JSONResponseCursorPaginator():
            found = _find(_path(paginator), answer)
            return found is not MISSING and bool(found)
    return True


def find_problem(paginator: BasePaginator, answer: DltResponse, *, has_rows: bool, may_lack: bool) -> str | None:
    """Returns why a response that dlt takes for the last page, or follows, may be neither; `None` if all is well.

    Args:
        paginator: A paginator of dlt, which has read the response.
        answer: The response.
        has_rows: Whether the page has rows.
        may_lack: Whether the last page may lack the key of the cursor or link.
    """
    if not isinstance(paginator, JSONLinkPaginator | JSONResponseCursorPaginator):
        return None
    name = type(paginator).__name__
    says_more = _says_more(paginator, answer)
    path, body = _path(paginator), answer.json()
    found = _find(path, answer)
    has_ended = says_more is False or (getattr(paginator, "stop_after_empty_page", False) and not has_rows)
    if has_ended or (found is MISSING and may_lack and not says_more):
        return None
    if found is MISSING:
        return (
            f"does not say whether another follows: there is no '{path}' in the body, only {_outline(body)}. Correct"
            f" the path of {name}. If the API leaves the key out on its last page, set ends_without_cursor=True in the"
            " endpoint."
        )
    if not found and says_more:
        return (
            f"says that more pages follow, but its '{path}' is {json.dumps(found)}: rows would be missing. Does {name}"
            " fit this API?"
        )
    fits = str if isinstance(paginator, JSONLinkPaginator) else str | int | float
    if found and (isinstance(found, bool) or not isinstance(found, fits)):
        return f"has {kind_of(found)} at '{path}', which is no cursor or link. Correct the path of {name}."
    return None


def explain_failure(paginator: BasePaginator, answer: DltResponse, failed: str, *, show_values: bool) -> str:
    """Says why a paginator could not read a response. dlt's own text would quote the whole body.

    Args:
        paginator: The paginator.
        answer: The response.
        failed: Name of the error.
        show_values: Whether the value that is wrong may be shown.
    """
    name = type(paginator).__name__
    for option, kind in (("total_path", "number"), ("has_more_path", "true or false")):
        path = getattr(paginator, option, None)
        if path is None:
            continue
        found = _find(path, answer)
        if found is MISSING or found is None:
            return (
                f"does not say whether another follows: there is no '{path}' in the body, only"
                f" {_outline(answer.json())}. Correct {option} of {name}, or set it to None."
            )
        if isinstance(found, bool) == (option == "total_path") or isinstance(found, str | list | dict):
            shown = shortened(found) if show_values and isinstance(found, str | int) else kind_of(found)
            return f"has {shown} at '{path}', which is no {kind}. Correct {option} of {name}."
    return f"cannot be read by {name} ({failed}). Does it fit this API?"


def _path(paginator: JSONLinkPaginator | JSONResponseCursorPaginator) -> Any:  # noqa: ANN401 - jsonpath_ng has no types
    return paginator.next_url_path if isinstance(paginator, JSONLinkPaginator) else paginator.cursor_path


def _find(path: Any, answer: DltResponse) -> object:  # noqa: ANN401 - jsonpath_ng has no types
    values = find_values(path, answer.json())
    return values[0] if values else MISSING


def _says_more(paginator: BasePaginator, answer: DltResponse) -> bool | None:
    """Returns what the response says under `has_more_path`; `None` if the paginator has no such path."""
    path = getattr(paginator, "has_more_path", None)
    if path is None:
        return None
    found = _find(path, answer)
    return found if isinstance(found, bool) else str(found).lower() in {"true", "t", "yes", "y", "1"}


def _outline(body: object) -> str:
    return name_keys(body) if isinstance(body, dict) else kind_of(body)
