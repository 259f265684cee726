"""A response of the API, and the errors of having none."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from analytics_assets.api.http.weight import weigh


class NoResponseError(ConnectionError):
    """No whole response arrived, in any attempt."""


class UnreachableError(NoResponseError):
    """No connection came about, in any attempt: the host is unknown, refuses, or does not react."""


class RefusedResponseError(ValueError):
    """A response that is refused whatever its content: it leads to another origin, or is too large."""


class LargeResponseError(RefusedResponseError):
    """A response that exceeds its size limit."""


@dataclass(frozen=True)
class ApiResponse:
    """What the API, or the token endpoint, sent for one request."""

    where: str
    """Path and query of the request to the API, or URL of the token endpoint, for messages."""
    secrets: tuple[str, ...] = field(repr=False)
    """Credentials that the request carried; none for the token endpoint."""
    status: int
    reason: str
    """Standard phrase of the status, such as `Not Found`."""
    content_type: str
    retry_after: str | None
    """Header `Retry-After`, as it was sent."""
    body: bytes
    """Body without its compression."""
    method: str = "GET"
    attempts: int = 1
    """Attempts of the request, this response's included."""
    seconds: float = 0.0
    """Seconds from the begin of the first attempt to the end of the last; 0 for a single one."""
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Headers, in which a name may stand several times."""

    @cached_property
    def weight(self) -> int:
        """Most bytes that the rows of the body take in memory, by the estimate of `weigh`."""
        return weigh(self.body)
