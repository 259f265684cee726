"""A wheel that is installed elsewhere does what the checkout does."""

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import duckdb
import pytest

from analytics_assets_tests.support.checkout import CHECKOUT
from analytics_assets_tests.support.environment import CONFIGURED_BY
from analytics_assets_tests.support.needs import absent
from analytics_assets_tests.support.shipped import RESOURCES


@pytest.fixture
def python(tmp_path: Path) -> Path:
    """The Python of an environment of its own, with the wheel, and for all else with the packages of the tests."""
    uv = os.environ.get("UV") or shutil.which(
        "uv", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    )
    if uv is None:
        absent("uv is not installed")

    def run(*command: str) -> None:
        result = subprocess.run([str(uv), *command], capture_output=True, text=True, check=False)
        if result.returncode and "hatchling" in result.stderr:
            absent(f"The wheel cannot be built: {result.stderr}")
        assert result.returncode == 0, result.stderr

    wheels, venv = tmp_path / "wheels", tmp_path / "venv"
    run("build", "--quiet", "--wheel", "--out-dir", str(wheels), str(CHECKOUT))
    run("venv", "--quiet", "--python", sys.executable, str(venv))
    python = venv / "bin" / "python"
    run("pip", "install", "--quiet", "--no-deps", "--python", str(python), *map(str, wheels.glob("*.whl")))
    [site] = venv.glob("lib/*/site-packages")
    (site / "others.pth").write_text(sysconfig.get_path("purelib"), encoding="utf-8")
    return python


def test_the_first_sync_needs_no_file_and_no_variable(python: Path, tmp_path: Path) -> None:
    home, project = tmp_path / "home", tmp_path / "empty"
    home.mkdir()
    project.mkdir()
    inherited = {name: value for name, value in os.environ.items() if not name.startswith((*CONFIGURED_BY, "PYTHON"))}
    result = subprocess.run(
        [python, "-m", "analytics_assets", "sync"],
        cwd=project,
        env={**inherited, "HOME": str(home)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stderr == ""
    # There is no Makefile.
    assert "Next: python -m analytics_assets dev opens " in result.stdout
    assert result.stdout.count("materialized") == len(RESOURCES)
    assert f"Dagster's history is in {project / '.dagster'}" in " ".join(result.stdout.split())
    assert (project / ".dagster" / "dagster.yaml").read_bytes() == (CHECKOUT / "dagster.yaml").read_bytes()
    with duckdb.connect(str(project / "data" / "demo.duckdb"), read_only=True) as connection:
        assert {(name,) for name in RESOURCES} <= set(
            connection.execute("SELECT table_name FROM duckdb_tables() WHERE schema_name = 'analytics'").fetchall()
        )
    # Neither dlt nor Dagster has made an id of this machine for its telemetry.
    assert not [path for path in (*home.rglob("*"), *project.rglob("*")) if "anonymous" in path.name]
    assert not [path for path in (*home.rglob("*"), *project.rglob("*")) if "telemetry" in path.name]
