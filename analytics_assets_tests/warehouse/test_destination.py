"""Where rows land: which file, what if it is busy, and Postgres."""

from pathlib import Path

import dlt
import duckdb
import pytest
from dlt.common.destination.reference import Destination
from dlt.common.normalizers.naming.snake_case import NamingConvention

from analytics_assets.api.settings_reader import read_settings
from analytics_assets.project import config_dir
from analytics_assets.warehouse.destination import build_destination
from analytics_assets.warehouse.errors import DestinationError
from analytics_assets.warehouse.session import open_session
from analytics_assets.warehouse.target import Target, read_target
from analytics_assets_tests.servers.fake_api import FakeApi
from analytics_assets_tests.support.eight import EIGHT
from analytics_assets_tests.support.project import Project, failure_message

URL = "https://api.example.com"


def test_demo_rows_and_real_rows_have_files_of_their_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    data = config_dir() / "data"
    for settings, name in (
        (read_settings(EIGHT), "demo"),
        (read_settings(EIGHT, base_url=URL, api_key="x"), "warehouse"),
    ):
        assert read_target(settings) == Target("duckdb", data / f"{name}.duckdb", data / f"{name}_read.duckdb")
    assert data.is_absolute()


@pytest.mark.parametrize(
    ("configured", "path"),
    [
        ("warehouse/x.duckdb", "warehouse/x.duckdb"),
        ("duckdb:///x.duckdb", "x.duckdb"),
        ("/srv/x.duckdb", "/srv/x.duckdb"),
    ],
)
def test_relative_paths_start_at_the_project(monkeypatch: pytest.MonkeyPatch, configured: str, path: str) -> None:
    monkeypatch.setenv("DESTINATION__DUCKDB__CREDENTIALS", configured)
    assert read_target(read_settings(EIGHT)).duckdb_path == config_dir() / path
    assert (
        read_target(read_settings(EIGHT), credentials="explicit.duckdb").duckdb_path == config_dir() / "explicit.duckdb"
    )


def test_the_home_directory_of_nobody_is_an_error_of_the_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DESTINATION__DUCKDB__CREDENTIALS", "~nobody9/x.duckdb")
    with pytest.raises(DestinationError, match=r"credentials = '~nobody9/x\.duckdb' cannot be used: no home directory"):
        read_target(read_settings(EIGHT))


@pytest.mark.parametrize("value", ["-1", "7777777777777777777777", "1000"])
def test_an_umask_is_three_digits(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, value: str) -> None:
    monkeypatch.setenv("UMASK", value)
    with (
        pytest.raises(DestinationError, match=f"UMASK = '{value}' is no octal number such as 077 or 027"),
        open_session(read_settings(EIGHT), Target("duckdb", tmp_path / "x.duckdb")),
    ):
        pass


def test_a_hosts_rows_are_loaded_below_the_host_wherever_the_package_is(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("DLT_PROJECT_DIR")
    monkeypatch.chdir(tmp_path)
    assert read_target(read_settings(EIGHT)).duckdb_path == tmp_path / "data" / "demo.duckdb"


def test_a_real_api_is_loaded_into_the_default_file(
    api: FakeApi, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DESTINATION__DUCKDB__CREDENTIALS")
    assert project.sync().success
    with duckdb.connect(str(config_dir() / "data" / "warehouse.duckdb")) as connection:
        assert connection.execute("SELECT count(*) FROM analytics.roles").fetchone() == (len(api.rows["roles"]),)


@pytest.mark.parametrize("name", ["analytics", "Analytics", "analytics_staging", "reports"])
def test_a_file_that_is_named_like_a_schema_is_refused_before_any_request(
    api: FakeApi, project: Project, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    monkeypatch.setenv("DESTINATION__DUCKDB__CREDENTIALS", str(tmp_path / f"{name}.duckdb"))
    result = project.run("roles")
    assert f"Rename the file, for example to {name}_warehouse.duckdb" in failure_message(result)
    assert not api.requests


@pytest.mark.parametrize(
    ("type_", "table_format", "problem"),
    [
        (
            "filesystem",
            None,
            "cannot merge rows: .* Set TABLE_FORMAT, or table_format in .dlt/config.toml, to delta or iceberg",
        ),
        (
            "filesystem",
            "hudi",
            "table_format = 'hudi' is no format of the destination filesystem. Set it to delta or iceberg",
        ),
        ("postgres", "delta", "table_format = 'delta' is no format of the destination postgres. Leave it out"),
    ],
)
def test_a_destination_that_cannot_merge_is_refused(
    monkeypatch: pytest.MonkeyPatch, type_: str, table_format: str | None, problem: str
) -> None:
    if table_format:
        monkeypatch.setenv("TABLE_FORMAT", table_format)
    target = read_target(read_settings(EIGHT), type_)
    with pytest.raises(DestinationError, match=problem):
        build_destination(target)


@pytest.mark.parametrize("type_", ["duckdb", "postgres"])
def test_remembered_capabilities_are_those_that_dlt_would_resolve(tmp_path: Path, type_: str) -> None:
    ours = build_destination(Target(type_), "postgresql://nobody:x@localhost/nowhere" if type_ == "postgres" else None)
    # That DuckDB has transactions is what dlt does not know.
    theirs = dlt.destinations.duckdb(supports_transactions=True) if type_ == "duckdb" else dlt.destinations.postgres()
    naming = NamingConvention(20)
    for _ in range(2):
        # Some values are partial functions, which are equal by name only.
        assert repr(dict(ours.capabilities())) == repr(dict(theirs.capabilities()))
        assert repr(dict(ours.capabilities(naming=naming))) == repr(dict(theirs.capabilities(naming=naming)))
        # What dlt writes into its copy is not in the next one.
        ours.capabilities().max_identifier_length = 7
    pipeline = dlt.pipeline("any", destination=ours, pipelines_dir=str(tmp_path))
    assert pipeline.destination is ours


@pytest.mark.parametrize("type_", ["duckdb", "postgres"])
def test_a_configuration_that_is_spelled_out_is_the_one_that_dlt_would_resolve(
    monkeypatch: pytest.MonkeyPatch, type_: str
) -> None:
    credentials = "postgresql://nobody:x@localhost/nowhere" if type_ == "postgres" else "any.duckdb"
    monkeypatch.setenv(f"DESTINATION__{type_.upper()}__STAGING_DATASET_NAME_LAYOUT", "landing_%s")
    monkeypatch.setenv(f"DESTINATION__{type_.upper()}__CREATE_INDEXES", "true")
    ours = build_destination(Target(type_), credentials)
    theirs = Destination.from_reference(type_, credentials=credentials)
    assert theirs
    spelled_out, resolved = (
        dict(destination.configuration(destination.spec(), accept_partial=True)) for destination in (ours, theirs)
    )
    assert spelled_out.pop("credentials").to_url() == resolved.pop("credentials").to_url()
    assert spelled_out == resolved
    assert (resolved["staging_dataset_name_layout"], resolved["create_indexes"]) == ("landing_%s", True)
    # And nothing is looked up any more.
    monkeypatch.setenv(f"DESTINATION__{type_.upper()}__STAGING_DATASET_NAME_LAYOUT", "other_%s")
    assert ours.configuration(ours.spec(), accept_partial=True)["staging_dataset_name_layout"] == "landing_%s"
