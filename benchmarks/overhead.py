"""What Dagster costs: the CLI's run beside the same source and pipelines in a process without Dagster.

    python -m benchmarks.overhead

Whole processes, imports included, alternating, each into a new DuckDB file; first syncs and quiet ones.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from analytics_assets.api.catalog import RESOURCES

BIN = Path(sys.executable).parent
CLI = [f"{BIN}/dagster", "asset", "materialize", "--select", "*", "-m", "analytics_assets.definitions"]
ALONE = [sys.executable, "-m", "benchmarks.alone"]


def timed(command: list[str], environment: dict[str, str]) -> tuple[float, float]:
    """Seconds and peak memory (MB) of a process that has to succeed."""
    started = time.monotonic()
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.monotonic() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        if status:
            output.seek(0)
            sys.exit(f"{command} failed:\n{output.read().decode()}")
    unit = 1024 if sys.platform == "linux" else 1024 * 1024
    return seconds, usage.ru_maxrss / unit


def main() -> None:
    """Measures and prints a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.overhead")
    parser.add_argument("--activities", type=int, default=100_000)
    parser.add_argument("--page-size", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    serve = [sys.executable, "-m", "benchmarks.server", "--activities", str(arguments.activities)]
    with subprocess.Popen(serve, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout
        url = server.stdout.readline().strip()
        results: dict[tuple[str, str], list[tuple[float, float]]] = {}
        for _ in range(arguments.rounds):
            for name, command in (("Dagster's CLI", CLI), ("dlt alone", ALONE)):
                with tempfile.TemporaryDirectory() as directory:
                    environment = {
                        **os.environ,
                        "DAGSTER_HOME": directory,
                        "DESTINATION__DUCKDB__CREDENTIALS": f"{directory}/measured.duckdb",
                        "SOURCES__ANALYTICS__BASE_URL": url,
                        "SOURCES__ANALYTICS__API_KEY": "any",
                        "SOURCES__ANALYTICS__PAGE_SIZE": str(arguments.page_size),
                    }
                    for kind in ("first", "quiet"):
                        results.setdefault((kind, name), []).append(timed(command, environment))
        server.kill()
    rows = arguments.activities + 500 * (len(RESOURCES) - 1)
    print(f"{rows:,} rows, page size {arguments.page_size}, median of {arguments.rounds}, {os.cpu_count()} cores")
    print(f"{'sync':6} {'process':14} {'seconds':>8} {'peak MB':>8}")
    for (kind, name), measured in results.items():
        seconds, memory = (statistics.median(values) for values in zip(*measured, strict=True))
        print(f"{kind:6} {name:14} {seconds:8.1f} {memory:8.0f}")
    for kind in ("first", "quiet"):
        medians = [statistics.median(s for s, _ in results[kind, name]) for name in ("Dagster's CLI", "dlt alone")]
        print(f"Dagster's overhead, {kind} sync: {medians[0] - medians[1]:.1f} s")


if __name__ == "__main__":
    main()
