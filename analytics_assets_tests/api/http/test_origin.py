"""Where credentials may go: to the origin that the configuration names, whatever run config says."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics_assets.api.http.origin import origin_of, read_origins
from analytics_assets.project import project_dir
from analytics_assets_tests.servers.fake_api import TOKEN, FakeApi, serve
from analytics_assets_tests.support.project import Project, failure_message, metadata, resource_config

HOME = "https://api.example.com"


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://API.Example.com/v2?x=1", "https://api.example.com:443"),
        ("http://api.example.com", "http://api.example.com:80"),
        ("https://api.example.com:8443", "https://api.example.com:8443"),
        ("https://user@evil@api.example.com", "https://api.example.com:443"),
        ("https://[::1]:3", "https://::1:3"),
        ("https://evil.example\\@api.example.com", None),
        ("https://api.example.com\n.evil.example", None),
        ("ftp://api.example.com", None),
        ("https:///x", None),
        ("https://api.example.com:99999", None),
        ("https://[::1", None),
        ("demo", None),
    ],
)
def test_an_origin_is_scheme_host_and_port(url: str, origin: str | None) -> None:
    assert origin_of(url) == origin


@given(st.text(max_size=60))
def test_any_text_has_an_origin_or_none(text: str) -> None:
    for url in (text, f"https://{text}", f"https://api.example.com{text}"):
        origin = origin_of(url)
        assert origin is None or origin.startswith(("http://", "https://"))


@pytest.mark.parametrize(
    "configured",
    [
        ["https://a.example", "http://b.example:8080"],
        "a.example, http://b.example:8080",
        '["a.example:443", "http://b.example:8080/"]',
    ],
)
def test_allowed_hosts_are_a_list_or_a_text(configured: object) -> None:
    assert read_origins(configured) == {"https://a.example:443", "http://b.example:8080"}
    assert read_origins(None) == read_origins("") == read_origins([]) == frozenset()


REFUSED: list[dict[str, Any]] = [
    {"base_url": "{elsewhere}"},
    {"base_url": "{elsewhere}", "allow_http": True},
    {"base_url": "{elsewhere}", "api_key": "another"},
    {"base_url": "https://127.0.0.1:{port}"},
    {"base_url": "http://localhost:{port}"},
    {"base_url": "http://127.0.0.1:{port}@127.0.0.2"},
    {"dialect": "ninjaone", "client_id": "c", "client_secret": "s", "token_url": "{elsewhere}/token"},
]


@pytest.mark.parametrize("values", REFUSED, ids=str)
@pytest.mark.parametrize("job", ["analytics_sync", "analytics_check", "analytics_verify"])
def test_run_config_that_leads_credentials_elsewhere_is_refused_before_any_request(
    api: FakeApi, project: Project, values: dict[str, Any], job: str
) -> None:
    with serve() as elsewhere:
        places = {"{elsewhere}": elsewhere.url, "{port}": api.url.rpartition(":")[2]}
        for mark, place in places.items():
            values = {
                key: value.replace(mark, place) if isinstance(value, str) else value for key, value in values.items()
            }
        message = failure_message(project.run(job=job, run_config=resource_config(**values)))
        assert "would have this run send credentials to another origin than the configured one" in message
        assert "sources.analytics.allowed_hosts" in message
        assert not elsewhere.requests
    assert not api.requests


def test_allow_http_by_run_config_does_not_help_a_configured_https_origin(
    api: FakeApi, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCES__ANALYTICS__BASE_URL", HOME)
    values = {"base_url": HOME.replace("https", "http"), "allow_http": True}
    assert "sources.analytics.base_url = 'http://api.example.com:80'" in failure_message(
        project.run("roles", run_config=resource_config(**values))
    )


def test_run_config_may_not_allow_http(api: FakeApi, project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCES__ANALYTICS__BASE_URL", "http://api.example.com")
    message = failure_message(project.run("roles", run_config=resource_config(allow_http=True)))
    assert "would send the token unencrypted" in message


@pytest.mark.parametrize("allowed", ['["{url}"]', "https://x.example, {url}", "{url}/v2"])
def test_an_allowed_host_may_be_named_by_run_config(
    api: FakeApi, project: Project, monkeypatch: pytest.MonkeyPatch, allowed: str
) -> None:
    monkeypatch.setenv("SOURCES__ANALYTICS__BASE_URL", HOME)
    monkeypatch.setenv("SOURCES__ANALYTICS__ALLOWED_HOSTS", allowed.replace("{url}", api.url))
    project.sync("roles", run_config=resource_config(base_url=api.url))
    monkeypatch.setenv("SECOND_KEY", TOKEN)
    monkeypatch.setenv("SOURCES__ANALYTICS__API_KEY", "of the first")
    project.sync("roles", run_config=resource_config(base_url=api.url, api_key={"env": "SECOND_KEY"}))


def test_the_configured_origin_and_the_demo_may_be_named_by_run_config(api: FakeApi, project: Project) -> None:
    project.sync("roles", run_config=resource_config(base_url=f" {api.url}/ ", allow_http=True))
    count = metadata(project.sync("roles", run_config=resource_config(base_url="demo")), "roles")["destination"]
    # Its rows do not land among those of the configured API.
    assert count == str(project_dir() / "data" / "demo.duckdb")
    assert project.ids("roles") == [row["id"] for row in api.rows["roles"]]
    assert {request.headers["Authorization"] for request in api.requests} == {f"Bearer {TOKEN}"}


def test_a_wrong_list_of_allowed_hosts_is_an_error(
    api: FakeApi, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCES__ANALYTICS__ALLOWED_HOSTS", "https://[half")
    message = failure_message(project.run("roles", run_config=resource_config(base_url=api.url)))
    assert "allowed_hosts = 'https://[half' is no list of origins" in message


@pytest.mark.parametrize(
    "key",
    [
        "base_url",
        "dialect",
        "start_date",
        "scope",
        "token_url",
        "destination_type",
        "destination_credentials",
        "duckdb_memory",
    ],
)
def test_run_config_may_not_read_a_variable_into_what_is_shown(
    api: FakeApi, project: Project, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    monkeypatch.setenv("OTHER_VARIABLE", "other-canary")
    message = failure_message(project.run("roles", run_config=resource_config(**{key: {"env": "OTHER_VARIABLE"}})))
    assert f"{key} is read from the variable OTHER_VARIABLE by the resource's run config" in message
    assert "canary" not in message
    assert not api.requests


def test_run_config_of_the_op_may_not_read_a_variable(
    api: FakeApi, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTHER_VARIABLE", "other-canary")
    result = project.run("roles", config={"start": {"env": "OTHER_VARIABLE"}})
    assert "start is read from the variable OTHER_VARIABLE by the op's run config" in failure_message(result)
    assert "canary" not in project.log(result)


def test_run_config_may_not_set_the_hash_key_the_allowed_hosts_or_a_module(api: FakeApi, project: Project) -> None:
    for key, value in (("hash_key", "known to whoever launches"), ("allowed_hosts", ["https://elsewhere.example"])):
        assert f"{key} comes by run config" in failure_message(
            project.run("roles", run_config=resource_config(**{key: value}))
        )
    message = failure_message(project.run("roles", run_config=resource_config(destination_type="this.that")))
    assert "run config may name dlt's destinations only" in message
    assert not api.requests


def test_run_config_names_no_other_place_for_the_rows_than_a_duckdb_file(
    api: FakeApi, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DESTINATION__POSTGRES__PASSWORD", "pw-canary")
    values = {"destination_type": "postgres", "destination_credentials": "postgresql://u@127.0.0.1:1/db"}
    message = failure_message(project.run("roles", run_config=resource_config(**values)))
    assert "run config may name a DuckDB file, and no other place for the rows" in message
    project.sync(
        "roles", run_config=resource_config(destination_credentials=str(project.database.with_name("b.duckdb")))
    )
    assert project.database.with_name("b.duckdb").exists()
