"""What a destination lacks on this machine is named with what to do about it, and no secret is."""

from importlib.util import find_spec

import pytest
from dlt.common.configuration.exceptions import ConfigFieldMissingException
from dlt.common.destination.reference import DestinationReference

from analytics_assets.api.settings_reader import read_settings
from analytics_assets.warehouse.errors import DestinationError
from analytics_assets.warehouse.missing import describe_missing
from analytics_assets.warehouse.pipeline import staging_secrets
from analytics_assets.warehouse.session import open_session
from analytics_assets_tests.servers.fake_api import FakeApi
from analytics_assets_tests.support.eight import EIGHT

PASSWORD = "pw-canary-1234"


def refusal() -> str:
    """Why a run cannot load where the configuration points."""
    with pytest.raises(DestinationError) as refused, open_session(read_settings(EIGHT)):
        pass
    assert PASSWORD not in str(refused.value)
    assert len(str(refused.value)) < 500
    return str(refused.value)


@pytest.mark.parametrize(
    ("destination", "package"),
    [("bigquery", "google.cloud"), ("snowflake", "snowflake"), ("databricks", "databricks"), ("athena", "pyathena")],
)
def test_a_missing_extra_is_named_with_the_command_that_installs_it(
    destination: str, package: str, api: FakeApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    if find_spec(package.partition(".")[0]) and find_spec(package):
        pytest.skip(f"{package} is installed here")
    monkeypatch.setenv("DESTINATION_TYPE", destination)
    assert f"No module named '{package}'. Install it: uv pip install \"dlt[{destination}]\"" in refusal()


@pytest.mark.parametrize(
    ("scheme", "advice"),
    [
        ("mysql", "uv pip install pymysql, and begin the connection string with mysql+pymysql://"),
        ("mssql+pyodbc", "Install it: uv pip install pyodbc"),
        ("nothing", "Can't load plugin: sqlalchemy.dialects:nothing. Install the package that has this dialect"),
    ],
)
def test_a_missing_driver_of_sqlalchemy_is_named(
    scheme: str, advice: str, api: FakeApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DESTINATION_TYPE", "sqlalchemy")
    monkeypatch.setenv("DESTINATION__SQLALCHEMY__CREDENTIALS", f"{scheme}://loader:{PASSWORD}@127.0.0.1:1/db")
    assert advice in refusal()


def test_missing_keys_are_named_without_all_places_where_dlt_looked() -> None:
    athena = DestinationReference.from_reference("athena")
    assert athena
    with pytest.raises(ConfigFieldMissingException) as missing:
        athena.configuration(athena.spec())
    assert len(str(missing.value)) > 600
    said = str(describe_missing("athena", missing.value))
    assert "Set DESTINATION__ATHENA__CREDENTIALS__AWS_ACCESS_KEY_ID, " in said
    assert len(said) < 400


def test_an_unknown_destination_is_one_sentence(api: FakeApi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DESTINATION_TYPE", "nonsense")
    assert (
        "'nonsense' is unknown to dlt: Destination `nonsense` is not one of the standard dlt destinations" in refusal()
    )
    monkeypatch.setenv("DESTINATION_TYPE", "mariadb")
    assert refusal().endswith("to sqlalchemy.")


@pytest.mark.parametrize(
    ("scheme", "said"),
    [
        ("redshift", "begins with redshift://, which is not the database's own scheme"),
        ("postgresql", "Cannot use the destination redshift: connection to server"),
    ],
)
def test_redshift_quotes_no_password(scheme: str, said: str, api: FakeApi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DESTINATION_TYPE", "redshift")
    monkeypatch.setenv("DESTINATION__REDSHIFT__CREDENTIALS", f"{scheme}://loader:{PASSWORD}@127.0.0.1:1/db")
    assert said in refusal()


@pytest.mark.parametrize(
    ("table_format", "url", "said"),
    [
        ("delta", "lake", "has no absolute path"),
        ("delta", "~/lake", "has no absolute path"),
        ("delta", "/srv/l%20ake", "has the character '%', with which delta tables are not found again"),
        ("iceberg", "s3://bucket/[lake]", "has the character '['"),
        ("iceberg", "/srv/my lake", "has the character ' '"),
        ("iceberg", "file:///srv/läke", "has the character 'ä'"),
        ("delta", "az://bucket/lake", 'Install it: uv pip install "dlt[az]"'),
    ],
)
def test_a_place_where_tables_would_not_be_found_again_is_refused(
    table_format: str, url: str, said: str, api: FakeApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DESTINATION_TYPE", "filesystem")
    monkeypatch.setenv("TABLE_FORMAT", table_format)
    monkeypatch.setenv("DESTINATION__FILESYSTEM__BUCKET_URL", url)
    assert said in refusal()


@pytest.mark.parametrize("credentials", ["sqlite://", "sqlite:///warehouse.db"])
def test_a_sqlite_file_that_depends_on_the_current_directory_is_refused(
    credentials: str, api: FakeApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DESTINATION_TYPE", "sqlalchemy")
    monkeypatch.setenv("DESTINATION__SQLALCHEMY__CREDENTIALS", credentials)
    assert "destination.sqlalchemy.credentials has no absolute path" in refusal()


def test_secrets_of_a_staging_destination_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    assert staging_secrets() == []
    monkeypatch.setenv("STAGING_TYPE", "filesystem")
    monkeypatch.setenv("DESTINATION__FILESYSTEM__BUCKET_URL", "s3://bucket/path")
    monkeypatch.setenv("DESTINATION__FILESYSTEM__CREDENTIALS__AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("DESTINATION__FILESYSTEM__CREDENTIALS__AWS_SECRET_ACCESS_KEY", PASSWORD)
    assert PASSWORD in staging_secrets()
