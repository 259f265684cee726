"""What a page of another site can do to the UI, and what whoever launches a run can do to the credentials."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from functools import partial
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import dagster as dg
import pytest
import requests
from playwright.sync_api import sync_playwright

from analytics_assets import dev
from analytics_assets.api.connector import SHIPPED
from analytics_assets_tests.servers.fake_api import TOKEN, Answer, FakeApi, serve
from analytics_assets_tests.support.commands import run
from analytics_assets_tests.support.dagster_dev import dagster_dev, find_chromium
from analytics_assets_tests.support.needs import absent
from analytics_assets_tests.support.postgres import free_port
from analytics_assets_tests.support.shipped import RESOURCES, shipped_rows
from analytics_assets_tests.support.waiting import until

LAUNCH = """mutation($job: String!, $config: RunConfigData!) {
  launchPipelineExecution(executionParams: {
    selector: {repositoryLocationName: "analytics_assets", repositoryName: "__repository__", pipelineName: $job}
    runConfigData: $config
  }) { __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } }
}"""
LAUNCH_ASSETS = """mutation($assets: [AssetKeyInput!]!) {
  launchPipelineExecution(executionParams: {
    selector: {repositoryLocationName: "analytics_assets", repositoryName: "__repository__",
      pipelineName: "__ASSET_JOB", assetSelection: $assets}
  }) { ... on LaunchRunSuccess { run { runId } } }
}"""
RUNS = "{ runsOrError { ... on Runs { results { runId status } } } }"
RETRIES = """{ runsOrError(filter: {tags: [{key: "dagster/retry_number", value: "1"}]}) { ... on Runs { results {
  status parentRunId assetSelection { path } } } } }"""
CHECKS = """query($key: AssetKeyInput!) { assetNodeOrError(assetKey: $key) { ... on AssetNode { assetChecksOrError {
  ... on AssetChecks { checks { executionForLatestMaterialization { runId status } } } } } } }"""
LOGS = """query($id: ID!) { logsForRun(runId: $id) { ... on EventConnection { events {
  ... on MessageEvent { message }
  ... on ExecutionStepFailureEvent { error { message stack } failureMetadata { description } }
} } } }"""

OTHER = "other-7f3a-variable-canary"


@dataclass(frozen=True)
class Ui:
    """The UI of `python -m analytics_assets dev`, an API that it is configured for, and one that it is not."""

    url: str
    api: FakeApi
    elsewhere: FakeApi

    def ask(self, query: str, headers: dict[str, str] | None = None, **variables: Any) -> requests.Response:
        return requests.post(
            f"{self.url}/graphql", json={"query": query, "variables": variables}, headers=headers, timeout=60
        )

    def runs(self) -> dict[str, str]:
        found = self.ask(RUNS).json()["data"]["runsOrError"]["results"]
        return {run["runId"]: run["status"] for run in found}

    def checks(self, resource: str) -> set[tuple[str, str]]:
        """In which run each check of a table was last evaluated, and what became of it."""
        node = self.ask(CHECKS, key={"path": ["analytics", resource]}).json()["data"]["assetNodeOrError"]
        found = [each["executionForLatestMaterialization"] for each in node["assetChecksOrError"]["checks"]]
        return {(each["runId"], each["status"]) for each in found}

    def launch(self, job: str, config: dict[str, Any]) -> tuple[str, str]:
        """How a run ended, and all that its log says."""
        launched = self.ask(LAUNCH, job=job, config=config).json()["data"]["launchPipelineExecution"]
        assert "run" in launched, launched
        run_id = launched["run"]["runId"]
        until(lambda: self.runs()[run_id] in {"SUCCESS", "FAILURE"}, "the end of a run", 180, pause=0.2)
        return self.runs()[run_id], self.ask(LOGS, id=run_id).text


@pytest.fixture(scope="module")
def ui(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ui]:
    home = tmp_path_factory.mktemp("webserver")
    with serve(connector=SHIPPED) as api, serve(connector=SHIPPED) as elsewhere:
        for each in (api, elsewhere):
            each.rows = shipped_rows()
        configured = {
            "SOURCES__ANALYTICS__BASE_URL": api.url,
            "SOURCES__ANALYTICS__API_KEY": TOKEN,
            "OTHER_VARIABLE": OTHER,
            "RUNTIME__REQUEST_BACKOFF_FACTOR": "0",
        }
        with dagster_dev(home, **configured) as url:
            yield Ui(url, api, elsewhere)


def mutation(job: str, base_url: str) -> str:
    """A launch in the query string."""
    fields = {"base_url": base_url, "allow_http": True}
    config = {"resources": {"analytics": {"config": fields}}}
    return urlencode({"query": LAUNCH, "variables": json.dumps({"job": job, "config": config})})


FOREIGN = [
    {"Origin": "http://elsewhere.example"},
    {"Origin": "null"},
    {"Origin": "https://localhost"},
    {"Host": "elsewhere.example"},
    {"Host": "elsewhere.example:{port}", "Origin": "http://elsewhere.example:{port}"},
    {"Host": "localhost.elsewhere.example"},
    {"Host": "127.0.0.1.elsewhere.example"},
    {"Host": "localhost@elsewhere.example"},
    {"Host": ""},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"},
    {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"},
]


@pytest.mark.parametrize("headers", FOREIGN, ids=str)
def test_a_request_of_another_site_is_refused_whatever_it_asks(ui: Ui, headers: dict[str, str]) -> None:
    headers = {name: value.replace("{port}", ui.url.rpartition(":")[2]) for name, value in headers.items()}
    before = ui.runs()
    query = mutation("analytics_check", ui.elsewhere.url)
    asked = [
        partial(requests.get, f"{ui.url}/graphql?{query}"),
        partial(requests.post, f"{ui.url}/graphql?{query}"),
        partial(requests.post, f"{ui.url}/graphql", data=query),
        partial(requests.post, f"{ui.url}/report_asset_materialization/analytics/{RESOURCES[0]}"),
        partial(requests.get, f"{ui.url}/server_info"),
    ]
    for ask in asked:
        answer = ask(headers=headers, timeout=60)
        assert answer.status_code in {400, 403}, answer.text
    assert ui.runs() == before


def test_a_web_socket_of_another_site_is_refused(ui: Ui) -> None:
    host, port = ui.url.removeprefix("http://").split(":")
    for origin, status in ((ui.url, b"101"), ("http://elsewhere.example", b"403")):
        with socket.create_connection((host, int(port)), timeout=60) as connection:
            head = (
                f"GET /graphql HTTP/1.1\r\nHost: {host}:{port}\r\nOrigin: {origin}\r\nUpgrade: websocket\r\n"
                "Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
                "Sec-WebSocket-Protocol: graphql-ws\r\n\r\n"
            )
            connection.sendall(head.encode())
            assert connection.recv(64).split()[1] == status


def test_a_query_in_a_link_is_refused_even_where_no_page_asks(ui: Ui) -> None:
    query = mutation("analytics_check", ui.elsewhere.url)
    assert requests.get(f"{ui.url}/graphql?{query}", timeout=60).status_code == 403


def test_a_link_from_another_site_opens_a_page(ui: Ui) -> None:
    headers = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    assert requests.get(f"{ui.url}/runs", headers=headers, timeout=60).status_code == 200


ATTACK = """<title>elsewhere</title><form id=f method=post action="{ui}/graphql?{query}"></form><iframe name=i></iframe>
<img src="{ui}/graphql?{query}"><script>
fetch("{ui}/graphql?{query}", {{mode: "no-cors"}}).catch(() => 0);
fetch("{ui}/graphql?{query}", {{mode: "no-cors", method: "POST"}}).catch(() => 0);
navigator.sendBeacon("{ui}/graphql?{query}");
f.target = "i"; f.submit();
setTimeout(() => {{ document.title = "done" }}, 1000);
</script>"""


def test_a_page_of_another_site_launches_nothing_in_a_browser(ui: Ui) -> None:
    chromium = find_chromium()
    if chromium is None:
        absent("no Chromium on this machine: install Debian's chromium, or Google Chrome")
    before = ui.runs()
    page_text = ATTACK.format(ui=ui.url, query=mutation("analytics_check", ui.elsewhere.url)).encode()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(page_text)

        def log_message(self, *_: object) -> None:
            pass

    site = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=site.serve_forever, daemon=True).start()
    statuses = []
    with sync_playwright() as playwright:
        # A host name of somebody else's that leads here, as after DNS rebinding.
        rules = "MAP rebound.example 127.0.0.1"
        browser = playwright.chromium.launch(executable_path=chromium, args=[f"--host-resolver-rules={rules}"])
        page = browser.new_page()
        page.on("response", lambda answer: statuses.append(answer.status) if "/graphql" in answer.url else None)
        page.goto(f"http://localhost:{site.server_address[1]}/")
        page.wait_for_function("document.title == 'done'")
        port = ui.url.rpartition(":")[2]
        rebound = page.goto(f"http://rebound.example:{port}/graphql")
        assert rebound
        assert rebound.status == 403
        browser.close()
    site.shutdown()
    site.server_close()
    assert statuses
    assert set(statuses) == {403}
    assert ui.runs() == before
    assert not ui.elsewhere.requests


def refused(ui: Ui, job: str, fields: dict[str, Any]) -> str:
    """What is said of a run that must fail before any request."""
    asked = len(ui.api.requests)
    status, log = ui.launch(job, {"resources": {"analytics": {"config": fields}}})
    assert status == "FAILURE"
    assert ui.elsewhere.requests == []
    assert len(ui.api.requests) == asked
    assert TOKEN not in log
    assert OTHER not in log
    return log


@pytest.mark.parametrize("job", ["analytics_check", "analytics_sync", "analytics_verify"])
def test_run_config_does_not_lead_the_key_elsewhere(ui: Ui, job: str) -> None:
    log = refused(ui, job, {"base_url": ui.elsewhere.url, "allow_http": True})
    assert "would have this run send credentials to another origin than the configured one" in log


def test_run_config_does_not_post_a_variable_elsewhere(ui: Ui) -> None:
    secret = {"env": "OTHER_VARIABLE"}
    fields = {"dialect": "ninjaone", "client_id": secret, "client_secret": secret, "token_url": ui.elsewhere.url}
    assert "would have this run send credentials" in refused(ui, "analytics_check", fields)


def test_run_config_does_not_show_a_variable(ui: Ui) -> None:
    assert "OTHER_VARIABLE" in refused(ui, "analytics_check", {"dialect": {"env": "OTHER_VARIABLE"}})


def test_run_config_may_name_the_configured_origin_and_the_demo(ui: Ui) -> None:
    for fields in ({"base_url": f"{ui.api.url}/"}, {"base_url": "demo"}):
        status, log = ui.launch("analytics_check", {"resources": {"analytics": {"config": fields}}})
        assert status == "SUCCESS", log
    assert len(ui.api.paths()) == len(RESOURCES)


def test_a_run_of_assets_is_retried_by_the_daemon_for_what_failed(ui: Ui) -> None:
    failing, loaded = RESOURCES[0], RESOURCES[1]
    # As often as a run tries, so that the retry of the run succeeds.
    ui.api.answer_with(failing, *[Answer(500)] * 4)
    assets = [{"path": ["analytics", name]} for name in (failing, loaded)]
    run_id = ui.ask(LAUNCH_ASSETS, assets=assets).json()["data"]["launchPipelineExecution"]["run"]["runId"]
    until(lambda: ui.runs()[run_id] == "FAILURE", "the end of the run", 180, pause=0.2)
    read = len(ui.api.asked(loaded))
    # Dagster would show the checks of the loaded table as failed to execute, because their step was skipped.
    evaluated_in, statuses = zip(*ui.checks(loaded), strict=True)
    assert set(evaluated_in) == {run_id}
    assert set(statuses) <= {"SUCCEEDED", "FAILED"}
    assert ui.checks(failing) == {(run_id, "EXECUTION_FAILED")}

    def retries() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = ui.ask(RETRIES).json()["data"]["runsOrError"]["results"]
        return [run for run in found if run["parentRunId"] == run_id]

    until(lambda: [run["status"] for run in retries()] == ["SUCCESS"], "the retry", 180, pause=0.2)
    assert [each["path"][-1] for run in retries() for each in run["assetSelection"]] == [failing]
    assert len(ui.api.asked(loaded)) == read
    evaluated_in, statuses = zip(*ui.checks(failing), strict=True)
    assert run_id not in evaluated_in
    assert set(statuses) <= {"SUCCEEDED", "FAILED"}


def test_the_command_goes_on_when_nobody_reads_it_any_more_and_ends_all_its_processes(tmp_path: Path) -> None:
    """As in `dev | head`."""
    os.mkfifo(pipe := tmp_path / "dagster.log")
    with os.fdopen(os.open(pipe, os.O_RDONLY | os.O_NONBLOCK), "rb") as reader, dagster_dev(tmp_path) as url:
        os.set_blocking(reader.fileno(), True)
        next(line for line in reader if b"Ctrl-C ends it" in line)
        reader.close()
        # In a session of its own, so that it leads the group of all that it has started.
        [leader] = [int(line) for line in (tmp_path / "pid").read_text(encoding="utf-8").split()]
        with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
            # Its log says more than anybody reads.
            until(instance.get_daemon_heartbeats, "the daemon", 120)
        assert requests.get(f"{url}/server_info", timeout=60).ok
        # Webserver and daemon share it. By itself the daemon would start one anew every minute.
        assert len([command for command in commands_of(leader) if "dagster api grpc" in command]) == 1

        def has_ended() -> bool:
            # Again and again, as impatient people do.
            os.kill(leader, signal.SIGTERM)
            ended, status = os.waitpid(leader, os.WNOHANG)
            # It could not say that it ends.
            return bool(ended) and os.waitstatus_to_exitcode(status) == 1

        until(has_ended, "the end of the command", 120)
        until(lambda: not is_left(leader), "the end of all processes", 120)


def test_a_process_whose_lines_nobody_takes_does_not_wait_for_a_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = os.pipe()
    os.close(ours)
    nobody = os.fdopen(theirs, "w", encoding="utf-8")
    monkeypatch.setattr(sys, "stdout", nobody)
    more_than_a_pipe_holds = [sys.executable, "-c", "for _ in range(100_000): print('line')"]
    with subprocess.Popen(more_than_a_pipe_holds, stdout=subprocess.PIPE) as process:
        dev._pass_on(process)
        assert process.wait(120) == 0
    with suppress(BrokenPipeError):
        nobody.close()


def commands_of(group: int) -> list[str]:
    """The command lines of the processes of a group."""
    listed = subprocess.run(["ps", "-eo", "pgid=,args="], capture_output=True, text=True, check=True).stdout
    found = (line.split(maxsplit=1) for line in listed.splitlines())
    return [arguments for of, arguments in found if int(of) == group]


def is_left(group: int) -> bool:
    """Whether a process of a group is left."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize("text", ["load_from: [", "load_frm: []"])
def test_a_workspace_that_cannot_be_read_is_named(tmp_path: Path, text: str) -> None:
    # Where the command is run.
    file = tmp_path / "elsewhere" / "workspace.yaml"
    file.parent.mkdir()
    file.write_text(text, encoding="utf-8")
    result = run(tmp_path, sys.executable, "-m", "analytics_assets", "dev", "--port", str(free_port()))
    assert result.returncode == 1
    assert f"What {file} names cannot be run: " in result.stdout
    assert "Correct the file, and try again." in result.stdout
    assert "Traceback" not in result.stdout + result.stderr


def test_a_relative_home_and_a_taken_port_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command = [sys.executable, "-m", "analytics_assets", "dev", "--port"]
    with closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        result = run(tmp_path, *command, port)
    assert result.returncode == 1
    assert f"Port {port} cannot be had" in result.stdout
    assert "make dev PORT=3001" in result.stdout
    monkeypatch.setenv("DAGSTER_HOME", "here")
    homeless = subprocess.run([*command, port], capture_output=True, text=True, check=False)
    assert (homeless.returncode, homeless.stderr[:21]) == (1, "DAGSTER_HOME = 'here'")
