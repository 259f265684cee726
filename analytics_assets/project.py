"""Where the project stands on disk, whatever directory a process was started in."""

import os
from pathlib import Path


def project_dir() -> Path:
    """The directory that holds `.dlt` and `data`: `DLT_PROJECT_DIR`, else the checkout, else the current directory."""
    if configured := os.environ.get("DLT_PROJECT_DIR"):
        return Path(configured).resolve()
    checkout = Path(__file__).resolve().parents[1]
    return checkout if (checkout / ".dlt").is_dir() else Path.cwd()


def read_umask() -> int:
    """Who may not read what is written: `UMASK` of the environment, in octal digits; all but the owner by default.

    Raises:
        ValueError: It is no such number.
    """
    return int(os.environ.get("UMASK") or "077", 8)


def use_project_config() -> None:
    """Makes dlt find the project's `.dlt`, which it seeks in the current directory; Dagster starts processes anywhere.

    Call it before dlt reads its configuration.
    """
    os.environ.setdefault("DLT_PROJECT_DIR", str(project_dir()))
