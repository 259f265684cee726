"""The errors of a wrong response, and how much of its text they show."""

from collections.abc import Iterable, Mapping

from msgspec import Raw

from analytics_assets.api.http.response import ApiResponse
from analytics_assets.api.redaction import redact
from analytics_assets.api.values.tokens import UNFIT

EXCERPT = 80
"""Characters of a wrong body that an error shows."""

QUOTED = 60
"""Characters of a value that an error shows."""

SEARCHED = 10_000
"""Bytes of a wrong body that are redacted before the excerpt is cut: some servers send the token back."""

MOST_KEYS = 8
"""Keys of an object that an error names."""

JSON_KINDS: dict[type, str] = {
    type(None): "null",
    bool: "a boolean",
    float: "a number",
    int: "a number",
    str: "a text",
    list: "a list",
    dict: "an object",
}
"""JSON's name of each Python type that JSON is read into."""


class StatusError(ValueError):
    """The API or the token endpoint answered with an error status, which is in `status`."""

    def __init__(self, problem: str, status: int) -> None:
        super().__init__(problem)
        self.status = status


class TokenStatusError(StatusError):
    """It was the token endpoint that answered so, which says nothing about the path of the request."""


class PayloadError(ValueError):
    """The response has no error status, but its body is not what the resource or the token endpoint should send."""


def is_page(response: ApiResponse) -> bool:
    """Whether a response looks like HTML."""
    return "html" in response.content_type.lower() or response.body.lstrip()[:5].lower() in {b"<html", b"<!doc"}


def kind_of(value: object) -> str:
    """Says what a JSON value is, with its article: `null`, `a text`, `an object`."""
    return JSON_KINDS[type(value)]


def shortened(value: int | str | tuple[int | str, ...] | Raw) -> str:
    """Returns a value or a token of the API as a message shows it: quoted, and `QUOTED` characters at most.

    Of a key of several fields, each value has as many.
    """
    if isinstance(value, tuple):
        return f"({', '.join(map(shortened, value))})"
    if isinstance(value, Raw):
        text = bytes(memoryview(value)[: 4 * QUOTED]).replace(UNFIT, b'"').decode(errors="replace")
    else:
        text = repr(value[:QUOTED] if isinstance(value, str) else value)
    return text if len(text) <= QUOTED else f"{text[:QUOTED]}…"


def name_keys(found: Mapping[str, object]) -> str:
    """Returns the first keys of an object, for messages."""
    return f"the keys [{', '.join(map(shortened, sorted(found)[:MOST_KEYS]))}]"


def excerpt(response: ApiResponse, secrets: Iterable[str | None] = ()) -> str:
    """Returns the beginning of a body, quoted, without the credentials of the request and without other secrets."""
    text = redact(response.body[:SEARCHED].decode("utf-8", errors="replace"), [*response.secrets, *secrets])
    return repr(" ".join(text.split())[:EXCERPT])
