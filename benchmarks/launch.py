"""Runs a command, and writes its seconds, CPU seconds, peak MB and status as JSON.

    python -I -S launch.py FILE COMMAND...

This is a small process of its own, because the kernel counts the memory of the parent into the peak memory of a child.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

MEMORY_UNIT = 1024 if sys.platform == "linux" else 1024 * 1024
"""Divisor that turns `ru_maxrss` into MB: Linux counts KB, macOS bytes."""


def main() -> None:
    """Runs the command, waits for it and writes the file."""
    _, file, *command = sys.argv
    started = time.perf_counter()
    process = subprocess.Popen(command)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    taken = {
        "seconds": seconds,
        "cpu": usage.ru_utime + usage.ru_stime,
        "memory": usage.ru_maxrss / MEMORY_UNIT,
        "status": process.returncode,
    }
    Path(file).write_text(json.dumps(taken), encoding="utf-8")


if __name__ == "__main__":
    main()
