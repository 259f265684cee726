"""Readers of the copy for readers, in processes of their own."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

READ = """
import json, select, sys, duckdb
seen, opened = [], 0
while True:
    with duckdb.connect(sys.argv[1], read_only=True) as connection:
        rows = connection.execute(sys.argv[2]).fetchall()
    opened += 1
    if seen[-1:] != [rows]:
        seen.append(rows)
    print("read", flush=True) if opened == 1 else None
    if select.select([sys.stdin], [], [], 0.005)[0]:
        break
print(json.dumps([opened, seen]))
"""


@contextmanager
def reading_in_a_loop(copy: Path, sql: str) -> Iterator[list[list[list[object]]]]:
    """Opens the copy over and over until the end of the block. Yields a list that then has each new answer."""
    command = [sys.executable, "-c", READ, str(copy), sql]
    pipe = subprocess.PIPE
    seen: list[list[list[object]]] = []
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as process:
        try:
            assert process.stdout
            assert process.stdout.readline() == "read\n"
            yield seen
            output, errors = process.communicate("\n")
        finally:
            process.kill()
        assert process.returncode == 0, errors
        opened, answers = json.loads(output)
        assert opened > len(answers)
        seen.extend(answers)
