"""The errors of a destination and of a table in it."""


class DestinationError(ValueError):
    """A destination that is unknown, unsuitable, busy or out of reach. The message says what to do."""


class CatalogChangeError(ValueError):
    """The catalog has changed in a way that a table cannot follow. The message says what to do."""
