"""Settings: where they come from, and what is said of wrong ones."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import duckdb
import pytest

from analytics_assets.api.settings import Settings, SettingsError
from analytics_assets.api.settings_reader import read_settings
from analytics_assets.project import use_project_config
from analytics_assets.warehouse.duckdb_options import duckdb_options
from analytics_assets_tests.servers.fake_api import FakeApi
from analytics_assets_tests.support.eight import EIGHT
from analytics_assets_tests.support.project import Project, failure_message

URL = "https://api.example.com"
DATES = "is not an ISO 8601 date-time from 1500-01-01 to 9999-12-31, such as 2024-01-01T00:00:00Z. Set it in"


def test_defaults_are_the_demo_and_the_specifications() -> None:
    settings = read_settings(EIGHT)
    assert settings.is_demo
    assert settings.rows_per_page == 20
    assert settings.start.isoformat() == "2024-01-01T00:00:00+00:00"
    assert settings.requests_per_second is None


@pytest.mark.parametrize("size", ["512MB", "1GB", "1GiB", "1.5 gb", "0.5GB", "2TiB"])
def test_sizes_are_spelled_as_duckdb_does(size: str) -> None:
    assert read_settings(EIGHT, duckdb_memory=size).duckdb_memory == size
    duckdb.connect(config=duckdb_options(size)).close()


def test_the_specifications_names_work_and_the_longer_ones_win(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("API_KEY", "short")
    monkeypatch.setenv("START_DATE", "2023-01-01")
    assert read_settings(EIGHT, base_url=URL).token == "short"
    assert read_settings(EIGHT, base_url=URL).start.year == 2023
    monkeypatch.setenv("SOURCES__ANALYTICS__API_KEY", "long")
    assert read_settings(EIGHT, base_url=URL).token == "long"
    assert read_settings(EIGHT, base_url=URL, api_key="explicit").token == "explicit"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"base_url": URL}, "api_key is missing"),
        ({"base_url": URL, "api_key": " "}, "api_key is missing"),
        ({"base_url": "api.example.com"}, "base_url = 'api.example.com' is not a URL"),
        ({"base_url": "https://"}, "is not a URL"),
        ({"base_url": "https://host:port"}, "is not a URL"),
        ({"base_url": "ftp://api.example.com"}, "is not a URL"),
        ({"base_url": "https://api.example.com?x=1"}, "is not a URL"),
        ({"base_url": "http://api.example.com"}, "would send the token unencrypted"),
        ({"start_date": "yesterday"}, "start_date = 'yesterday' is not an ISO 8601 date-time"),
        ({"dialect": "klingon"}, "dialect = 'klingon' is unknown; known: analytics"),
        ({"page_size": 0}, "page_size = 0 is below 1"),
        ({"page_size": "many"}, "page_size = 'many' is not a whole number"),
        ({"lag_seconds": -1}, "lag_seconds = -1 is below 0"),
        ({"lag_seconds": 10**12}, "lag_seconds = 1000000000000 is above 6307200000, two hundred years"),
        ({"max_pages": 0}, "max_pages = 0 is below 1"),
        ({"max_deleted_share": 2}, "max_deleted_share = 2.0 is not between 0 and 1"),
        ({"duckdb_memory": "512"}, "duckdb_memory = '512' is no size such as 512MB, 1GB or 1GiB"),
        ({"duckdb_memory": "0MB"}, "duckdb_memory = '0MB' is no size"),
        ({"duckdb_memory": "50%"}, "duckdb_memory = '50%' is no size"),
        ({"duckdb_memory": "1GB;"}, "duckdb_memory = '1GB;' is no size"),
        ({"requests_per_second": 0}, "requests_per_second = 0.0 is not above 0"),
        ({"requests_per_second": "nan"}, "requests_per_second = nan is not above 0 and finite"),
        ({"requests_per_second": "inf"}, "requests_per_second = inf is not above 0 and finite"),
        ({"max_response_mb": "nan"}, "max_response_mb = nan is not above 0"),
    ],
)
def test_wrong_settings_are_refused_with_key_value_and_place(
    values: dict[str, str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for key, value in values.items():
        monkeypatch.setenv(f"SOURCES__ANALYTICS__{key.upper()}", str(value))
    with pytest.raises(SettingsError) as caught:
        read_settings(EIGHT)
    assert message in str(caught.value)
    assert "Set it in [sources.analytics] of .dlt/" in str(caught.value)
    assert "SOURCES__ANALYTICS__" in str(caught.value)


def test_a_misspelled_key_is_refused_without_its_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCES__ANALYTICS__APIKEY", "hunter2")
    with pytest.raises(
        SettingsError, match=r"analytics\.apikey is no setting \(did you mean 'api_key'\?\)\. "
    ) as caught:
        read_settings(EIGHT)
    assert "hunter2" not in str(caught.value)
    monkeypatch.delenv("SOURCES__ANALYTICS__APIKEY")
    monkeypatch.setenv("SOURCES__ANALYTICS__MAX_TABLE_NESTING", "0")
    read_settings(EIGHT)


@pytest.mark.parametrize("file", ["config.toml", "secrets.toml"])
def test_a_misspelled_key_of_a_file_is_refused(file: str, tmp_path: Path) -> None:
    written = tmp_path / "project" / ".dlt" / file
    written.parent.mkdir(parents=True)
    written.write_text("[sources.analytics]\npagesize = 5\n", encoding="utf-8")
    # In a process of its own, because dlt reads the files once.
    command = "from analytics_assets.api.settings_reader import read_settings; read_settings()"
    process = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, check=False)
    assert "pagesize is no setting (did you mean 'page_size'?). " in process.stderr


def test_an_empty_variable_counts_as_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for key in Settings().get_resolvable_fields():
        monkeypatch.setenv(f"SOURCES__ANALYTICS__{key.upper()}", "")
        monkeypatch.setenv(key.upper(), " ")
    # What dlt would look for next is found.
    monkeypatch.setenv("SOURCES__PAGE_SIZE", "7")
    monkeypatch.setenv("ALERTS__UI_URL", "")
    assert read_settings(EIGHT).page_size == 7
    use_project_config()
    assert "ALERTS__UI_URL" not in os.environ


@pytest.mark.parametrize("token", ["line\nbreak", "two words", "ünïcode"])
def test_a_malformed_token_is_refused_without_being_shown(token: str) -> None:
    with pytest.raises(SettingsError) as caught:
        read_settings(EIGHT, base_url=URL, api_key=token)
    assert token not in str(caught.value)
    assert "secrets.toml" in str(caught.value)


def test_credentials_in_the_url_are_refused_without_being_shown() -> None:
    with pytest.raises(SettingsError, match="carries credentials") as caught:
        read_settings(EIGHT, base_url="https://user:hunter2@api.example.com")
    assert "hunter2" not in str(caught.value)


def test_http_is_for_this_host_unless_allowed() -> None:
    for url in ("http://127.0.0.1:8000", "http://localhost", "http://[::1]:8000"):
        assert read_settings(EIGHT, base_url=url, api_key="x").base_url == url
    assert read_settings(EIGHT, base_url="http://api.internal", api_key="x", allow_http=True).allow_http


def test_a_connector_of_ones_own_is_not_the_demo_because_its_url_is_missing() -> None:
    own = replace(EIGHT, name="crm")
    with pytest.raises(SettingsError, match=r"sources\.crm\.base_url is missing: .* Set it in \[sources\.crm\]"):
        read_settings(own, api_key="x")
    assert read_settings(own, base_url="demo").is_demo


def test_no_representation_shows_the_token() -> None:
    settings = read_settings(EIGHT, base_url=URL, api_key="token-canary")
    assert "canary" not in f"{settings!r} {settings}"


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("SOURCES__ANALYTICS__API_KEY", "", "api_key is missing"),
        ("SOURCES__ANALYTICS__START_DATE", "soon", "start_date = 'soon'"),
        ("SOURCES__ANALYTICS__START_DATE", "0000-01-01", f"start_date = '0000-01-01' {DATES}"),
        ("SOURCES__ANALYTICS__START_DATE", "0001-01-01", f"start_date = '0001-01-01' {DATES}"),
        ("SOURCES__ANALYTICS__START_DATE", "0001-01-01T00:00+05:00", f"start_date = '0001-01-01T00:00+05:00' {DATES}"),
        ("START_DATE", "9999-12-31T23:59:59-05:00", f"start_date = '9999-12-31T23:59:59-05:00' {DATES}"),
        ("SOURCES__ANALYTICS__BASE_URL", "nowhere", "base_url = 'nowhere'"),
        ("SOURCES__ANALYTICS__DUCKDB_MEMORY", "plenty", "duckdb_memory = 'plenty' is no size"),
        ("DESTINATION_TYPE", "papyrus", "destination_type = 'papyrus' is unknown"),
        ("DESTINATION_TYPE", "filesystem", "destination_type = 'filesystem' cannot merge"),
        ("DESTINATION_TYPE", "dummy", "cannot keep dlt's state"),
        ("DESTINATION__DUCKDB__CREDENTIALS", ":memory:", "is no file"),
    ],
)
def test_a_run_with_a_wrong_setting_is_one_error_before_any_request(
    api: FakeApi, project: Project, monkeypatch: pytest.MonkeyPatch, key: str, value: str, message: str
) -> None:
    monkeypatch.setenv(key, value)
    result = project.run()

    assert not result.success
    assert message in failure_message(result)
    assert api.requests == []
    assert not project.database.exists()


@pytest.mark.parametrize(
    ("key", "value", "least"),
    [
        ("request_max_attempts", "0", "1"),
        ("request_timeout", "-1", "0.001"),
        ("request_timeout", "soon", "0.001"),
        ("request_backoff_factor", "-2", "0"),
        ("request_max_retry_delay", "nan", "0"),
    ],
)
def test_a_wrong_value_of_dlts_runtime_is_one_error_before_any_request(
    api: FakeApi, project: Project, monkeypatch: pytest.MonkeyPatch, key: str, value: str, least: str
) -> None:
    monkeypatch.setenv(f"RUNTIME__{key.upper()}", value)
    message = failure_message(project.run("roles"))
    assert f"runtime.{key} = {value!r} is not a number from {least}. Correct it in [runtime]" in message
    assert api.requests == []
