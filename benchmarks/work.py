"""The line by which a measured process tells the harness how long it worked, without its imports."""

import re
import time

PATTERN = re.compile(r"^work seconds: ([0-9.]+)$", re.MULTILINE)


def print_work(started: float) -> None:
    """Prints the line. `started` is the value of `time.perf_counter()` after the imports."""
    print(f"work seconds: {time.perf_counter() - started:.3f}", flush=True)


def find_work(output: str) -> float | None:
    """The seconds in the output of a process; `None` if it printed no such line."""
    found = PATTERN.search(output)
    return float(found[1]) if found else None
