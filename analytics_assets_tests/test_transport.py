"""Retries, Retry-After, and who gets to see the token."""

import time
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime

import pytest
from dlt.extract.exceptions import ResourceExtractionError

from analytics_assets.api.source import analytics_source
from analytics_assets_tests.conftest import Project, failure_message, metadata
from analytics_assets_tests.fake_api import TOKEN, Answer, FakeApi, serve


def http_date(seconds: float) -> str:
    return format_datetime(datetime.now(timezone.utc) + timedelta(seconds=seconds), usegmt=True)


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The waits of the wire, which are recorded instead of waited: its clock is put forward."""
    recorded: list[float] = []

    async def pause(seconds: float) -> None:
        recorded.append(seconds)

    monkeypatch.setattr("analytics_assets.api.transport.pause", pause)
    monkeypatch.setattr("analytics_assets.api.transport.monotonic", lambda: time.monotonic() + sum(recorded))
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
    message = failure_message(project.run("roles"))
    assert f"No answer from {api.url}/v2/roles" in message
    assert "Check sources.analytics.base_url and the network" in message


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_to_another_host_does_not_carry_the_token(api: FakeApi, project: Project, status: int) -> None:
    with serve() as elsewhere:
        location = elsewhere.url.replace("127.0.0.1", "localhost") + "/v2/roles"
        api.answer_always("roles", Answer(status, headers={"Location": location}))
        result = project.run("roles")
    assert not result.success
    [request] = elsewhere.requests
    assert "Authorization" not in request.headers


@pytest.mark.parametrize("token", ["short", "canary-" + "0123456789abcdef" * 60])
def test_a_token_that_a_server_sends_back_is_redacted_even_where_it_is_cut(
    api: FakeApi, project: Project, monkeypatch: pytest.MonkeyPatch, token: str
) -> None:
    monkeypatch.setenv("SOURCES__ANALYTICS__API_KEY", token)
    api.answer_always("roles", Answer(400, {"you": f"sent {token}"}))
    api.answer_always("groups", Answer(body={"data": [{"id": 1, "updated": token}]}))
    with pytest.raises(ResourceExtractionError) as caught:
        list(analytics_source().resources["roles"])
    for text in (str(caught.value), failure_message(project.run("roles", "groups"))):
        assert "sent ***" in text
        assert token[:12] not in text
