"""Tokens that are fetched: when, how often, what is said when there is none, and who gets to see the secrets."""

import threading
import time
from collections.abc import Iterator
from typing import Any

import dagster as dg
import pytest
from dlt.extract.exceptions import ResourceExtractionError

from analytics_assets.api.settings import SettingsError
from analytics_assets.api.settings_reader import read_settings
from analytics_assets.defs.assets.resource import AnalyticsResource
from analytics_assets.defs.quality.connection_check import check_connection
from analytics_assets_tests.conftest import Project, failure_message, metadata
from analytics_assets_tests.fake_api import PATHS, Answer, FakeApi, Request, serve
from analytics_assets_tests.fake_ninjaone import (
    CLIENT_ID,
    CLIENT_SECRET,
    TOKEN_PATH,
    FakeNinjaOne,
    fill_from,
    serve_ninjaone,
)
from analytics_assets_tests.reading import read_resource
from analytics_assets_tests.rows import fill, policy

URL = "https://eu.ninjarmm.com"
EXPIRED = {"error": "Unauthorized", "error_code": 10}


@pytest.fixture
def ninjaone(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeNinjaOne]:
    """The public API with a few rows, to which the configuration points with a client."""
    with serve_ninjaone() as api:
        specified = FakeApi("")
        fill(specified)
        fill_from(api, specified.rows)
        for key, value in {"base_url": api.url, "client_id": CLIENT_ID, "client_secret": CLIENT_SECRET}.items():
            monkeypatch.setenv(f"SOURCES__ANALYTICS__{key.upper()}", value)
        monkeypatch.setenv("SOURCES__ANALYTICS__DIALECT", "ninjaone")
        monkeypatch.setenv("SOURCES__ANALYTICS__PAGE_SIZE", "10")
        yield api


def sent(api: FakeApi, resource: str) -> list[str | None]:
    """The tokens of the requests for a resource."""
    return [request.headers.get("Authorization", "").removeprefix("Bearer ") for request in api.asked(resource)]


def everything_said(result: dg.ExecuteInProcessResult, instance: dg.DagsterInstance) -> str:
    """Events, logs and metadata of a run."""
    return "\n".join(str(record) for record in instance.all_logs(result.run_id))


def test_one_token_serves_a_run_and_stands_nowhere(
    ninjaone: FakeNinjaOne, project: Project, capfd: pytest.CaptureFixture[str]
) -> None:
    result = project.sync()
    [request] = ninjaone.token_requests()
    assert request.form == {
        "grant_type": "client_credentials",
        "client_id": CLIENT_ID,
        "client_secret": CLIENT_SECRET,
        "scope": "monitoring",
    }
    assert {token for name in PATHS for token in sent(ninjaone, name)} == {"issued-0-canary"}
    # Counted are the requests for rows.
    assert sum(metadata(result, name)["requests"] for name in PATHS) == len(ninjaone.requests) - 1
    assert "canary" not in everything_said(result, project.instance) + "".join(capfd.readouterr())


def test_a_token_that_ends_in_mid_run_is_renewed_once(ninjaone: FakeNinjaOne, project: Project) -> None:
    def expire(request: Request) -> None:
        if request.query.get("after") == "20" and len(ninjaone.issued) == 1:
            ninjaone.expire()

    ninjaone.faults["organizations"].append(expire)
    said = metadata(project.sync("organizations"), "organizations")
    assert sent(ninjaone, "organizations") == [*["issued-0-canary"] * 3, *["issued-1-canary"] * 4]
    assert (said["dagster/row_count"], said["retries"]) == (45, 1)


def test_requests_in_flight_share_one_new_token(ninjaone: FakeNinjaOne, project: Project) -> None:
    together = threading.Barrier(len(PATHS) - 1)

    def refuse(request: Request) -> Answer | None:
        if request.headers["Authorization"] != "Bearer issued-0-canary":
            return None
        together.wait(timeout=20)
        deadline = time.monotonic() + 20
        # One learns late that its token is no good, when there is another already.
        while request.path == PATHS["roles"] and len(ninjaone.issued) < 2:
            assert time.monotonic() < deadline
        return Answer(401, EXPIRED)

    # The request for activities waits for their cursor.
    for name in set(PATHS) - {"activities"}:
        ninjaone.faults[name].append(refuse)
    project.sync()
    assert len(ninjaone.token_requests()) == 2


