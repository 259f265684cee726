"""Waiting for what others do."""

import threading
import time
from collections.abc import Callable

PATIENCE = 30.0
"""Seconds after which a test that waits gives up. Only a failure ever takes them."""


def until(condition: Callable[[], object], what: str, seconds: float = PATIENCE, pause: float = 0.02) -> None:
    """Waits until a condition holds that no event tells of; looks again after each pause."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not within {seconds:.0f} s"
        time.sleep(pause)


class Turnstile:
    """A fault that holds the first requests until as many are in flight as are allowed, and a moment longer."""

    def __init__(self, allowed: int) -> None:
        self.allowed = allowed
        self.now = self.most = 0
        self.changed = threading.Condition()

    def __call__(self, _: object) -> None:
        with self.changed:
            self.now += 1
            first = self.most < self.allowed
            self.most = max(self.most, self.now)
            self.changed.notify_all()
            if first:
                assert self.changed.wait_for(lambda: self.most >= self.allowed, PATIENCE)
                # For one too many.
                self.changed.wait_for(lambda: self.most > self.allowed, 0.3)
            self.now -= 1
