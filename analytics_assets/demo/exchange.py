"""What a server and a wire format exchange: a request and a reply."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from http import HTTPStatus
from typing import Any, Protocol

Row = dict[str, Any]

Rows = Callable[[str, datetime], Sequence[Row] | None]
"""The rows of the listing at a path as of a point in time, or `None` for an unknown path. They ascend by id."""


@dataclass(frozen=True, slots=True)
class Request:
    """A request as it arrived. A repeated parameter has its last value. `form` is empty if the body is not a form."""

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    form: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def authorization(self) -> str | None:
        """The credentials that came with it."""
        return next((value for name, value in self.headers.items() if name.lower() == "authorization"), None)


@dataclass(frozen=True, slots=True)
class Reply:
    """An HTTP status, and a body that the server sends as JSON."""

    status: HTTPStatus
    body: Any


class WireFormat(Protocol):
    """A wire format, with its rows and the credentials that it demands."""

    def answer(self, request: Request, now: datetime) -> Reply:
        """The reply to a request at the time `now`. A refusal is a reply with an error status."""


def whole_number(query: Mapping[str, str], name: str, least: int, default: int) -> int:
    """The value of a parameter as a whole number, or `default` if the query lacks it.

    Raises:
        ValueError: The value is not a whole number, or is less than `least`.
    """
    if name not in query:
        return default
    text = query[name]
    number = int(text) if text.isascii() and text.isdigit() else -1
    if number < least:
        raise ValueError(f"{name} = {text!r} is not a whole number from {least}")
    return number
