"""Dagster on this machine: the UI, and the daemon that runs what is launched and scheduled.

As `dagster dev`, but with a webserver that other sites' pages cannot use.
"""

import http.client
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack, closing, suppress
from pathlib import Path

LOOPBACK = "127.0.0.1"

START_TIMEOUT = 120
"""Seconds for the webserver to begin and for a process to end."""

PAUSE = 0.2

ANSWERS_WITHIN = 5
"""Seconds for an answer of the webserver; what listens on its port and gives none is something else."""


def dev(port: int, log: Callable[[str], None]) -> int:
    """Runs both until one ends or Ctrl-C is pressed; returns the exit status.

    Args:
        port: Of the UI.
        log: Is told where the UI is, and what is wrong.
    """
    checkout = Path(__file__).resolve().parents[1] / "workspace.yaml"
    is_elsewhere = checkout.exists() and not Path("workspace.yaml").exists()
    workspace = ["--workspace", str(checkout)] if is_elsewhere else []
    webserver = [sys.executable, "-m", "analytics_assets.webserver", "--host", LOOPBACK, "--port", str(port)]
    daemon = [str(Path(sys.executable).with_name("dagster-daemon")), "run"]
    with closing(socket.socket()) as probe:
        # As a server does, so that a port counts as free as soon as its last server has ended.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except (OSError, OverflowError) as error:
            log(f"Port {port} cannot be had ({error}), perhaps as make dev runs already. Another: make dev PORT=3001")
            return 1
    log(f"Starting Dagster; its UI will be at http://localhost:{port} ...")
    # Whoever ends this process ends the two.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with ExitStack() as stack:
        processes: list[subprocess.Popen[bytes]] = []

        def start(command: list[str]) -> None:
            processes.append(subprocess.Popen([*command, *workspace]))  # noqa: S603 - both are ours
            stack.callback(_end, processes[-1])

        try:
            start(webserver)
            if not _answers_own_pages_only(port, processes[0]):
                log("The webserver did not start as it should.")
                return 1
            # Not before: in a new home, the first to start makes the tables of the history.
            start(daemon)
            log(f"Dagster's UI: http://localhost:{port} (only browsers on this machine can open it). Ctrl-C ends it.")
            while all(process.poll() is None for process in processes):
                time.sleep(PAUSE)
        except KeyboardInterrupt:
            log("Ending ...")
            return 0
    log("One of Dagster's processes has ended, and with it the other.")
    return 1


def _answers_own_pages_only(port: int, webserver: "subprocess.Popen[bytes]") -> bool:
    """Waits until the webserver answers, and sees that it refuses what another site's page would ask."""
    deadline = time.monotonic() + START_TIMEOUT
    while webserver.poll() is None and time.monotonic() < deadline:
        with suppress(OSError, http.client.HTTPException):
            if _status(port, f"localhost:{port}") == 200:
                return _status(port, "elsewhere.example") == 403
        time.sleep(PAUSE)
    return False


def _status(port: int, host: str) -> int:
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=ANSWERS_WITHIN)
    try:
        connection.request("GET", "/server_info", headers={"Host": host})
        return connection.getresponse().status
    finally:
        connection.close()


def _end(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    try:
        process.wait(START_TIMEOUT)
    except subprocess.TimeoutExpired:
        process.kill()
