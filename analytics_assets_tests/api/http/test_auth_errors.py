"""What is said where there is no token, and who gets to see the secrets."""

from typing import Any

import pytest
from dlt.extract.exceptions import ResourceExtractionError

from analytics_assets.api.settings import SettingsError
from analytics_assets.api.settings_reader import read_settings
from analytics_assets.defs.assets.resource import AnalyticsResource
from analytics_assets.defs.quality.connection_check import check_connection
from analytics_assets_tests.servers.fake_api import PATHS, Answer
from analytics_assets_tests.servers.fake_ninjaone import (
    CLIENT_ID,
    CLIENT_SECRET,
    FakeNinjaOne,
)
from analytics_assets_tests.support.eight import EIGHT, NAMES
from analytics_assets_tests.support.project import Project, failure_message, metadata
from analytics_assets_tests.support.reading import read_resource, refusal
from analytics_assets_tests.support.rows import policy


def unknown_client(api: FakeNinjaOne, patch: pytest.MonkeyPatch) -> None:
    patch.setenv("SOURCES__ANALYTICS__CLIENT_ID", "canary-of-another-region")


def wrong_secret(api: FakeNinjaOne, patch: pytest.MonkeyPatch) -> None:
    patch.setenv("SOURCES__ANALYTICS__CLIENT_SECRET", "canary-of-yesterday")


def missing_scope(api: FakeNinjaOne, patch: pytest.MonkeyPatch) -> None:
    api.ninjaone.scope = "control"


def narrow_scope(api: FakeNinjaOne, patch: pytest.MonkeyPatch) -> None:
    for name in PATHS:
        api.answer_always(name, Answer(403, {"error": "forbidden"}))


def login_page(api: FakeNinjaOne, patch: pytest.MonkeyPatch) -> None:
    api.token_faults = [Answer(200, b"<html>Please log in</html>") for _ in range(20)]


def broken(api: FakeNinjaOne, patch: pytest.MonkeyPatch) -> None:
    api.token_faults = [Answer(503, {"client": CLIENT_SECRET}) for _ in range(80)]


@pytest.mark.parametrize(
    ("wrong", "messages"),
    [
        (
            unknown_client,
            [
                "answered 404",
                "There is no such client",
                "another region",
                "eu.ninjarmm.com",
                "sources.analytics.client_id",
            ],
        ),
        (wrong_secret, ["answered 401", "check sources.analytics.client_secret"]),
        (missing_scope, ["answered 400", "may not have the scope 'monitoring'", "sources.analytics.scope"]),
        (narrow_scope, ["answered 403", "may not read this resource", "Its scope is 'monitoring'"]),
        (
            login_page,
            [
                "26 bytes, which are not JSON: Expecting value: line 1 column 1 (char 0).",
                "It looks like a page, to log in at perhaps. Is sources.analytics.token_url the token endpoint?",
            ],
        ),
        (broken, ["answered 503", 'Its body begins: \'{"client": "***"}\'']),
    ],
)
def test_each_reason_for_having_no_token_has_a_message_of_its_own_without_a_secret(
    ninjaone: FakeNinjaOne,
    project: Project,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    wrong: Any,
    messages: list[str],
) -> None:
    wrong(ninjaone, monkeypatch)
    result = project.run("roles", "organizations")
    verdicts = {verdict.subject: verdict.says for verdict in check_connection(NAMES, AnalyticsResource(), pytest.fail)}
    for message in messages:
        assert message in failure_message(result)
        assert message in verdicts["roles"]
    with pytest.raises(ResourceExtractionError) as caught:
        list(read_resource("roles"))
    said = project.log(result) + str(verdicts) + "".join(capfd.readouterr())
    assert "canary" not in said + str(caught.value)


@pytest.mark.parametrize(
    "token", ["issued\r\nX-Other: canary-7", "issued canary-7", "issued\x00canary-7", "ïssued-canary-7"]
)
def test_an_issued_token_that_cannot_be_a_header_is_an_error(ninjaone: FakeNinjaOne, token: str) -> None:
    ninjaone.token_faults.append(Answer(body={"access_token": token, "expires_in": 3600}))
    message = refusal("roles")
    assert "with one that has a space, a line break or the like in it" in message
    assert "canary" not in message


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "0 bytes, which are not JSON: Expecting value: line 1 column 1 (char 0). Is sources.analytics.token_url"),
        (
            b'{"access_token": "lost-canary",\n "expires_in" 3600}',
            "which are not JSON: Expecting ':' delimiter: line 2 column 15 (char 46). Is sources.analytics.token_url",
        ),
        (b"[" * 50_000, "50000 bytes, which are not JSON: nested too deeply. Is sources.analytics.token_url"),
        (b"\xff\xfe\xff", "which are not JSON: 'utf-16-le' codec can't decode byte 0xff in position 2: truncated data"),
        (b"null", "answered 200 OK with JSON, but it is null instead of an object."),
        (
            b'["lost-canary"]',
            "but it is a list instead of an object. Is sources.analytics.token_url the token endpoint?",
        ),
        (b'{"access_token": 7}', "but its access_token is no text, or empty. Is sources.analytics.token_url"),
        (
            b'{"access_token": ""}',
            "but its access_token is no text, or empty. Is sources.analytics.token_url",
        ),
        (b'{"token": "lost-canary"}', "with JSON, but without an access_token: found the keys ['token']. Is"),
        (b'{"secret-9c2e-canary": 1}', "without an access_token: found the keys ['***']."),
        (
            b'{"error": "invalid_client"}',
            "but with the error 'invalid_client'. The client is not accepted",
        ),
        (b'{"error": "secret-9c2e-canary"}', "but with the error '***'. Check sources.analytics.token_url."),
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_response_without_a_token_is_described(ninjaone: FakeNinjaOne, body: bytes, message: str) -> None:
    ninjaone.token_faults.append(Answer(body=body))
    said = refusal("roles")
    assert message in said
    assert "to log in at" not in said
    assert "canary" not in said


