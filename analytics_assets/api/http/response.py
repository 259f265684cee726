"""What comes back over the wire: an answer, or none."""

from dataclasses import dataclass, field


class NoResponseError(ConnectionError):
    """The API gave no whole answer, in every attempt."""


class RefusedResponseError(ValueError):
    """An answer that is not taken, whatever is in it: it leads elsewhere, or is larger than any honest one."""


class LargeResponseError(RefusedResponseError):
    """An answer that is larger than it may be."""


@dataclass(frozen=True, slots=True)
class ApiResponse:
    """An answer of the API. `where` is the request, without the host; `token` the secret that was sent with it."""

    where: str
    token: str = field(repr=False)
    status: int
    reason: str
    content_type: str
    retry_after: str | None
    body: bytes
