"""Retries, Retry-After, and who gets to see the token."""

import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest
import trustme
from dlt.extract.exceptions import ResourceExtractionError

from analytics_assets.defs.automation.alerts import AlertError, deliver
from analytics_assets_tests.servers.fake_api import IN_TURN, PATHS, TOKEN, Answer, FakeApi, Request, serve
from analytics_assets_tests.servers.webhook import Webhook
from analytics_assets_tests.support.commands import run
from analytics_assets_tests.support.project import Project, failure_message, metadata
from analytics_assets_tests.support.reading import read_resource


def http_date(seconds: float) -> str:
    return format_datetime(datetime.now(UTC) + timedelta(seconds=seconds), usegmt=True)


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The waits of the wire, which are recorded instead of waited: its clock is put forward."""
    recorded: list[float] = []

    async def pause(seconds: float) -> None:
        recorded.append(seconds)

    monkeypatch.setattr("analytics_assets.api.http.transport.pause", pause)
    monkeypatch.setattr("analytics_assets.api.http.transport.monotonic", lambda: time.monotonic() + sum(recorded))
    return recorded


def test_waits_double_from_two_seconds(
    api: FakeApi, project: Project, pauses: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RUNTIME__REQUEST_BACKOFF_FACTOR")
    api.answer_with("roles", *[Answer(503)] * 3)
    project.sync("roles")
    assert pauses == [2, 4, 8]


@pytest.mark.parametrize(
    ("header", "least", "most"),
    [
        (lambda: "7", 7, 7),
        (lambda: http_date(20), 17, 20),
        (lambda: "86400", 300, 300),
        (lambda: http_date(86400), 300, 300),
        (lambda: "0", 2, 2),
        (lambda: http_date(-60), 2, 2),
        (lambda: "soon", 2, 2),
    ],
    ids=["seconds", "date", "absurd seconds", "absurd date", "zero", "past", "nonsense"],
)
def test_retry_after_is_honoured_within_a_bound(
    api: FakeApi,
    project: Project,
    pauses: list[float],
    monkeypatch: pytest.MonkeyPatch,
    header: Callable[[], str],
    least: float,
    most: float,
) -> None:
    monkeypatch.delenv("RUNTIME__REQUEST_BACKOFF_FACTOR")
    api.answer_with("roles", Answer(429, headers={"Retry-After": header()}))
    project.sync("roles")
    assert len(pauses) == 1
    assert least <= pauses[0] <= most


def test_the_bound_is_configuration(
    api: FakeApi, project: Project, pauses: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUNTIME__REQUEST_MAX_RETRY_DELAY", "5")
    api.answer_with("roles", Answer(503, headers={"Retry-After": "100"}))
    project.sync("roles")
    assert pauses == [5]


def test_time_waited_is_in_the_metadata(api: FakeApi, project: Project) -> None:
    api.answer_with("roles", Answer(503, headers={"Retry-After": "1"}))
    started = time.monotonic()
    said = metadata(project.sync("roles"), "roles")
    assert 0.9 < said["seconds_waited"] < time.monotonic() - started


def test_retries_are_of_the_request_and_not_of_the_listing(
    api: FakeApi, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCES__ANALYTICS__REQUESTS_IN_FLIGHT", "1")
    left = [Answer(502)] * 3 + [None] + [Answer(504)] * 3
    api.faults["organizations"].append(lambda _: left.pop(0) if left else None)
    said = metadata(project.sync("organizations"), "organizations")
    assert said["retries"] == 6
    assert [request.query["after"] for request in api.asked("organizations")] == [
        *["0"] * 4,
        *["19"] * 4,
        "38",
        "45",
    ]


def test_a_wrong_content_encoding_is_a_clear_error(api: FakeApi, project: Project) -> None:
    api.answer_always("roles", Answer(body={"data": []}, headers={"Content-Encoding": "gzip"}))
    assert "Content-Encoding does not fit its body" in failure_message(project.run("roles"))


def test_a_server_that_always_cuts_is_a_clear_error(api: FakeApi, project: Project) -> None:
    api.answer_always("roles", Answer(body={"data": api.rows["roles"]}, cut=20))
    assert "broke in the middle of an answer" in failure_message(project.run("roles"))
    assert len(api.asked("roles")) == 4


def test_a_server_that_is_gone_is_a_clear_error(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    with serve() as api:
        monkeypatch.setenv("SOURCES__ANALYTICS__BASE_URL", api.url)
        monkeypatch.setenv("SOURCES__ANALYTICS__API_KEY", TOKEN)
    result = project.run()
    refused = "Connection refused (os error 111). Check sources.analytics.base_url and the network."
    reason = f"No answer from {api.url}: {refused}"
    assert failure_message(result) == f"All 8 resources failed.\n- {', '.join(IN_TURN)}: {reason}"
    [failed] = [event for event in result.all_events if event.is_step_failure and event.step_key == "analytics_api"]
    data = failed.step_failure_data.user_failure_data
    assert data
    assert {name: value.value for name, value in data.metadata.items()} == dict.fromkeys(IN_TURN, reason)


def check(tmp_path: Path) -> subprocess.CompletedProcess[str]:
    """A connection check in a process of its own, as a process keeps its connections and reads its environment once."""
    return run(tmp_path, sys.executable, "-m", "analytics_assets", "check")


def authority_of_ones_own(tmp_path: Path) -> tuple[ssl.SSLContext, Path]:
    """What a server needs to be 127.0.0.1 by an authority that nobody knows, and the file with its certificate."""
    authority = trustme.CA()
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(tls)
    bundle = tmp_path / "authority.pem"
    authority.cert_pem.write_to_path(str(bundle))
    return tls, bundle


@pytest.mark.parametrize(
    "named",
    [
        {"REQUESTS_CA_BUNDLE": "authority.pem", "CURL_CA_BUNDLE": "missing.pem"},
        {"REQUESTS_CA_BUNDLE": "authorities"},
        {"REQUESTS_CA_BUNDLE": "", "CURL_CA_BUNDLE": "authority.pem"},
        {"SSL_CERT_FILE": "authority.pem"},
        {},
    ],
    ids=str,
)
def test_a_certificate_of_an_authority_of_ones_own(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: dict[str, str]
) -> None:
    tls, bundle = authority_of_ones_own(tmp_path)
    # As the system's: a link to a file for each certificate, of which some have gone, and files that are none.
    directory = tmp_path / "authorities"
    directory.mkdir()
    (directory / "9d66eef0.0").symlink_to(bundle)
    (directory / "9d66eef0.1").symlink_to(tmp_path / "gone.pem")
    (directory / "README").write_text("Certificates of authorities")
    for variable, name in named.items():
        monkeypatch.setenv(variable, name and str(tmp_path / name))
    with serve(tls) as api:
        monkeypatch.setenv("SOURCES__ANALYTICS__BASE_URL", api.url)
        monkeypatch.setenv("SOURCES__ANALYTICS__API_KEY", TOKEN)
        result = check(tmp_path)
    if named:
        assert result.returncode == 0, result.stdout + result.stderr
    else:
        assert result.returncode == 1
        assert "invalid peer certificate: UnknownIssuer" in " ".join(result.stdout.split())
        assert not api.requests


def no_file(path: Path) -> None:
    pass


def file_without_certificate(path: Path) -> None:
    path.write_bytes(trustme.CA().private_key_pem.bytes())


def file_in_circles(path: Path) -> None:
    path.symlink_to(path)


def file_that_was_cut(path: Path) -> None:
    whole = trustme.CA().cert_pem.bytes()
    path.write_bytes(whole[:200] + whole)


def directory_without_hashes(path: Path) -> None:
    path.mkdir()
    trustme.CA().cert_pem.write_to_path(str(path / "authority.pem"))


NO_AUTHORITIES = [
    (no_file, "cannot be read: No such file or directory. Set it to a PEM file"),
    (file_in_circles, "cannot be read: Too many levels of symbolic links. Set it to a PEM file"),
    (file_without_certificate, "has no certificate in it (-----BEGIN CERTIFICATE-----). Set it to a PEM file"),
    (file_that_was_cut, "has a certificate that cannot be read: invalid certificate encoding. Set it to a PEM file"),
    (directory_without_hashes, "has no file that is named by a hash, such as 9d66eef0.0, with a certificate in it"),
]


@pytest.mark.parametrize("variable", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
@pytest.mark.parametrize(("make", "problem"), NO_AUTHORITIES)
def test_authorities_that_are_none_are_one_error_before_any_request(
    api: FakeApi,
    project: Project,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    variable: str,
    make: Callable[[Path], None],
    problem: str,
) -> None:
    bundle = tmp_path / "bundle"
    make(bundle)
    monkeypatch.setenv(variable, str(bundle))
    result = project.run()
    message = failure_message(result)
    assert message.startswith(f"{variable} = '{bundle}' {problem}")
    assert message.count(variable) == 1
    assert api.requests == []
    run = project.instance.get_run_by_id(result.run_id)
    assert run is not None
    assert run.tags["dagster/max_retries"] == "0"


def test_the_check_says_of_authorities_that_are_none_one_sentence(
    api: FakeApi, project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "missing.pem"))
    result = check(tmp_path)
    assert result.returncode == 1
    assert result.stdout == (
        f"REQUESTS_CA_BUNDLE = '{tmp_path}/missing.pem' cannot be read: No such file or directory. Set it to a PEM file"
        " with the certificates of the authorities to trust, or to a directory of such files that `openssl rehash` has"
        " named; or unset it.\n"
    )
    assert "Traceback" not in result.stderr
    assert api.requests == []


def test_an_alert_that_authorities_hinder_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, webhook: Webhook
) -> None:
    # With a patience that no other test has, as a process keeps its clients.
    monkeypatch.setattr("analytics_assets.defs.automation.alerts.WEBHOOK_TIMEOUT", 4.125)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "missing.pem"))
    with pytest.raises(AlertError, match=r"did not take the alert: REQUESTS_CA_BUNDLE = .* cannot be read"):
        deliver(webhook.url, "text")


def test_the_proxy_that_the_environment_names(
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
def test_redirects_are_followed_within_the_origin(api: FakeApi, project: Project, status: int) -> None:
    hops = [Answer(status, headers={"Location": where}) for where in ("?hop=2", f"{api.url}/v2/roles?hop=3")]
    api.answer_with("roles", *hops)
    said = metadata(project.sync("roles"), "roles")
    assert said["rows_loaded"] == len(api.rows["roles"])
    assert [request.query for request in api.asked("roles")] == [{}, {"hop": "2"}, {"hop": "3"}]
    assert {request.headers["Authorization"] for request in api.asked("roles")} == {f"Bearer {TOKEN}"}


@pytest.mark.parametrize("status", REDIRECTS)
@pytest.mark.parametrize("hops", [0, 1, 3])
def test_a_redirect_to_another_origin_is_an_error_and_takes_neither_token_nor_rows(
    api: FakeApi, project: Project, status: int, hops: int
) -> None:
    with serve() as elsewhere:
        leads = [*(f"?hop={hop}" for hop in range(hops)), f"{elsewhere.url}/v2/roles?secret=canary"]
        api.answer_with("roles", *(Answer(status, headers={"Location": where}) for where in leads))
        message = failure_message(project.run("roles"))
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
def test_where_a_redirect_may_not_lead(api: FakeApi, project: Project, location: str, place: str) -> None:
    port = api.url.rpartition(":")[2]
    api.answer_always("roles", Answer(302, headers={"Location": location.replace("{port}", port)}))
    message = failure_message(project.run("roles"))
    assert f"302 Found, which leads to {place.replace('{port}', port)}" in message
    assert "canary" not in message
    assert len(api.asked("roles")) == 1


def test_a_redirect_in_circles_is_an_error(api: FakeApi, project: Project) -> None:
    api.answer_always("roles", Answer(302, headers={"Location": "/v2/roles"}))
    assert "was redirected more than 10 times, at last to" in failure_message(project.run("roles"))
    assert len(api.asked("roles")) == 11


def test_a_redirect_from_http_to_https_of_the_host_is_followed_and_never_back(
    api: FakeApi, project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tls, bundle = authority_of_ones_own(tmp_path)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(bundle))
    with serve(tls) as encrypted:
        encrypted.rows["roles"] = api.rows["roles"]
        encrypted.answer_with("groups", Answer(302, headers={"Location": f"{api.url}/v2/groups"}))
        for resource in ("roles", "groups"):
            api.answer_always(resource, Answer(302, headers={"Location": encrypted.url + PATHS[resource]}))
        result = check(tmp_path)
    lines = {line.split()[1]: line for line in result.stdout.splitlines() if line.startswith(("ok", "failed"))}
    assert lines["roles"].startswith("ok"), result.stdout
    assert f"leads to {api.url}/v2/groups" in lines["groups"]
    assert {request.headers["Authorization"] for request in encrypted.requests} == {f"Bearer {TOKEN}"}
    assert len(api.asked("groups")) == 1


@pytest.mark.parametrize("token", ["short-7f3a", "canary-" + "0123456789abcdef" * 60])
def test_a_token_that_a_server_sends_back_is_redacted_even_where_it_is_cut(
    api: FakeApi, project: Project, monkeypatch: pytest.MonkeyPatch, token: str
) -> None:
    monkeypatch.setenv("SOURCES__ANALYTICS__API_KEY", token)
    api.answer_always("roles", Answer(400, {"you": f"sent {token}"}))
    api.answer_always("groups", Answer(body={"data": [{"id": token}]}))
    with pytest.raises(ResourceExtractionError) as caught:
        list(read_resource("roles"))
    for text in (str(caught.value), failure_message(project.run("roles", "groups"))):
        assert "sent ***" in text
        assert token[:12] not in text
