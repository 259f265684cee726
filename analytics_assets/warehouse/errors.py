"""What is wrong with a destination."""


class DestinationError(ValueError):
    """A destination that is unknown, unsuitable or busy."""
