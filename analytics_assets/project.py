"""Finds the project's directory on disk, whatever directory a process was started in."""

import os
from pathlib import Path


def project_dir() -> Path:
    """The directory of the shipped project: `DLT_PROJECT_DIR`, else the checkout, else the current directory."""
    if configured := os.environ.get("DLT_PROJECT_DIR"):
        return Path(configured).resolve()
    checkout = Path(__file__).resolve().parents[1]
    return checkout if (checkout / ".dlt").is_dir() else Path.cwd()


def config_dir() -> Path:
    """The directory in which dlt finds `.dlt`, and at which relative paths start: `DLT_PROJECT_DIR`, else the current.

    In a host's project that is the host's, wherever this package is installed.
    """
    return Path(os.environ.get("DLT_PROJECT_DIR") or "").resolve()


def read_umask() -> int:
    """The umask for written files: `UMASK` of the environment in octal digits, by default 077 (the owner alone).

    Raises:
        ValueError: `UMASK` is not an octal number.
    """
    return int(os.environ.get("UMASK") or "077", 8)


def use_project_config() -> None:
    """Makes dlt read the project's `.dlt`. Call it before dlt reads its configuration.

    By default dlt looks in the current directory, and Dagster starts processes in any directory.
    """
    os.environ.setdefault("DLT_PROJECT_DIR", str(project_dir()))
