"""The command lines that people use, in processes of their own."""

import os
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest

from analytics_assets_tests.fake_api import PATHS, Answer, FakeApi

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


def test_sync_prints_a_table_and_the_next_step(api: FakeApi, database: Path, tmp_path: Path) -> None:
    result = run(tmp_path, sys.executable, "-m", "analytics_assets", "sync")
    assert result.returncode == 0, result.stdout + result.stderr
    for resource in PATHS:
        [line] = [line for line in result.stdout.splitlines() if f" {resource} " in line]
        assert f" {len(api.rows[resource])} " in line
        assert "materialized" in line
    assert "make dev" in result.stdout


def test_sync_says_what_failed_and_why(api: FakeApi, database: Path, tmp_path: Path) -> None:
    api.answer_always("groups", Answer(401))
    result = run(tmp_path, sys.executable, "-m", "analytics_assets", "sync")
    assert result.returncode == 1
    [line] = [line for line in result.stdout.splitlines() if " groups " in line]
    assert "failed" in line
    assert "check sources.analytics.api_key" in " ".join(result.stdout.split())
