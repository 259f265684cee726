"""What is wrong with a response, and how much of it an error shows."""

from collections.abc import Iterable

from msgspec import Raw

from analytics_assets.api.http.response import ApiResponse
from analytics_assets.api.redaction import redact
from analytics_assets.api.values.tokens import UNFIT

EXCERPT = 80
"""Characters of a wrong body that an error shows."""

QUOTED = 60
"""Characters of a value that an error shows."""

SEARCHED = 10_000
"""Bytes of a wrong body that are searched for the token, which some servers send back."""


class StatusError(ValueError):
    """The API answered with an error status."""

    def __init__(self, problem: str, status: int) -> None:
        super().__init__(problem)
        self.status = status


class PayloadError(ValueError):
    """The API answered 200, but not with what the resource's rows look like."""


def is_page(response: ApiResponse) -> bool:
    """Whether an answer looks like HTML."""
    return "html" in response.content_type.lower() or response.body.lstrip()[:5].lower() in {b"<html", b"<!doc"}


def shortened(value: int | str | Raw) -> str:
    """A value or a token of the API as a message shows it."""
    if isinstance(value, Raw):
        text = bytes(memoryview(value)[: 4 * QUOTED]).replace(UNFIT, b'"').decode(errors="replace")
    else:
        text = repr(value[:QUOTED] if isinstance(value, str) else value)
    return text if len(text) <= QUOTED else f"{text[:QUOTED]}…"


def excerpt(response: ApiResponse, secrets: Iterable[str | None] = ()) -> str:
    """How the body of an answer begins, without the token that was sent, nor other secrets."""
    text = redact(response.body[:SEARCHED].decode("utf-8", errors="replace"), [response.token, *secrets])
    return repr(" ".join(text.split())[:EXCERPT])
