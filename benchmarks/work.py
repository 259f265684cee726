"""The lines by which a measured process tells the harness how long it worked, without what only precedes the work."""

import re
import time

WORK = re.compile(r"^work seconds: ([0-9.]+)$", re.MULTILINE)
RUN = re.compile(r"^run seconds: ([0-9.]+)$", re.MULTILINE)


def print_work(started: float) -> None:
    """Prints the line. `started` is the value of `time.perf_counter()` after the imports."""
    print(f"work seconds: {time.perf_counter() - started:.3f}", flush=True)


def find_work(output: str) -> float | None:
    """The seconds in the output of a process; `None` if it printed no such line."""
    return _find(WORK, output)


def print_run(seconds: float) -> None:
    """Prints how long a run took, inside of a process that does more than the run."""
    print(f"run seconds: {seconds:.3f}", flush=True)


def find_run(output: str) -> float | None:
    """The seconds of a run in the output of a process; `None` if it printed no such line."""
    return _find(RUN, output)


def _find(pattern: re.Pattern[str], output: str) -> float | None:
    found = pattern.search(output)
    return float(found[1]) if found else None
