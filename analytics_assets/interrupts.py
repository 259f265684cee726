"""Ctrl-C at the command line: one sentence instead of a traceback, and the end of the process."""

import os
import signal
import socket
import sys
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from typing import NoReturn

INTERRUPTED = 130
"""Exit status of a command that Ctrl-C ended: 128 and the number of SIGINT, as in shells."""

SHOW_CURSOR = "\x1b[?25h"
"""What a terminal needs if the process ends while the live table has hidden its cursor."""


def end_at_once(*_: object) -> NoReturn:
    """Handles the signal before a command has begun."""
    end("Ended by Ctrl-C before anything began.")


def end(sentence: str, descriptor: int = 2) -> NoReturn:
    """Says why, and ends the process without Python's own clean-up.

    Any exception instead would be caught, logged or reported by whatever happens to run: imports, dlt, SQLAlchemy, the
    thread with the requests.

    Args:
        sentence: What the person reads.
        descriptor: Of the file to write to; by default stderr, which `sys.stderr` may not be.
    """
    sys.stdout.flush()
    # On a terminal, ^C or the live table stands in the line.
    begin = f"{SHOW_CURSOR}\n" if os.isatty(descriptor) else ""
    os.write(descriptor, f"{begin}{sentence}\n".encode())
    os._exit(INTERRUPTED)


def describe_end(loaded: Collection[str]) -> str:
    """The sentence after a sync that Ctrl-C ended.

    Args:
        loaded: Names of the resources that it had loaded.
    """
    if not loaded:
        return "Ended by Ctrl-C: nothing new is loaded, and the next sync loads it."
    return f"Ended by Ctrl-C: {', '.join(loaded)} loaded. That stays, and the next sync loads the rest."


@contextmanager
def noticed() -> Iterator[Callable[[], bool]]:
    """Notices Ctrl-C whoever handles it, and yields a function that says whether it was pressed so far.

    While a run works, Dagster handles the signal itself: it ends the step, or the run between two steps, in order.
    """
    ours, pythons = socket.socketpair()
    for each in (ours, pythons):
        each.settimeout(0)
    before = signal.set_wakeup_fd(pythons.fileno(), warn_on_full_buffer=False)
    pressed = False

    def is_pressed() -> bool:
        nonlocal pressed
        with suppress(BlockingIOError):
            pressed = pressed or signal.SIGINT in ours.recv(4096)
        return pressed

    try:
        yield is_pressed
    finally:
        signal.set_wakeup_fd(before)
        ours.close()
        pythons.close()
