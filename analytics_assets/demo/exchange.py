"""What a server hands to a wire format, and what it gets back."""

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
    """A request as it arrived; of a repeated parameter the last one. `form` is empty unless the body is a form."""

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
    """A status, and a body to be sent as JSON."""

    status: HTTPStatus
    body: Any


class WireFormat(Protocol):
    """A wire format, with its rows and the credentials that it wants."""

    def answer(self, request: Request, now: datetime) -> Reply:
        """The answer to a request at a point in time; refusals are answers, too."""


def whole_number(query: Mapping[str, str], name: str, least: int, default: int) -> int:
    """A parameter that is a whole number from `least`, or `default` where it is not given.

    Raises:
        ValueError: It is something else.
    """
    if name not in query:
        return default
    text = query[name]
    number = int(text) if text.isascii() and text.isdigit() else -1
    if number < least:
        raise ValueError(f"{name} = {text!r} is not a whole number from {least}")
    return number
