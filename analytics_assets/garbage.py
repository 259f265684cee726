"""CPython's garbage collector, tuned for a load."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager

COLLECT_AFTER = 200_000
"""Objects that are made, less those that are gone, before the collector looks for cycles: more than a sync holds in its
batches. CPython's default is 700, which one page of a thousand rows passes six times."""


@contextmanager
def rarely_collected() -> Iterator[None]:
    """Lets the collector run rarely, for the whole process, until the block ends. Rows have no cycles."""
    usual = gc.get_threshold()
    gc.set_threshold(COLLECT_AFTER, *usual[1:])
    try:
        yield
    finally:
        gc.set_threshold(*usual)
