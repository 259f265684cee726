"""Runs a command and writes what it took, as JSON: `python -I -S launch.py FILE COMMAND...`.

A process of its own, and a small one, since the kernel counts into the peak memory of a process what the one that
started it had.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

MEMORY_UNIT = 1024 if sys.platform == "linux" else 1024 * 1024


def main() -> None:
    """Waits for the command."""
    _, file, *command = sys.argv
    started = time.perf_counter()
    process = subprocess.Popen(command)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    Path(file).write_text(
        json.dumps({"seconds": seconds, "memory": usage.ru_maxrss / MEMORY_UNIT, "status": process.returncode}),
        encoding="utf-8",
    )


if __name__ == "__main__":
    main()