def test_a_token_is_renewed_before_its_end(
    ninjaone: FakeNinjaOne, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    passed = [0.0]
    monkeypatch.setattr("analytics_assets.api.http.auth.monotonic", lambda: time.monotonic() + passed[0])

    def let_time_pass(request: Request) -> None:
        # 59 s before its end it is too old, and 70 s before it is not.
        passed[0] = {"20": 3600.0 - 70, "30": 3600.0 - 59}.get(request.query.get("after", ""), passed[0])

    ninjaone.faults["organizations"].append(let_time_pass)
    project.sync("organizations")
    assert sent(ninjaone, "organizations") == [*["issued-0-canary"] * 4, *["issued-1-canary"] * 2]
    assert [request.path for request in ninjaone.requests].count(TOKEN_PATH) == 2


def test_an_endpoint_that_does_not_say_how_long_is_trusted_for_an_hour(
    ninjaone: FakeNinjaOne, project: Project
) -> None:
    ninjaone.lifetime = None
    project.sync()
    assert len(ninjaone.token_requests()) == 1


@pytest.mark.parametrize(
    ("expires_in", "lasts"),
    [
        ('"600"', 600),
        ('" 6e2 "', 600),
        ("600.5", 600.5),
        ("null", 3600),
        ('""', 3600),
        ('"an hour"', 3600),
        ("-1", 3600),
        ('"-600"', 3600),
        ("0", 3600),
        ("NaN", 3600),
        ('"nan"', 3600),
        ("Infinity", 3600),
        ("9" * 5000, 3600),
        ("true", 3600),
        ('{"seconds": 600}', 3600),
    ],
    ids=lambda value: str(value)[:20],
)
def test_a_token_is_used_however_its_endpoint_spells_its_lifetime(
    ninjaone: FakeNinjaOne, project: Project, monkeypatch: pytest.MonkeyPatch, expires_in: str, lasts: float
) -> None:
    passed = [0.0]
    monkeypatch.setattr("analytics_assets.api.http.auth.monotonic", lambda: time.monotonic() + passed[0])
    ninjaone.issued.append("spelled-canary")
    ninjaone.token_faults.append(
        Answer(body=f'{{"access_token": "spelled-canary", "expires_in": {expires_in}}}'.encode())
    )

    def let_time_pass(request: Request) -> None:
        passed[0] = {"20": lasts - 70, "30": lasts - 59}.get(request.query.get("after", ""), passed[0])

    ninjaone.faults["organizations"].append(let_time_pass)
    project.sync("organizations")
    assert sent(ninjaone, "organizations") == [*["spelled-canary"] * 4, *["issued-1-canary"] * 2]


def test_a_token_that_is_refused_when_new_is_not_fetched_for_ever(ninjaone: FakeNinjaOne, project: Project) -> None:
    ninjaone.answer_always("roles", Answer(401, EXPIRED))
    message = failure_message(project.run("roles"))
    assert "does not accept a token that" in message
    assert "is base_url the host of the same region?" in message
    assert (len(ninjaone.asked("roles")), len(ninjaone.token_requests())) == (2, 2)


@pytest.mark.parametrize("fault", [Answer(503), Answer(429, headers={"Retry-After": "0"}), Answer(200, {}, cut=1)])
def test_the_token_endpoint_is_asked_again_like_the_api(
    ninjaone: FakeNinjaOne, project: Project, fault: Answer
) -> None:
    ninjaone.token_faults = [fault, fault]
    project.sync("roles")
    assert len(ninjaone.token_requests()) == 3


def test_the_scope_and_the_endpoint_can_be_set_for_any_dialect(
    ninjaone: FakeNinjaOne, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    ninjaone.scopes = {"read:all"}
    monkeypatch.setenv("SOURCES__ANALYTICS__SCOPE", "read:all")
    monkeypatch.setenv("SOURCES__ANALYTICS__TOKEN_URL", ninjaone.url + TOKEN_PATH)
    monkeypatch.setenv("SOURCES__ANALYTICS__DIALECT", "analytics")
    with serve() as specified:
        specified.faults["roles"].append(lambda _: Answer(body={"data": []}))
        monkeypatch.setenv("SOURCES__ANALYTICS__BASE_URL", specified.url)
        project.sync("roles")
    assert sent(specified, "roles") == ["issued-0-canary"]


def unknown_client(api: FakeNinjaOne, patch: pytest.MonkeyPatch) -> None:
    patch.setenv("SOURCES__ANALYTICS__CLIENT_ID", "canary-of-another-region")


def wrong_secret(api: FakeNinjaOne, patch: pytest.MonkeyPatch) -> None:
    patch.setenv("SOURCES__ANALYTICS__CLIENT_SECRET", "canary-of-yesterday")


def missing_scope(api: FakeNinjaOne, patch: pytest.MonkeyPatch) -> None:
    api.scopes = {"control"}


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
def test_what_is_wrong_is_told_apart_without_a_secret(
    ninjaone: FakeNinjaOne,
    project: Project,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    wrong: Any,
    messages: list[str],
) -> None:
    wrong(ninjaone, monkeypatch)
    result = project.run("roles", "organizations")
    verdicts = {verdict.subject: verdict.says for verdict in check_connection(AnalyticsResource(), pytest.fail)}
    for message in messages:
        assert message in failure_message(result)
        assert message in verdicts["roles"]
    with pytest.raises(ResourceExtractionError) as caught:
        list(read_resource("roles"))
    said = everything_said(result, project.instance) + str(verdicts) + "".join(capfd.readouterr())
    assert "canary" not in said + str(caught.value)


@pytest.mark.parametrize(
    "token", ["issued\r\nX-Other: canary-7", "issued canary-7", "issued\x00canary-7", "ïssued-canary-7"]
)
def test_an_issued_token_that_is_no_header_is_an_error(ninjaone: FakeNinjaOne, project: Project, token: str) -> None:
    ninjaone.token_faults.append(Answer(body={"access_token": token, "expires_in": 3600}))
    message = failure_message(project.run("roles"))
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
def test_an_answer_without_a_token_is_named_for_what_it_is(
    ninjaone: FakeNinjaOne, project: Project, body: bytes, message: str
) -> None:
    ninjaone.token_faults.append(Answer(body=body))
    said = failure_message(project.run("roles"))
    assert message in said
    assert "to log in at" not in said
    assert "canary" not in said


@pytest.mark.parametrize("error", [{"code": 7}, ["invalid_client"], 7])
def test_a_refusal_whose_error_is_no_text_is_a_refusal(ninjaone: FakeNinjaOne, project: Project, error: object) -> None:
    ninjaone.token_faults.append(Answer(401, {"error": error}))
    assert "answered 401 Unauthorized. The client is not accepted" in failure_message(project.run("roles"))


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
    assert "The API did not accept the token" in failure_message(project.run("roles"))
    ninjaone.issued.append("pasted-canary")
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
    verdicts = {verdict.subject: verdict.says for verdict in check_connection(AnalyticsResource(), pytest.fail)}
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
        read_settings(**{"base_url": URL, "dialect": "ninjaone", **values})
    assert message in str(caught.value)
    assert "canary" not in str(caught.value)


def test_the_client_wins_over_a_pasted_token(ninjaone: FakeNinjaOne, project: Project) -> None:
    resource = AnalyticsResource(api_key="pasted", client_id=CLIENT_ID, client_secret=CLIENT_SECRET)
    settings = resource.settings(base_url=URL)
    assert settings.has_client
    assert settings.token_endpoint == "https://eu.ninjarmm.com/ws/oauth/token"
    assert "canary" not in f"{resource!r} {settings!r}"
    project.sync("roles")
    assert sent(ninjaone, "roles") == ["issued-0-canary"]
