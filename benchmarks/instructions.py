"""Counts the instructions of a process with `perf stat`, where the kernel can see the counters of the processor."""

import shutil
import subprocess
from functools import lru_cache
from pathlib import Path

EVENT = "instructions:u"
"""What is counted: instructions outside of the kernel, those of child processes included."""


@lru_cache
def are_counted() -> bool:
    """Whether this machine counts them. Most virtual machines do not."""
    if not shutil.which("perf"):
        return False
    tried = subprocess.run([*_perf(), "true"], capture_output=True, text=True, check=False)
    return tried.returncode == 0 and _parse(tried.stderr) is not None


def counting(file: Path) -> list[str]:
    """The beginning of a command whose instructions are counted into a file; empty if this machine does not count."""
    return [*_perf(), "-o", str(file)] if are_counted() else []


def read(file: Path) -> int | None:
    """The number in a file that `counting` has made; `None` if this machine does not count."""
    return _parse(file.read_text(encoding="utf-8")) if are_counted() else None


def _perf() -> list[str]:
    return ["perf", "stat", "-x", ",", "-e", EVENT]


def _parse(output: str) -> int | None:
    """The first field of the event's line: a number, or in words that it was not counted."""
    for line in output.splitlines():
        if EVENT in line:
            first = line.split(",", 1)[0]
            return int(first) if first.isdecimal() else None
    return None
