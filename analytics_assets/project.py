"""Finds the project's directory on disk, whatever directory a process was started in."""

import os
import shutil
from collections.abc import Callable
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
        ValueError: `UMASK` is not an octal number of permissions.
    """
    umask = int(os.environ.get("UMASK") or "077", 8)
    if not 0 <= umask <= 0o777:
        raise ValueError(umask)
    return umask


def use_project_config() -> None:
    """Makes dlt read the project's `.dlt`, and send no telemetry. Call it before dlt reads its configuration.

    By default dlt looks in the current directory, and Dagster starts processes in any directory. The telemetry is set
    in the environment, because dlt reads it before anybody can give it a default. Empty variables of keys in a section
    are removed: they count as not set, and for dlt they would hide what stands in `.dlt`.
    """
    for name in [name for name, value in os.environ.items() if "__" in name.strip("_") and not value.strip()]:
        del os.environ[name]
    os.environ.setdefault("DLT_PROJECT_DIR", str(project_dir()))
    os.environ.setdefault("RUNTIME__DLTHUB_TELEMETRY", "false")


def shipped_file(name: str) -> Path:
    """One of the files `dagster.yaml` and `workspace.yaml`, which a wheel has in the package."""
    packaged = Path(__file__).with_name(name)
    return packaged if packaged.exists() else packaged.parents[1] / name


def dev_command(port: int | None = None) -> str:
    """What a person types to start the UI: make's target in the checkout, this package's command elsewhere."""
    if (Path(__file__).parents[1] / "Makefile").exists():
        return "make dev" if port is None else f"make dev PORT={port}"
    return "python -m analytics_assets dev" if port is None else f"python -m analytics_assets dev --port {port}"


def use_dagster_home(log: Callable[[str], None]) -> None:
    """Gives Dagster's history a place, unless `DAGSTER_HOME` names one: `.dagster` in the project's directory.

    The place gets a copy of the shipped `dagster.yaml`, and a new one when that changes.

    Args:
        log: Called with a sentence that says where the place is.

    Raises:
        OSError: The directory cannot be written to.
    """
    if os.environ.get("DAGSTER_HOME"):
        return
    home, shipped = project_dir() / ".dagster", shipped_file("dagster.yaml")
    copy = home / shipped.name
    home.mkdir(parents=True, exist_ok=True)
    if not copy.exists() or copy.stat().st_mtime < shipped.stat().st_mtime:
        shutil.copyfile(shipped, copy)
    os.environ["DAGSTER_HOME"] = str(home)
    log(f"Dagster's history is in {home}; set DAGSTER_HOME for another place.")
