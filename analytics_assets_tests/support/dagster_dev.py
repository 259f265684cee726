"""Dagster's UI as `make dev` starts it, and the browser to look at it."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import requests

from analytics_assets_tests.support.checkout import CHECKOUT
from analytics_assets_tests.support.environment import CONFIGURED_BY

PATIENCE = 120
"""Seconds that Dagster, or a page of it, may take. Generous: only a failure ever takes them."""


def find_chromium() -> str | None:
    """The browser of this machine."""
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@contextmanager
def dagster_dev(home: Path, **configured: str) -> Iterator[str]:
    """The project as `make dev` starts it, but with everything under `home`; yields its URL, and ends by SIGKILL.

    Nothing is configured but what is given as variables of the environment.
    """
    shutil.copy(CHECKOUT / "dagster.yaml", home)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(CONFIGURED_BY)}
    environment |= {
        "DAGSTER_HOME": str(home),
        "DESTINATION__DUCKDB__CREDENTIALS": str(home / "demo.duckdb"),
        "DLT_DATA_DIR": str(home / "dlt"),
        "DLT_PROJECT_DIR": str(home),
        "RUNTIME__DLTHUB_TELEMETRY": "false",
        **configured,
    }
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "analytics_assets", "dev", "--port", str(port)]
    log = home / "dagster.log"
    with (
        log.open("wb") as output,
        subprocess.Popen(
            command, cwd=CHECKOUT, env=environment, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        ) as process,
    ):
        (home / "pid").write_text(str(process.pid), encoding="utf-8")
        try:
            url = f"http://127.0.0.1:{port}"
            _wait(process, url, log)
            yield url
        finally:
            # Not only the process, whose children outlive it; not SIGTERM, which may be ignored where this runs.
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def _wait(process: "subprocess.Popen[bytes]", url: str, log: Path) -> None:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline and process.poll() is None:
        with suppress(requests.ConnectionError):
            if requests.get(f"{url}/server_info", timeout=PATIENCE).ok:
                return
        time.sleep(0.1)
    # A test may read it itself, from a pipe.
    said = log.read_text(encoding="utf-8") if log.is_file() else ""
    raise RuntimeError(f"dagster dev does not start:\n{said}")