@pytest.mark.parametrize("error", [{"code": 7}, ["invalid_client"], 7])
def test_a_refusal_may_carry_an_error_that_is_no_text(ninjaone: FakeNinjaOne, error: object) -> None:
    ninjaone.token_faults.append(Answer(401, {"error": error}))
    assert "answered 401 Unauthorized. The client is not accepted" in refusal("roles")


def test_a_client_whose_id_is_a_word_leaves_messages_readable(
    ninjaone: FakeNinjaOne, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCES__ANALYTICS__CLIENT_ID", "client")
    ninjaone.token_faults.append(Answer(401, {"error": "invalid_client"}))
    message = failure_message(project.run("roles"))
    assert "The client is not accepted: check sources.analytics.client_secret, and client_id." in message


def test_a_pasted_token_that_has_expired_is_told_apart_from_a_wrong_one(
    ninjaone: FakeNinjaOne, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    for key in ("CLIENT_ID", "CLIENT_SECRET"):
        monkeypatch.delenv(f"SOURCES__ANALYTICS__{key}")
    monkeypatch.setenv("SOURCES__ANALYTICS__API_KEY", "pasted-canary")
    ninjaone.answer_with("roles", Answer(401, {"error": "Unauthorized", "error_code": 1}))
    assert "The API did not accept the token" in failure_message(project.run("roles"))
    ninjaone.accept("pasted-canary")
    project.sync("roles")
    ninjaone.expire()
    message = failure_message(project.run("roles"))
    assert "The token in sources.analytics.api_key has expired. Set client_id and client_secret instead" in message
    ninjaone.answer_always("groups", Answer(400, {"error": "bad_request"}))
    assert "if it cannot read the token: check sources.analytics.api_key" in failure_message(project.run("groups"))
    assert ninjaone.token_requests() == []


def test_a_token_that_a_row_holds_is_redacted(ninjaone: FakeNinjaOne, project: Project) -> None:
    ninjaone.rows["policies"] = [policy(1) | {"id": "issued-0-canary"}]
    assert 'found "***"' in failure_message(project.run("policies"))
    ninjaone.rows["policies"] = [policy(1) | {"id": "issued-1-canary"}]
    verdicts = {verdict.subject: verdict.says for verdict in check_connection(NAMES, AnalyticsResource(), pytest.fail)}
    assert 'found "***"' in verdicts["policies"]


def test_a_token_that_a_row_holds_is_redacted_in_the_preview(ninjaone: FakeNinjaOne, project: Project) -> None:
    ninjaone.rows["organizations"][-1].update(name="issued-0-canary", description=CLIENT_SECRET)
    preview = metadata(project.sync("organizations"), "organizations")["preview"]
    assert "Organization 44" in preview
    assert "canary" not in preview


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "api_key is missing, and https://eu.ninjarmm.com needs a bearer token, or client_id and client_secret"),
        ({"client_id": CLIENT_ID}, "client_secret is missing beside client_id"),
        ({"client_secret": CLIENT_SECRET, "api_key": "x"}, "client_id is missing beside client_secret"),
        (
            {"client_id": CLIENT_ID, "client_secret": CLIENT_SECRET, "dialect": "analytics"},
            "token_url is missing, and dialect 'analytics' has none of its own",
        ),
        (
            {"client_id": CLIENT_ID, "client_secret": CLIENT_SECRET, "token_url": "http://eu.ninjarmm.com/token"},
            "token_url = 'http://eu.ninjarmm.com/token' would send the token unencrypted",
        ),
    ],
)
def test_wrong_credentials_are_refused_before_any_request(values: dict[str, str], message: str) -> None:
    with pytest.raises(SettingsError) as caught:
        read_settings(EIGHT, **{"base_url": "https://eu.ninjarmm.com", "dialect": "ninjaone", **values})
    assert message in str(caught.value)
    assert "canary" not in str(caught.value)
