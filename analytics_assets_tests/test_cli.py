"""The command lines that people use, in processes of their own."""

import os
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest

from analytics_assets_tests.fake_api import PATHS, TOKEN, Answer, FakeApi

BIN = Path(sys.executable).parent


def run(tmp_path: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Runs a command from a directory that is not the project's, with a DAGSTER_HOME of its own."""
    home, elsewhere = tmp_path / "dagster", tmp_path / "elsewhere"
    home.mkdir(exist_ok=True)
    elsewhere.mkdir(exist_ok=True)
    environment = {name: value for name, value in os.environ.items() if name != "DLT_PROJECT_DIR"}
    environment["DAGSTER_HOME"] = str(home)
    return subprocess.run(command, cwd=elsewhere, env=environment, capture_output=True, text=True, check=False)


def ids(database: Path, resource: str) -> list[object]:
    with duckdb.connect(str(database)) as connection:
        return [row[0] for row in connection.execute(f"SELECT id FROM analytics.{resource} ORDER BY id").fetchall()]


@pytest.fixture
def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "cli.duckdb"
    monkeypatch.setenv("DESTINATION__DUCKDB__CREDENTIALS", str(path))
    return path


def test_dagster_asset_materialize_from_another_directory(api: FakeApi, database: Path, tmp_path: Path) -> None:
    result = run(
        tmp_path, f"{BIN}/dagster", "asset", "materialize", "--select", "*", "-m", "analytics_assets.definitions"
    )
    assert result.returncode == 0, result.stdout + result.stderr
    for resource, rows in api.rows.items():
        assert ids(database, resource) == [row["id"] for row in rows]
    assert list((tmp_path / "elsewhere").iterdir()) == []
    # DuckDB's binding tells of its objects that outlive Python.
    assert "leaked" not in result.stderr


def test_sync_prints_a_table_and_the_next_step(api: FakeApi, database: Path, tmp_path: Path) -> None:
    result = run(tmp_path, sys.executable, "-m", "analytics_assets", "sync")
    assert result.returncode == 0, result.stdout + result.stderr
    for resource in PATHS:
        [line] = [line for line in result.stdout.splitlines() if f" {resource} " in line]
        assert f" {len(api.rows[resource])} " in line
        assert "materialized" in line
    assert "make dev" in result.stdout


def test_the_demo_says_nothing_of_pages_that_were_asked_for_ahead_in_vain(database: Path, tmp_path: Path) -> None:
    result = run(tmp_path, sys.executable, "-m", "analytics_assets", "sync")
    assert result.returncode == 0, result.stdout + result.stderr
    assert "Traceback" not in result.stdout + result.stderr


def test_sync_says_what_failed_and_why(api: FakeApi, database: Path, tmp_path: Path) -> None:
    api.answer_always("groups", Answer(401))
    result = run(tmp_path, sys.executable, "-m", "analytics_assets", "sync")
    assert result.returncode == 1
    [line] = [line for line in result.stdout.splitlines() if " groups " in line]
    assert "failed" in line
    assert "check sources.analytics.api_key" in " ".join(result.stdout.split())


def test_a_token_that_the_api_echoes_in_every_failure_is_in_no_output_and_no_file(
    api: FakeApi, database: Path, tmp_path: Path
) -> None:
    echo = f"Authorization: Bearer {TOKEN}"
    api.answer_always("organizations", Answer(401, {"error": echo}))
    api.answer_always("policies", Answer(400, {"error": echo}))
    api.answer_always("activities", Answer(503, {"error": echo}))
    api.answer_always("automation_scripts", Answer(body=f"<html>{echo}</html>".encode()))
    api.answer_always("groups", Answer(body={echo: []}))
    api.answer_always("locations", Answer(body={"data": [{"id": 1, "name": echo}] * 2}))
    api.answer_always("roles", Answer(body={"data": [{"id": 1, "created": TOKEN}]}))
    api.answer_always("software_products", Answer(body={"data": [{"id": None, echo: echo}]}))
    result = run(
        tmp_path, f"{BIN}/dagster", "asset", "materialize", "--select", "*", "-m", "analytics_assets.definitions"
    )

    assert result.returncode != 0
    assert "All 8 resources failed." in result.stdout + result.stderr
    assert TOKEN not in result.stdout + result.stderr
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert any(path.suffix == ".db" for path in written)
    assert [path for path in written if TOKEN.encode() in path.read_bytes()] == []
