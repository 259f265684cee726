"""The errors of a destination and of a table in it."""


class DestinationError(ValueError):
    """A destination that is unknown, unsuitable, busy or out of reach. The message says what to do."""


class CatalogChangeError(ValueError):
    """A table that the catalog does not fit, or that is not ours. The message says what to do."""
