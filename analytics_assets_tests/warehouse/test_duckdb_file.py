"""The DuckDB file: opened, waited for, and refused."""

import subprocess
from collections.abc import Iterator

import pytest

from analytics_assets_tests.servers.fake_api import FakeApi
from analytics_assets_tests.support.holder import holding
from analytics_assets_tests.support.project import Project, failure_message, resource_config


@pytest.fixture
def holder(project: Project, api: FakeApi, request: pytest.FixtureRequest) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the DuckDB file until a line is written to it."""
    project.sync("roles")
    with holding(project.database, request.param) as process:
        yield process


@pytest.mark.parametrize("holder", ["reader", "writer"], indirect=True)
def test_a_busy_file_is_a_clear_error_after_a_while(
    holder: subprocess.Popen[str], project: Project, api: FakeApi
) -> None:
    api.requests.clear()
    result = project.run("roles", run_config=resource_config(busy_timeout=0.6))

    message = failure_message(result)
    assert f"The DuckDB file {project.database} is still in use" in message
    assert str(holder.pid) in message
    assert api.requests == []
    logged = [entry.user_message for entry in project.instance.all_logs(result.run_id)]
    assert any(f"Waiting for the DuckDB file {project.database}" in line for line in logged)


@pytest.mark.parametrize("holder", ["writer"], indirect=True)
def test_a_busy_file_is_waited_for(
    holder: subprocess.Popen[str], project: Project, api: FakeApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    def let_go(_: float) -> None:
        assert holder.stdin
        holder.communicate("\n")

    monkeypatch.setattr("analytics_assets.warehouse.duckdb_file.time.sleep", let_go)
    assert project.run("roles", run_config=resource_config(busy_timeout=30)).success


@pytest.mark.parametrize("name", ["warehouse", "clock"])
def test_a_file_that_is_no_duckdb_is_named(
    name: str, project: Project, api: FakeApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What DuckDB says of it has its name, which may look like a word about locks.
    database = project.database.with_stem(name)
    monkeypatch.setenv("DESTINATION__DUCKDB__CREDENTIALS", str(database))
    database.write_bytes(b"something else" * 1000)
    message = failure_message(project.run("roles", run_config=resource_config(busy_timeout=0.6)))
    assert f"Cannot open the DuckDB file {database}" in message
    assert api.requests == []
