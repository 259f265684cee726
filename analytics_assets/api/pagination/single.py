"""A listing that comes in one response."""

from typing import Any


class SinglePage:
    """Pagination of a listing that comes in one response."""

    def query(self, position: int) -> dict[str, str]:  # noqa: ARG002 - the protocol's
        """Returns no parameters."""
        return {}

    def accept(self, position: int, rows: list[dict[str, Any]]) -> None:
        """Returns `None`: no page follows."""

    def ahead(self, position: int, count: int) -> list[int]:  # noqa: ARG002 - the protocol's
        """Returns `position` alone: it is the only page."""
        return [position]
