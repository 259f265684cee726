"""The error of a destination."""


class DestinationError(ValueError):
    """A destination that is unknown, unsuitable, busy or out of reach. The message says what to do."""
