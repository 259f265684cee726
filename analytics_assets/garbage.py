"""Python's collector of cycles, kept from walking over what is no garbage."""

import atexit
import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager

COLLECT_AFTER = 200_000
"""Objects, more than a sync has in its batches; those that are not rows are few."""

_FIRST_TIME = threading.Lock()
"""Taken by the first import in a process, and never let go. Python counts what is frozen by a walk over all of it."""


@contextmanager
def rarely_collected() -> Iterator[None]:
    """While rows come: there are no cycles in them.

    With its defaults the collector runs every 700 objects, six times a page of a thousand rows, and takes half of the
    time.
    """
    usual = gc.get_threshold()
    gc.set_threshold(COLLECT_AFTER, *usual[1:])
    try:
        yield
    finally:
        gc.set_threshold(*usual)


@contextmanager
def imported_to_stay() -> Iterator[None]:
    """While modules are imported that live as long as the process, and ever after: they are 200,000 objects and more.

    The first time in a process. At its end Python takes everything apart, for which the objects have to be in sight
    again: DuckDB's binding complains of any of its own that are left. The search for garbage before that is left out.
    """
    if not gc.isenabled() or not _FIRST_TIME.acquire(blocking=False) or gc.get_freeze_count():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
    gc.freeze()
    atexit.register(gc.disable)
    atexit.register(gc.unfreeze)
