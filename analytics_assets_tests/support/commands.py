"""Commands in processes of their own."""

import os
import subprocess
import sys
from pathlib import Path

from analytics_assets_tests.support.checkout import CHECKOUT

LAUNCH = (sys.executable, "-I", "-S", str(CHECKOUT / "benchmarks" / "launch.py"))
"""Starts a command from a small process: the kernel counts into the peak memory of a process what the one that started
it had, and a test runner has a lot."""

BIN = Path(sys.executable).parent

SHIPPED = "analytics_assets.definitions"
EIGHT = "analytics_assets_tests.support.eight_commands"
"""Code locations: that of the project, and that of the eight."""

COMMANDS = (sys.executable, "-m", "analytics_assets")
COMMANDS_OF_EIGHT = (sys.executable, "-m", EIGHT)
"""The command line as people use it, and the same for the eight."""


def materialize(selection: str, location: str) -> tuple[str, ...]:
    """Dagster's command that materializes assets."""
    return (f"{BIN}/dagster", "asset", "materialize", "--select", selection, "-m", location)


def start(tmp_path: Path, *command: str) -> "subprocess.Popen[str]":
    """Starts a command in a directory that is not the project's, with a DAGSTER_HOME of its own."""
    home, elsewhere = tmp_path / "dagster", tmp_path / "elsewhere"
    home.mkdir(exist_ok=True)
    elsewhere.mkdir(exist_ok=True)
    environment = {name: value for name, value in os.environ.items() if name != "DLT_PROJECT_DIR"}
    environment["DAGSTER_HOME"] = str(home)
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=elsewhere, env=environment, stdout=pipe, stderr=pipe, text=True)


def run(tmp_path: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Runs a command to its end."""
    with start(tmp_path, *command) as process:
        stdout, stderr = process.communicate()
    return subprocess.CompletedProcess(command, process.returncode, stdout, stderr)


def check(tmp_path: Path) -> subprocess.CompletedProcess[str]:
    """A connection check of the eight in a process of its own, which reads its environment once."""
    return run(tmp_path, *COMMANDS_OF_EIGHT, "check")
