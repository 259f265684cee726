"""A listing that comes in one response."""

from typing import Any


class SinglePage:
    """A listing that comes whole."""

    def query(self, position: int) -> dict[str, str]:  # noqa: ARG002 - the protocol's
        """No parameters."""
        return {}

    def accept(self, position: int, rows: list[dict[str, Any]]) -> None:
        """Nothing follows."""

    def ahead(self, position: int, count: int) -> list[int]:  # noqa: ARG002 - the protocol's
        """The page alone."""
        return [position]
