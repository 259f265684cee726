"""One request: redirects, proxies, and responses that stall or break."""

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from analytics_assets.demo.exchange import Request
from analytics_assets_tests.servers.fake_api import IN_TURN, TOKEN, Answer, FakeApi, serve
from analytics_assets_tests.servers.hostile import hostile
from analytics_assets_tests.support.commands import check
from analytics_assets_tests.support.project import Project, failure_message
from analytics_assets_tests.support.reading import read_ids, refusal


def test_a_server_that_always_cuts_is_a_clear_error(api: FakeApi, project: Project) -> None:
    api.answer_always("roles", Answer(body={"data": api.rows["roles"]}, cut=20))
    assert "broke in the middle of an answer" in failure_message(project.run("roles"))
    assert len(api.asked("roles")) == 4


def test_a_server_that_is_gone_is_a_clear_error(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    with serve() as api:
        monkeypatch.setenv("SOURCES__ANALYTICS__BASE_URL", api.url)
        monkeypatch.setenv("SOURCES__ANALYTICS__API_KEY", TOKEN)
    result = project.run()
    refused = "Connection refused (os error 111). Check the setting base_url and the network."
    reason = f"No answer from {api.url}: {refused}"
    assert failure_message(result) == f"All 8 resources failed.\n- {', '.join(IN_TURN)}: {reason}"
    [failed] = [event for event in result.all_events if event.is_step_failure and event.step_key == "analytics_api"]
    data = failed.step_failure_data.user_failure_data
    assert data
    assert {name: value.value for name, value in data.metadata.items()} == dict.fromkeys(IN_TURN, reason)


def test_requests_go_through_the_proxy_that_the_environment_names(
    api: FakeApi, project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCES__ANALYTICS__BASE_URL", "http://api.invalid")
    monkeypatch.setenv("SOURCES__ANALYTICS__ALLOW_HTTP", "true")
    monkeypatch.setenv("HTTP_PROXY", api.url)
    result = check(tmp_path)
    assert result.returncode == 0, result.stdout + result.stderr
    assert {request.headers["Host"] for request in api.requests} == {"api.invalid"}


def test_this_machine_is_never_asked_through_a_proxy(
    api: FakeApi, project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serve() as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        monkeypatch.setenv("ALL_PROXY", proxy.url)
        assert check(tmp_path).returncode == 0
        monkeypatch.delenv("SOURCES__ANALYTICS__BASE_URL")
        assert check(tmp_path).returncode == 0
    assert proxy.requests == []
    assert api.requests


@pytest.mark.parametrize("stage", ["before the answer", "in the middle of it"])
def test_an_answer_that_stalls_is_given_up(
    api: FakeApi, project: Project, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    monkeypatch.setenv("RUNTIME__REQUEST_TIMEOUT", "0.3")
    monkeypatch.setenv("RUNTIME__REQUEST_MAX_ATTEMPTS", "2")
    over = threading.Event()

    def stall(_: Request) -> Answer:
        if stage == "before the answer":
            over.wait()
        return Answer(body={"data": []}, stall=over)

    api.faults["roles"].append(stall)
    try:
        message = failure_message(project.run("roles"))
    finally:
        over.set()
    assert "operation timed out" in message
    assert len(api.asked("roles")) == 2


REDIRECTS = [301, 302, 303, 307, 308]


@pytest.mark.parametrize("status", REDIRECTS)
def test_redirects_are_followed_within_the_origin(api: FakeApi, status: int) -> None:
    hops = [Answer(status, headers={"Location": where}) for where in ("?hop=2", f"{api.url}/v2/roles?hop=3")]
    api.answer_with("roles", *hops)
    assert read_ids("roles") == [row["id"] for row in api.rows["roles"]]
    assert [request.query for request in api.asked("roles")] == [{}, {"hop": "2"}, {"hop": "3"}]
    assert {request.headers["Authorization"] for request in api.asked("roles")} == {f"Bearer {TOKEN}"}


@pytest.mark.parametrize("status", REDIRECTS)
@pytest.mark.parametrize("hops", [0, 1, 3])
def test_a_redirect_to_another_origin_is_an_error_and_takes_neither_token_nor_rows(
    api: FakeApi, status: int, hops: int
) -> None:
    with serve() as elsewhere:
        leads = [*(f"?hop={hop}" for hop in range(hops)), f"{elsewhere.url}/v2/roles?secret=canary"]
        api.answer_with("roles", *(Answer(status, headers={"Location": where}) for where in leads))
        message = refusal("roles")
    assert f"leads to {elsewhere.url}/v2/roles. Redirects are followed within the origin only" in message
    assert "canary" not in message
    assert elsewhere.requests == []
    assert len(api.asked("roles")) == hops + 1


@pytest.mark.parametrize(
    ("location", "place"),
    [
        ("https://127.0.0.2/v2/roles", "https://127.0.0.2/v2/roles"),
        ("//127.0.0.2/v2/roles", "http://127.0.0.2/v2/roles"),
        ("http://localhost:{port}/v2/roles", "http://localhost:{port}/v2/roles"),
        ("http://user:pw-canary@127.0.0.1:{port}/v2/roles", "http://127.0.0.1:{port}/v2/roles"),
        ("http://127.0.0.1:{port}@127.0.0.2/v2/roles", "http://127.0.0.2/v2/roles"),
        (r"http://127.0.0.2\@127.0.0.1:{port}/v2/roles", "http://127.0.0.2/"),
        ("gopher://127.0.0.1:{port}/", "gopher://127.0.0.1:{port}/"),
        ("file:///etc/passwd", "file:///etc/passwd"),
        ("ftp://127.0.0.1/", "ftp://127.0.0.1/"),
        ("data:application/json,[]", "data://application/json,[]"),
        ("http://[half", "no URL"),
        ("https://127.0.0.1:99999/", "no URL"),
    ],
)
def test_a_redirect_elsewhere_is_an_error_that_names_the_place(api: FakeApi, location: str, place: str) -> None:
    port = api.url.rpartition(":")[2]
    api.answer_always("roles", Answer(302, headers={"Location": location.replace("{port}", port)}))
    message = refusal("roles")
    assert f"302 Found, which leads to {place.replace('{port}', port)}" in message
    assert "canary" not in message
    assert len(api.asked("roles")) == 1


def test_a_redirect_in_circles_is_an_error(api: FakeApi, project: Project) -> None:
    api.answer_always("roles", Answer(302, headers={"Location": "/v2/roles"}))
    assert "was redirected more than 10 times, at last to" in failure_message(project.run("roles"))
    assert len(api.asked("roles")) == 11


def test_an_answer_that_trickles_is_given_up(api: FakeApi, project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNTIME__REQUEST_TIMEOUT", "0.2")
    monkeypatch.setenv("RUNTIME__REQUEST_MAX_ATTEMPTS", "2")

    sent = []

    def trickle(send: Callable[[bytes], None], over: threading.Event) -> None:
        send(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
        while not over.wait(0.05):
            send(b" ")
            sent.append(" ")

    with hostile(trickle) as server:
        monkeypatch.setenv("SOURCES__ANALYTICS__BASE_URL", server.url)
        message = failure_message(project.run("roles"))
    assert "did not come whole: operation timed out. It may take 1 s, and each piece of it 0.2 s" in message
    assert server.asked == 2
    # Twenty in a second, and so some forty in two.
    assert len(sent) < 150
