"""Tunes CPython's garbage collector while rows are loaded."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager

COLLECT_AFTER = 200_000
"""Objects created minus objects freed, after which the collector looks for cycles. A sync holds fewer in its batches.
CPython's default is 700, which one page of a thousand rows exceeds six times."""


@contextmanager
def rarely_collected() -> Iterator[None]:
    """Makes the collector of the whole process run rarely while the block runs. Rows have no cycles to collect."""
    usual = gc.get_threshold()
    gc.set_threshold(COLLECT_AFTER, *usual[1:])
    try:
        yield
    finally:
        gc.set_threshold(*usual)
