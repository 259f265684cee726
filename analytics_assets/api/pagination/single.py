"""A listing that comes in one response."""

from analytics_assets.api.http.request import ApiRequest


class SinglePage:
    """Pagination of a listing that comes in one response."""

    first = 0

    def __init__(self, start: ApiRequest) -> None:
        self._start = start

    def request(self, _position: int) -> ApiRequest:
        """Returns the request of the only page."""
        return self._start

    def accept(self, _position: int, _rows: object, _response: object = None) -> None:
        """Returns `None`: no page follows."""

    def ahead(self, position: int, count: int) -> list[int]:  # noqa: ARG002 - the protocol's
        """Returns `position` alone: it is the only page."""
        return [position]
