"""Tokens that are fetched: when, how often, what is said when there is none, and who gets to see the secrets."""

import threading
import time

import pytest

from analytics_assets.defs.assets.resource import AnalyticsResource
from analytics_assets.demo.exchange import Request
from analytics_assets.demo.ninjaone import TOKEN_PATH
from analytics_assets_tests.servers.fake_api import PATHS, Answer, FakeApi, serve
from analytics_assets_tests.servers.fake_ninjaone import CLIENT_ID, CLIENT_SECRET, FakeNinjaOne
from analytics_assets_tests.support.eight import NAMES
from analytics_assets_tests.support.project import Project, failure_message, metadata
from analytics_assets_tests.support.reading import read_ids
from analytics_assets_tests.support.waiting import until

EXPIRED = {"error": "Unauthorized", "error_code": 10}


def sent(api: FakeApi, resource: str) -> list[str | None]:
    """The tokens of the requests for a resource."""
    return [request.headers.get("Authorization", "").removeprefix("Bearer ") for request in api.asked(resource)]


def test_a_run_fetches_one_token_and_shows_it_nowhere(
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
    assert "canary" not in project.log(result) + "".join(capfd.readouterr())


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
        if request.path == PATHS["roles"]:
            # One learns late that its token is no good, when there is another already.
            until(lambda: len(ninjaone.issued) == 2, "the second token")
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
    ninjaone.accept("unsaid-canary")
    ninjaone.token_faults.append(Answer(body={"access_token": "unsaid-canary", "token_type": "Bearer"}))
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
    ninjaone: FakeNinjaOne, monkeypatch: pytest.MonkeyPatch, expires_in: str, lasts: float
) -> None:
    passed = [0.0]
    monkeypatch.setattr("analytics_assets.api.http.auth.monotonic", lambda: time.monotonic() + passed[0])
    ninjaone.accept("spelled-canary")
    ninjaone.token_faults.append(
        Answer(body=f'{{"access_token": "spelled-canary", "expires_in": {expires_in}}}'.encode())
    )

    def let_time_pass(request: Request) -> None:
        passed[0] = {"20": lasts - 70, "30": lasts - 59}.get(request.query.get("after", ""), passed[0])

    ninjaone.faults["organizations"].append(let_time_pass)
    assert len(read_ids("organizations")) == 45
    assert sent(ninjaone, "organizations") == [*["spelled-canary"] * 4, *["issued-1-canary"] * 2]


def test_a_token_that_is_refused_when_new_is_not_fetched_for_ever(ninjaone: FakeNinjaOne, project: Project) -> None:
    ninjaone.answer_always("roles", Answer(401, EXPIRED))
    message = failure_message(project.run("roles"))
    assert "does not accept a token that" in message
    assert "is base_url the host of the same region?" in message
    assert (len(ninjaone.asked("roles")), len(ninjaone.token_requests())) == (2, 2)


@pytest.mark.parametrize("fault", [Answer(503), Answer(429, headers={"Retry-After": "0"}), Answer(200, {}, cut=1)])
def test_requests_for_tokens_are_retried_like_others(ninjaone: FakeNinjaOne, project: Project, fault: Answer) -> None:
    ninjaone.token_faults = [fault, fault]
    project.sync("roles")
    assert len(ninjaone.token_requests()) == 3


def test_the_scope_and_the_endpoint_can_be_set_for_any_dialect(
    ninjaone: FakeNinjaOne, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    ninjaone.ninjaone.scope = "read:all"
    monkeypatch.setenv("SOURCES__ANALYTICS__SCOPE", "read:all")
    monkeypatch.setenv("SOURCES__ANALYTICS__TOKEN_URL", ninjaone.url + TOKEN_PATH)
    monkeypatch.setenv("SOURCES__ANALYTICS__DIALECT", "analytics")
    with serve() as specified:
        specified.faults["roles"].append(lambda _: Answer(body={"data": []}))
        monkeypatch.setenv("SOURCES__ANALYTICS__BASE_URL", specified.url)
        project.sync("roles")
    assert sent(specified, "roles") == ["issued-0-canary"]


def test_the_client_wins_over_a_pasted_token(ninjaone: FakeNinjaOne, project: Project) -> None:
    resource = AnalyticsResource(api_key="pasted", client_id=CLIENT_ID, client_secret=CLIENT_SECRET)
    settings = resource.settings(NAMES, base_url="https://eu.ninjarmm.com")
    assert settings.has_client
    assert settings.token_endpoint == "https://eu.ninjarmm.com/ws/oauth/token"
    assert "canary" not in f"{resource!r} {settings!r}"
    project.sync("roles")
    assert sent(ninjaone, "roles") == ["issued-0-canary"]
