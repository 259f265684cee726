"""Retries, Retry-After, and who gets to see the token."""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from analytics_assets_tests.servers.fake_api import Answer, FakeApi
from analytics_assets_tests.support.project import Project, failure_message, metadata
from analytics_assets_tests.support.reading import read_ids, refusal


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
def test_retry_after_is_honored_within_a_bound(
    api: FakeApi,
    pauses: list[float],
    monkeypatch: pytest.MonkeyPatch,
    header: Callable[[], str],
    least: float,
    most: float,
) -> None:
    monkeypatch.delenv("RUNTIME__REQUEST_BACKOFF_FACTOR")
    api.answer_with("roles", Answer(429, headers={"Retry-After": header()}))
    assert read_ids("roles") == [1, 2, 3]
    assert len(pauses) == 1
    assert least <= pauses[0] <= most


def test_the_longest_wait_can_be_configured(
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


def test_a_retry_repeats_one_request_and_not_the_listing(
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


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_temporary_failures_are_retried_three_times(api: FakeApi, project: Project, status: int) -> None:
    api.answer_with("roles", *[Answer(status)] * 3)
    result = project.sync("roles")

    assert len(api.asked("roles")) == 4
    assert metadata(result, "roles")["requests"] == 4
    assert metadata(result, "roles")["retries"] == 3
    api.answer_with("roles", *[Answer(status)] * 4)
    message = failure_message(project.run("roles"))
    assert f"answered {status}" in message
    assert ", in each of 4 attempts in 0 s. " in message


@pytest.mark.parametrize("status", [400, 401, 403, 404, 501])
def test_lasting_failures_are_not_retried(api: FakeApi, status: int) -> None:
    api.answer_with("roles", Answer(status))
    assert f"answered {status}" in refusal("roles")
    assert len(api.asked("roles")) == 1


def test_a_connection_cut_in_mid_body_is_retried(api: FakeApi, project: Project) -> None:
    api.answer_with("roles", Answer(body={"data": api.rows["roles"]}, cut=40))
    project.sync("roles")
    assert project.ids("roles") == [1, 2, 3]


@pytest.mark.parametrize(
    "headers",
    [
        {"Retry-After": "Mon, 01 Jan 2035 00:00:00 +99999999999999999999"},
        {"Retry-After": "Mon, 01 Jan 99999999999999999999 00:00:00 GMT"},
        {"Retry-After": "\xff"},
    ],
    ids=str,
)
def test_a_retry_after_that_makes_no_sense_is_ignored(api: FakeApi, project: Project, headers: dict[str, str]) -> None:
    api.answer_with("roles", Answer(503, headers=headers))
    assert metadata(project.sync("roles"), "roles")["retries"] == 1
