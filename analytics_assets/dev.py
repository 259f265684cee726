"""Runs Dagster on this machine: the webserver with the UI, and the daemon that starts scheduled and queued runs.

It replaces `dagster dev`, whose webserver also obeys pages of other sites that are open in the same browser.
"""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from threading import Thread
from urllib.parse import quote

from analytics_assets.project import dev_command, shipped_file

LOOPBACK = "127.0.0.1"

DEFAULT_PORT = 3000

LAST_PORT = 65_535

START_TIMEOUT = 120
"""Most seconds for the webserver to start, and for a process to end."""

PAUSE = 0.2
"""Seconds between two looks at the processes."""

ANSWERS_WITHIN = 5
"""Most seconds for a response of the webserver. Without one, another program listens on the port."""

HARMLESS = (b"No cursor for event type",)
"""What lines of Dagster are not shown: a new instance has no events yet, of which its daemon warns."""


class WorkspaceError(Exception):
    """The code locations of `workspace.yaml` cannot be run."""


def dev(port: int, log: Callable[[str], None]) -> int:
    """Runs webserver and daemon until one of them ends or Ctrl-C is pressed.

    Args:
        port: Port of the UI on the loopback address.
        log: Called with the address of the UI, and with what goes wrong.

    Returns:
        The exit status: 0 after Ctrl-C, 1 otherwise.
    """
    if not 0 < port <= LAST_PORT:
        log(f"--port {port} is no port: ports are numbers from 1 to {LAST_PORT}. The default is {DEFAULT_PORT}.")
        return 1
    webserver = [sys.executable, "-m", "analytics_assets.webserver", "--host", LOOPBACK, "--port", str(port)]
    daemon = [str(Path(sys.executable).with_name("dagster-daemon")), "run"]
    with closing(socket.socket()) as probe:
        # With this option, as servers have it, a port counts as free as soon as its last server has ended.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError as error:
            log(
                f"Port {port} cannot be had ({error}), perhaps because Dagster's UI runs already. Choose another port:"
                f" {dev_command(3001)}"
            )
            return 1
    if port != DEFAULT_PORT:
        # Alerts link to it.
        os.environ.setdefault("ALERTS__UI_URL", f"http://localhost:{port}")
    log(f"Starting Dagster; its UI will be at http://localhost:{port} ...")
    # SIGTERM ends this process like Ctrl-C, so that it ends the webserver and the daemon as well.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    with ExitStack() as stack:
        processes: list[subprocess.Popen[bytes]] = []

        def start(command: list[str]) -> None:
            processes.append(
                subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)  # noqa: S603 - both are ours
            )
            printer = Thread(target=_pass_on, args=processes[-1:], daemon=True)
            printer.start()
            stack.callback(printer.join, PAUSE)
            stack.callback(_end, processes[-1])

        try:
            workspace = ["--workspace", str(stack.enter_context(_serving_code()))]
            start([*webserver, *workspace])
            if not _answers_own_pages_only(port, processes[0]):
                log(
                    f"The webserver did not start on port {port}, or it responds to pages of other sites. Its own"
                    " messages above say more."
                )
                return 1
            # The webserver comes first, which people wait for.
            start([*daemon, *workspace])
            log(
                f"The assets in Dagster's UI, with the button Materialize all:\n\n    {_lineage(port)}\n\nOnly browsers"
                " on this machine can open it. Ctrl-C ends it."
            )
            while all(process.poll() is None for process in processes):
                time.sleep(PAUSE)
        except KeyboardInterrupt:
            # Pressed once more, it would leave the processes running.
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, signal.SIG_IGN)
            log("Ending ...")
            return 0
        except WorkspaceError as error:
            log(str(error))
            return 1
    log("The webserver or the daemon has ended, so the other was ended as well. Their own messages above say why.")
    return 1


@contextmanager
def _serving_code() -> Iterator[Path]:
    """Runs the code locations of `workspace.yaml`, and yields a workspace that leads to them.

    Webserver and daemon would each run them for themselves, and the daemon would do so anew every minute, which takes
    several seconds of the CPU. `dagster dev` shares them in this way. In a new DAGSTER_HOME the tables of the history
    are made here, before several processes would make them at once.

    Raises:
        WorkspaceError: The file cannot be read, or a server does not start.
    """
    import dagster as dg  # noqa: PLC0415 - the checks of the port come first, without the seconds that this takes
    import yaml  # noqa: PLC0415 - as above
    from dagster._cli.proxy_server_manager import ProxyServerManager  # noqa: PLC0415 - as above
    from dagster._core.workspace.load_target import WorkspaceFileTarget  # noqa: PLC0415 - as above

    own = Path("workspace.yaml")
    file = own.absolute() if own.exists() else shipped_file("workspace.yaml")
    with ExitStack() as stack:
        instance = stack.enter_context(dg.DagsterInstance.get())
        try:
            servers = stack.enter_context(ProxyServerManager(instance, WorkspaceFileTarget([str(file)])))
        except (yaml.YAMLError, dg.DagsterError) as error:
            raise WorkspaceError(
                f"What {file} names cannot be run: {error}\nCorrect the file, and try again."
            ) from error
        directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="analytics_assets_"))
        workspace = Path(directory, "workspace.yaml")
        # JSON is YAML, too.
        workspace.write_text(json.dumps({"load_from": servers.get_code_server_specs()}), encoding="utf-8")
        yield workspace


def _answers_own_pages_only(port: int, webserver: "subprocess.Popen[bytes]") -> bool:
    """Waits for the webserver, and tests that it refuses a request for another host name."""
    deadline = time.monotonic() + START_TIMEOUT
    while webserver.poll() is None and time.monotonic() < deadline:
        with suppress(OSError, http.client.HTTPException):
            if _status(port, f"localhost:{port}") == 200:
                return _status(port, "elsewhere.example") == 403
        time.sleep(PAUSE)
    return False


def _lineage(port: int) -> str:
    """The URL of the graph of all assets, with its groups expanded; its first page would be an empty timeline."""
    url = f"http://localhost:{port}/asset-groups"
    query = json.dumps({"query": "{ assetNodes { groupName } }"})
    headers = {"Host": f"localhost:{port}", "Content-Type": "application/json"}
    with (
        suppress(OSError, http.client.HTTPException, ValueError, KeyError, TypeError),
        closing(http.client.HTTPConnection(LOOPBACK, port, timeout=ANSWERS_WITHIN)) as connection,
    ):
        connection.request("POST", "/graphql", query, headers)
        nodes = json.loads(connection.getresponse().read())["data"]["assetNodes"]
        # As the UI itself writes them.
        groups = sorted({f"global@global:{node['groupName']}" for node in nodes})
        return f"{url}?expanded={quote(','.join(groups), safe='@:,')}" if groups else url
    return url


def _pass_on(process: "subprocess.Popen[bytes]") -> None:
    """Prints what a process prints, but for the lines in `HARMLESS`."""
    for line in process.stdout or ():
        if not any(text in line for text in HARMLESS):
            # When nobody takes the lines, because the disk is full or `head` has ended, the process goes on. It would
            # wait for ever if nobody read them here.
            with suppress(OSError):
                sys.stdout.buffer.write(line)
                sys.stdout.buffer.flush()


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
