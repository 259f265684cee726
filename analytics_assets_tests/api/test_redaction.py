"""No secret in what people read, in whatever spelling it comes back; and nothing else is taken out."""

import base64
import html
import json
import logging
from collections.abc import Callable
from urllib.parse import quote

import pytest
from dlt.common.normalizers.naming.snake_case import NamingConvention
from dlt.extract.exceptions import ResourceExtractionError
from hypothesis import given
from hypothesis import strategies as st

from analytics_assets.api.redaction import redact
from analytics_assets_tests.servers.fake_api import TOKEN, Answer, FakeApi
from analytics_assets_tests.support.project import Project, failure_message
from analytics_assets_tests.support.reading import read_resource

SECRET = 'kq7/Zx+91=mNvB<4tRw"8pLs&2dFg'

Spell = Callable[[str], str]
SPELLINGS: dict[str, Spell] = {
    "as it is": str,
    "upper case": str.upper,
    "lower case": str.lower,
    "back to front": lambda secret: secret[::-1],
    "its last twelve": lambda secret: secret[-12:],
    "its first twelve": lambda secret: secret[:12],
    "twelve of its middle": lambda secret: secret[9:21],
    "URL": lambda secret: quote(secret, safe=""),
    "URL, every character": lambda secret: "".join(f"%{ord(c):02x}" for c in secret),
    "URL, twice": lambda secret: quote(quote(secret, safe=""), safe=""),
    "URL, by a script": lambda secret: quote(secret, safe="-_.!~*'()"),
    "HTML in decimals": lambda secret: "".join(c if c.isalnum() else f"&#{ord(c)};" for c in secret),
    "HTML in hexadecimals": lambda secret: "".join(f"&#x{ord(c):X};" for c in secret),
    "Python": lambda secret: "".join(f"\\x{ord(c):02x}" for c in secret),
    "a column": lambda secret: NamingConvention().normalize_identifier(secret),
    "JSON": lambda secret: json.dumps(secret)[1:-1],
    "JSON with escaped slashes": lambda secret: json.dumps(secret)[1:-1].replace("/", "\\/"),
    "JSON with numbers": lambda secret: "".join(c if c.isalnum() else f"\\u{ord(c):04X}" for c in secret),
    "HTML": html.escape,
    "hexadecimal": lambda secret: secret.encode().hex(),
    "base64": lambda secret: base64.b64encode(secret.encode()).decode(),
    "base64 after one": lambda secret: base64.b64encode(f"u{secret}".encode()).decode(),
    "base64 after two": lambda secret: base64.b64encode(f"u:{secret}--".encode()).decode(),
    "base64 of URLs": lambda secret: base64.urlsafe_b64encode(f"user:{secret}".encode()).decode(),
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_a_secret_in_any_usual_spelling_is_taken_out(spelling: str) -> None:
    spelled = SPELLINGS[spelling](SECRET)
    shown = redact(f"before {spelled} after", [None, "", SECRET])
    assert shown.startswith("before ")
    assert shown.endswith(" after")
    assert "***" in shown
    assert not any(spelled[start : start + 12] in shown for start in range(len(spelled) - 11))


@pytest.mark.parametrize("word", ["client", "postgres", "password", "demo", "analytics", "a", "12345"])
def test_a_secret_that_is_a_plain_word_is_left_alone(word: str) -> None:
    text = f"The {word} is not accepted: check sources.analytics.{word}_secret."
    assert redact(text, [word]) == text


@pytest.mark.parametrize(
    "spelled", ["ÜNÏCÖDÉ7-KANARIE", "%c3%bcn%c3%afc%c3%b6d%c3%a97-kanarie", "&uuml;n\\u00efcödé7-kanarie"]
)
def test_a_secret_beyond_ascii_is_taken_out_too(spelled: str) -> None:
    shown = redact(f"<{spelled}>", ["ünïcödé7-kanarie"])
    assert shown in {"<***>", "<&uuml;***>"}


@pytest.mark.parametrize("spelled", ["p%40ss7!", "p%40ss7%21", "p@ss7&#33;", "p@ss7\\u0021"])
def test_a_short_secret_is_taken_out_in_part_escaped(spelled: str) -> None:
    assert redact(f"u:{spelled}@h", ["p@ss7!"]) == "u:***@h"


def test_an_address_with_an_at_sign_in_its_query_is_left_alone() -> None:
    text = "GET https://api.example.com/v2?mail=me@example.com answered 404"
    assert redact(text, []) == text


@pytest.mark.parametrize("secret", ["pw-canary", "s3cret", "hunter22"])
def test_a_short_secret_is_taken_out_as_a_whole(secret: str) -> None:
    assert redact(f"u:{secret}@h, {secret[:-1]}", [secret]) == f"u:***@h, {secret[:-1]}"


def test_a_connection_string_that_nobody_has_configured_shows_no_user() -> None:
    assert redact('could not connect to "postgresql://u:p@ss@host:5432/db"', []) == (
        'could not connect to "postgresql://***@host:5432/db"'
    )


@given(st.text(max_size=60), st.text(max_size=60), st.text(min_size=12, max_size=80))
def test_whatever_the_secret_it_is_not_in_the_text(before: str, after: str, secret: str) -> None:
    shown = redact(before + secret + after, [secret])
    # What stands around may look like the secret.
    assert secret not in shown or secret in before + "***" + after
    assert shown.isprintable() or set(shown) & {"\n", "\t"} or all(ord(c) > 0x9F or c.isprintable() for c in shown)


@given(st.text(st.characters(exclude_categories=["Cc", "Cf", "Cs", "Zl", "Zp"]), max_size=200))
def test_a_text_without_secrets_is_unchanged(text: str) -> None:
    assert redact(text.replace("@", ""), ["kq7/Zx+91=mNvB"]) == text.replace("@", "")


def test_control_characters_are_spelled_out() -> None:
    text = "a\x1b[2J\x1b]8;;http://x\x07\r\x00\x7f\x9b1m\u202eb\u2066\ud83d\n\tc"
    assert redact(text, []) == ("a\\x1b[2J\\x1b]8;;http://x\\x07\\r\\x00\\x7f\\x9b1m\\u202eb\\u2066\\ud83d\n\tc")


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_an_api_that_sends_the_token_back_in_disguise_tells_nobody(
    api: FakeApi, project: Project, monkeypatch: pytest.MonkeyPatch, spelling: str
) -> None:
    token = "kq7/Zx+91=mNvB4tRw8pLs2dFg"
    monkeypatch.setenv("SOURCES__ANALYTICS__API_KEY", token)
    spelled = SPELLINGS[spelling](token)
    api.answer_always("roles", Answer(400, body=f"no: {spelled} is it".encode()))
    api.answer_always("groups", Answer(body={"data": [{"id": 1, "updated": spelled}]}))
    result = project.run("roles", "groups")
    said = [str(entry) for entry in project.instance.all_logs(result.run_id)]
    assert "Its body begins: 'no: " in failure_message(result)
    for text in (failure_message(result), *said):
        # As much of it as stands for twelve characters of the token.
        telling = 12 * len(spelled) // min(len(spelled), len(token))
        assert not any(spelled[start : start + telling] in text for start in range(len(spelled) - telling + 1)), text


PASSWORD = "pw7-canary9"

DSNS = {
    f"postgresql+psycopg2://loader:{PASSWORD}@127.0.0.1:1/db": "begins with postgresql+psycopg2://",
    f"mysql://loader:{PASSWORD}@127.0.0.1:1/db": "begins with mysql://",
    f"postgresql://loader:x@{PASSWORD}@127.0.0.1:1/db": "has an @ in the user's name or password",
    "postgresql://loader@127.0.0.1:1/db": "has no password",
    f"postgresql://loader:{PASSWORD}@127.0.0.1:1": "has no database",
    f"postgresql://loader:{PASSWORD}@/db": "has no host",
    f"postgresql://loader:{PASSWORD}@127.0.0.1:port/db": "cannot be read",
    f"host=127.0.0.1 user=loader password={PASSWORD}": "cannot be read",
    f"loader:{PASSWORD}@127.0.0.1/db": "cannot be read",
    "": "cannot be read",
    "none": "is missing",
}


@pytest.mark.parametrize("dsn", DSNS)
@pytest.mark.parametrize("job", ["analytics_sync", "analytics_check", "analytics_verify"])
def test_a_wrong_connection_string_is_one_sentence_that_does_not_show_it(
    api: FakeApi,
    project: Project,
    monkeypatch: pytest.MonkeyPatch,
    dsn: str,
    job: str,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("DESTINATION_TYPE", "postgres")
    if dsn != "none":
        monkeypatch.setenv("DESTINATION__POSTGRES__CREDENTIALS", dsn)
    result = project.run("roles", job=job) if job == "analytics_sync" else project.run(job=job)
    message = failure_message(result)
    assert f"destination.postgres.credentials {DSNS[dsn]}" in message
    assert "Write it like postgresql://user:password@host:5432/database" in message
    everything = [message, *map(str, project.instance.all_logs(result.run_id)), *capfd.readouterr()]
    assert not any(PASSWORD in text or "ConfigFieldMissing" in text for text in everything)


@pytest.mark.parametrize("password", ["p@ss/w?rd#%7-canary", "quo\"te's 7-canary", "ünï-7-canary"])
def test_a_password_that_is_escaped_reaches_the_database_and_no_message(
    postgres: str,
    api: FakeApi,
    project: Project,
    monkeypatch: pytest.MonkeyPatch,
    password: str,
) -> None:
    monkeypatch.setenv("DESTINATION_TYPE", "postgres")
    url = postgres.replace("pw-canary", quote(password, safe=""))
    monkeypatch.setenv("DESTINATION__POSTGRES__CREDENTIALS", url)
    project.sync("roles")
    monkeypatch.setenv("DESTINATION__POSTGRES__CREDENTIALS", f"{url}-none")
    result = project.run("roles")
    message = failure_message(result)
    assert 'database "postgres-none" does not exist' in message
    assert "canary" not in message + project.log(result)


def test_the_token_is_in_no_event_log_line_or_file(
    api: FakeApi, project: Project, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    api.answer_always("policies", Answer(401, {"error": f"Bearer {TOKEN} is no good"}))
    api.answer_always("roles", Answer(body=f"<html>{TOKEN}</html>".encode()))
    api.answer_always("groups", Answer(400, {"you_sent": TOKEN}))
    with caplog.at_level(logging.DEBUG):
        result = project.run()

    assert not result.success
    said = "\n".join([str(result.all_events), failure_message(result), caplog.text, *capfd.readouterr()])
    said += project.log(result)
    assert "api_key" in said
    assert TOKEN not in said
    assert TOKEN.encode() not in project.database.read_bytes()


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
