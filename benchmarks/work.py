"""How a measured process says how long it worked, its imports left out."""

import re
import time

PATTERN = re.compile(r"^work seconds: ([0-9.]+)$", re.MULTILINE)


def print_work(started: float) -> None:
    """Says it, given the `time.perf_counter()` after the imports."""
    print(f"work seconds: {time.perf_counter() - started:.3f}", flush=True)


def find_work(output: str) -> float | None:
    """What a process has said."""
    found = PATTERN.search(output)
    return float(found[1]) if found else None
