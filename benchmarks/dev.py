"""One sync of all resources as the UI launches one: by GraphQL in a running `make dev`, whose start is not timed."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from http.client import HTTPConnection, HTTPException
from typing import Any

from analytics_assets.defs.names import name_all
from analytics_assets.project import project_dir
from benchmarks.work import print_run

READY = """{ repositoriesOrError { ... on RepositoryConnection { nodes { location { name } } } }
  instance { daemonHealth { queue: daemonStatus(daemonType: "QUEUED_RUN_COORDINATOR") { healthy } } } }"""
LAUNCH = """mutation($selector: JobOrPipelineSelector!) {
  launchRun(executionParams: {mode: "default", selector: $selector}) {
    ... on LaunchRunSuccess { run { runId } } ... on Error { message } } }"""
ENDED = "query($id: ID!) { runOrError(runId: $id) { ... on Run { status endTime } } }"
PAUSE = 0.25
"""Seconds between two questions. They are not in the result: the end of a run is that of Dagster's own record."""
PATIENCE = 300
"""Seconds to wait at most for the start, and for the end of the run."""


def ask(port: int, query: str, **variables: object) -> Any:  # noqa: ANN401 - whatever JSON holds
    """The data of GraphQL's answer."""
    connection = HTTPConnection("127.0.0.1", port, timeout=60)
    body = json.dumps({"query": query, "variables": variables})
    connection.request("POST", "/graphql", body, {"Content-Type": "application/json"})
    return json.loads(connection.getresponse().read())["data"]


def wait(what: str, look: Callable[[], object]) -> None:
    """Waits until `look` returns something true. While the server starts, it cannot be asked.

    Raises:
        SystemExit: It took too long.
    """
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        with suppress(OSError, HTTPException, ValueError):
            if look():
                return
        time.sleep(PAUSE)
    sys.exit(f"{what} took more than {PATIENCE} s.")


def is_ready(port: int) -> bool:
    """Whether the project is loaded, and the daemon takes runs from the queue."""
    found = ask(port, READY)
    queue = found["instance"]["daemonHealth"]["queue"]
    return bool(found["repositoriesOrError"]["nodes"] and queue["healthy"])


def launch(port: int) -> float:
    """Launches a run and waits for its end. Returns its seconds, from the launch on."""
    location = ask(port, READY)["repositoriesOrError"]["nodes"][0]["location"]["name"]
    selector = {"repositoryLocationName": location, "repositoryName": "__repository__", "jobName": name_all().sync}
    launched = time.time()
    answer = ask(port, LAUNCH, selector=selector)["launchRun"]
    if "run" not in answer:
        sys.exit(f"Dagster has not launched the run: {answer['message']}")

    def look() -> dict[str, Any]:
        found: dict[str, Any] = ask(port, ENDED, id=answer["run"]["runId"])["runOrError"]
        return found if found["endTime"] else {}

    wait("The run", look)
    ended = look()
    if ended["status"] != "SUCCESS":
        sys.exit(f"The run ended with {ended['status']}.")
    return float(ended["endTime"]) - launched


def main() -> None:
    """Starts Dagster, launches one run, prints its seconds, and ends Dagster."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "analytics_assets", "dev", "--port", str(port)]
    environment = os.environ | {"DLT_PROJECT_DIR": os.environ["DAGSTER_HOME"]}
    with subprocess.Popen(command, cwd=project_dir(), env=environment) as process:
        try:
            wait("Dagster's start", lambda: is_ready(port))
            print_run(launch(port))
        finally:
            # It ends its children first. If this process is killed, they die with its group.
            process.terminate()


if __name__ == "__main__":
    main()
