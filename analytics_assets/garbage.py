"""Tunes CPython's garbage collector while rows are loaded."""

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager

COLLECT_AFTER = 200_000
"""Objects created minus objects freed, after which the collector looks for cycles. A sync holds fewer in its batches.
CPython's default is 700, which one page of a thousand rows exceeds six times."""

_turn = threading.Lock()
_usual: list[tuple[int, int, int]] = []
"""The thresholds to go back to: once for each block that runs, because threads may load at the same time."""


@contextmanager
def rarely_collected() -> Iterator[None]:
    """Makes the collector of the whole process run rarely while the block runs. Rows have no cycles to collect."""
    with _turn:
        usual = _usual[0] if _usual else gc.get_threshold()
        _usual.append(usual)
        gc.set_threshold(COLLECT_AFTER, *usual[1:])
    try:
        yield
    finally:
        with _turn:
            _usual.pop()
            if not _usual:
                gc.set_threshold(*usual)
