"""The DuckDB file: opened, waited for, and refused."""

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest

from analytics_assets.warehouse.duckdb_file import free_blocks, open_duckdb
from analytics_assets.warehouse.errors import DestinationError
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


def test_a_path_that_no_file_can_have_is_named(tmp_path: Path) -> None:
    path = tmp_path / f"{'long' * 100}.duckdb"
    with pytest.raises(DestinationError, match=f"Cannot open the DuckDB file {path}: "):
        open_duckdb(path, 1, None, print).__enter__()


@pytest.mark.parametrize("begun", [b"", bytes(100), bytes(4096)], ids=["empty", "cut", "zeros"])
def test_a_file_that_another_process_begins_to_make_is_waited_for(
    begun: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, path = tmp_path / "made.duckdb", tmp_path / "warehouse.duckdb"
    duckdb.connect(made).close()
    path.write_bytes(begun)
    real, waited = duckdb.connect, list[str]()

    def connect(*arguments: Any, **options: Any) -> duckdb.DuckDBPyConnection:
        """DuckDB as it is. The other process writes the rest of the file as soon as this one has failed."""
        try:
            return real(*arguments, **options)
        except duckdb.Error:
            path.write_bytes(made.read_bytes())
            raise

    monkeypatch.setattr(duckdb, "connect", connect)
    with open_duckdb(path, 60, None, waited.append) as connection:
        assert connection.execute("SELECT 1").fetchall() == [(1,)]
    assert len(waited) == 1


def test_blocks_that_nobody_uses_are_freed(tmp_path: Path) -> None:
    with open_duckdb(tmp_path / "many.duckdb", 1, "300MB", print) as connection:
        connection.execute("CREATE TABLE numbers AS SELECT random() AS number FROM range(8_000_000)")
        connection.execute("CHECKPOINT")
        connection.execute("SELECT sum(number) FROM numbers")
        before = blocks_in_memory(connection)
        free_blocks(connection, "300MB")
        assert before > 30e6
        assert blocks_in_memory(connection) < 16e6
        assert connection.execute("SELECT current_setting('memory_limit')").fetchall() == [("286.1 MiB",)]


def blocks_in_memory(connection: duckdb.DuckDBPyConnection) -> int:
    query = "SELECT memory_usage_bytes FROM duckdb_memory() WHERE tag = 'BASE_TABLE'"
    [(found,)] = connection.execute(query).fetchall()
    return int(found)


def test_a_limit_that_is_too_low_to_free_blocks_stays_as_it_was(tmp_path: Path) -> None:
    with open_duckdb(tmp_path / "many.duckdb", 1, "300MB", print) as connection:
        # What a temporary table has is in use, and cannot go to disk.
        connection.execute("SET temp_directory = ''")
        connection.execute("CREATE TEMP TABLE numbers AS SELECT random() AS number FROM range(8_000_000)")
        with pytest.raises(duckdb.OutOfMemoryException):
            connection.execute("SET memory_limit = '16MB'")
        free_blocks(connection, "300MB")
        assert connection.execute("SELECT current_setting('memory_limit')").fetchall() == [("286.1 MiB",)]
