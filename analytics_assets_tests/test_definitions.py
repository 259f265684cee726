"""What Dagster sees of the project."""

import ast
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import tomlkit
import yaml

from analytics_assets.api.connector import SHIPPED
from analytics_assets.definitions import defs
from analytics_assets_tests.support.checkout import CHECKOUT

NO_NETWORK = """
import socket, sys
def refuse(*args, **kwargs):
    raise AssertionError("definitions opened a socket")
socket.socket.connect = socket.socket.bind = socket.create_connection = refuse
from analytics_assets.definitions import defs
defs().get_repository_def()
needless = {"duckdb", "pyarrow", "pyreqwest"} & set(sys.modules)
assert not needless, f"definitions need no {needless}"
print("loaded")
"""


def test_definitions_load_with_an_empty_environment_no_network_and_nothing_written(tmp_path: Path) -> None:
    home, elsewhere = tmp_path / "home", tmp_path / "elsewhere"
    home.mkdir()
    elsewhere.mkdir()
    environment = {"HOME": str(home), "DLT_DATA_DIR": str(home / "dlt"), "PYTHONDONTWRITEBYTECODE": "1"}
    before = sorted(path for path in CHECKOUT.glob("*") if path.name != "__pycache__")
    result = subprocess.run(
        [sys.executable, "-c", NO_NETWORK], cwd=elsewhere, env=environment, capture_output=True, text=True, check=False
    )
    assert result.stdout.strip() == "loaded", result.stderr
    assert list(home.iterdir()) == list(elsewhere.iterdir()) == []
    assert sorted(path for path in CHECKOUT.glob("*") if path.name != "__pycache__") == before


def test_definitions_are_built_once_for_what_is_configured(monkeypatch: pytest.MonkeyPatch) -> None:
    def resource() -> object:
        return (defs().resources or {})[SHIPPED.name]

    assert resource() is resource()
    monkeypatch.setenv("SCHEDULES__ANALYTICS_SYNC", "7 * * * *")
    assert defs().resolve_schedule_def(f"{SHIPPED.name}_sync").cron_schedule == "7 * * * *"


def test_workspace_and_project_file_name_the_same_location() -> None:
    pyproject = tomlkit.parse((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8")).unwrap()
    project = pyproject["tool"]["dg"]["project"]
    workspace = yaml.safe_load((CHECKOUT / "workspace.yaml").read_text(encoding="utf-8"))
    [entry] = workspace["load_from"]
    assert entry["python_module"]["module_name"] == project["code_location_target_module"]
    assert entry["python_module"]["location_name"] == project["code_location_name"] == "analytics_assets"


def test_the_deprecated_package_is_imported_in_one_module() -> None:
    importing = [
        path.relative_to(CHECKOUT).as_posix()
        for path in (CHECKOUT / "analytics_assets").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("dagster_embedded_elt")
    ]
    assert importing in ([], ["analytics_assets/defs/assets/assets.py"])


@pytest.mark.parametrize(
    "command",
    [
        ["dagster", "definitions", "validate"],
        ["dagster", "definitions", "validate", "-w", "workspace.yaml"],
        ["dg", "check", "defs"],
    ],
    ids=" ".join,
)
def test_the_command_lines_accept_the_project(command: list[str], tmp_path: Path) -> None:
    executable = Path(sys.executable).with_name(command[0])
    environment: dict[str, Any] = {**os.environ, "DAGSTER_HOME": str(tmp_path), "DG_TELEMETRY_DISABLED": "1"}
    result = subprocess.run(
        [str(executable), *command[1:]], cwd=CHECKOUT, env=environment, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert "analytics_assets" in result.stdout + result.stderr or command[0] == "dg"


def test_what_dg_scaffolds_is_loaded_beside_the_rest(tmp_path: Path) -> None:
    copy, home = tmp_path / "checkout", tmp_path / "home"
    home.mkdir()
    shutil.copytree(
        CHECKOUT / "analytics_assets", copy / "analytics_assets", ignore=shutil.ignore_patterns("__pycache__")
    )
    shutil.copy(CHECKOUT / "pyproject.toml", copy)

    def dg_cli(*arguments: str) -> str:
        environment = {**os.environ, "DAGSTER_HOME": str(home), "DG_TELEMETRY_DISABLED": "1", "PYTHONPATH": str(copy)}
        command = [str(Path(sys.executable).with_name("dg")), *arguments]
        result = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stdout + result.stderr
        return result.stdout

    dg_cli("scaffold", "defs", "dagster.asset", "mine.py")
    dg_cli("scaffold", "defs", "dagster.schedule", "nightly.py")
    # A file that uses the project's own definitions names the module: an imported `defs` would be loaded once more.
    uses = "import analytics_assets.definitions as project\n\nNAMES = project.project_names()\n"
    (copy / "analytics_assets" / "own" / "uses.py").write_text(uses, encoding="utf-8")
    listed = json.loads(dg_cli("list", "defs", "--json"))
    assert {"mine", "analytics/roles"} <= {asset["asset_key"] for asset in listed["assets"]}
    assert {"nightly", "analytics_sync"} <= {schedule["name"] for schedule in listed["schedules"]}
