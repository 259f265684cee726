"""Another process that holds the DuckDB file."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

HOLD = """
import sys, duckdb
connection = duckdb.connect(sys.argv[1], read_only=sys.argv[2] == "reader")
print("held", flush=True)
sys.stdin.readline()
"""


@contextmanager
def holding(database: Path, role: Literal["reader", "writer"] = "writer") -> Iterator[subprocess.Popen[str]]:
    """Holds the file until a line is written to the process, or until the end of the block."""
    command = [sys.executable, "-c", HOLD, str(database), role]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()
