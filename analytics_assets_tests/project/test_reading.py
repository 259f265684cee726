"""The recipes of docs/operations.md for reading the tables, each run as it stands there."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from analytics_assets.api.settings_reader import read_settings
from analytics_assets.warehouse.session import open_session
from analytics_assets.warehouse.sync import begin_sync, sync
from analytics_assets.warehouse.target import read_target
from analytics_assets_tests.servers.fake_api import TOKEN, serve
from analytics_assets_tests.support.checkout import CHECKOUT
from analytics_assets_tests.support.eight import EIGHT, NAMES
from analytics_assets_tests.support.environment import CONFIGURED_BY
from analytics_assets_tests.support.needs import absent
from analytics_assets_tests.support.rows import small_rows

DOCUMENT = (CHECKOUT / "docs" / "operations.md").read_text(encoding="utf-8")

# Root may open any file for writing, unless it gives up that right (CAP_DAC_OVERRIDE).
BOUND = "import ctypes, os, sys; ctypes.CDLL(None).prctl(24, 1, 0, 0, 0); os.execvp(sys.argv[1], sys.argv[1:])"

DBT_PROJECT = "name: models\nprofile: warehouse\nmodels: {models: {+materialized: table}}\n"

KEYS = """
import host
[found] = [spec for spec in host.defs.resolve_all_asset_specs() if spec.key.path[-1] == "custom_roles"]
print([dependency.asset_key.path for dependency in found.deps])
"""


def recipes(heading: str) -> list[str]:
    """The blocks of code under a heading."""
    [section] = re.findall(rf"^#### {re.escape(heading)}\n(.*?)^##", DOCUMENT, re.DOTALL | re.MULTILINE)
    return re.findall(r"^```\w*\n(.*?)^```$", section, re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the packages that the recipes say to install."""
    uv = os.environ.get("UV") or shutil.which("uv") or str(Path(sys.executable).with_name("uv"))
    target = tmp_path_factory.mktemp("packages")
    requirements = Path(__file__).with_name("reading_requirements.txt")
    command = [uv, "pip", "install", "--quiet", "--python", sys.executable, "--no-deps", "--target", str(target)]
    try:
        subprocess.run([*command, "-r", str(requirements)], check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError) as error:
        absent(f"the packages of {requirements.name} cannot be installed: {getattr(error, 'stderr', error)}")
    return target


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a project after a sync."""
    path = tmp_path_factory.mktemp("project")
    with serve() as api, pytest.MonkeyPatch.context() as environment:
        for name in list(os.environ):
            if name.startswith(CONFIGURED_BY):
                environment.delenv(name)
        environment.setenv("DLT_PROJECT_DIR", str(path))
        api.rows = small_rows()
        settings = read_settings(EIGHT, base_url=api.url, api_key=TOKEN)
        wanted = [EIGHT.by_name[name] for name in ("organizations", "roles")]
        with open_session(settings, read_target(settings)) as session, begin_sync(session, wanted) as pending:
            for each in pending:
                sync(each, session)
    return path


def run(command: str, directory: Path, packages: Path | None = None, script: str | None = None) -> str:
    """Runs a command of a shell, or a script, where permissions bind also root. Returns what it prints."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(CONFIGURED_BY)}
    environment["PATH"] = f"{packages}/bin:{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment["PYTHONPATH"] = f"{packages or ''}:{CHECKOUT}"
    environment["DLT_DATA_DIR"] = str(directory / "dlt")
    environment |= {"DO_NOT_TRACK": "1", "RUNTIME__DLTHUB_TELEMETRY": "false", "NO_COLOR": "1"}
    given = [sys.executable, "-c", script] if script else ["sh", "-ec", command]
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", BOUND, *given],
        cwd=directory,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_notebook(directory: Path) -> None:
    [recipe] = recipes("Notebook")
    assert run("", directory, script=recipe) == "45\n"


def test_duckdbs_command_line(directory: Path, packages: Path) -> None:
    [recipe] = recipes("DuckDB's command line")
    assert "│            3 │" in run(recipe, directory, packages)
    # As the document says of programs that open files for writing.
    careless = run(f"{recipe.replace('-readonly', '').strip()} 2>&1 || true", directory, packages)
    assert "Permission denied" in careless
    assert "`Permission denied`" in DOCUMENT


def test_dlt(directory: Path) -> None:
    dataset, pipeline = recipes("dlt")
    assert run("", directory, script=dataset) == f"{[(n, f'Role {n}') for n in (1, 2, 3)]}\n"
    said = run(pipeline, directory)
    assert "roles with 1 table(s)" in said
    assert "2024-05-01" in said


def test_bi(directory: Path, packages: Path) -> None:
    [recipe] = recipes("BI")
    assert run("", directory, packages, recipe) == "45\n"


def test_dbt_builds_models_behind_the_assets(directory: Path, packages: Path) -> None:
    profiles, sources, model, command, host = recipes("dbt")
    project = directory / "models"
    (project / "models").mkdir(parents=True)
    for name, text in {
        "dbt_project.yml": DBT_PROJECT,
        "profiles.yml": profiles,
        "models/sources.yml": sources,
        "models/custom_roles.sql": model,
        "../host.py": host,
    }.items():
        (project / name).write_text(text, encoding="utf-8")
    # The script in `bin` would have the directory of another Python in its first line.
    assert "PASS=1" in run(
        command.replace("dbt ", "python -c 'from dbt.cli.main import cli; cli()' "), project, packages
    )
    models = "import duckdb; print(duckdb.connect('data/models.duckdb').sql('FROM custom_roles').fetchall())"
    assert run("", directory, script=models) == f"{[(n, f'Role {n}') for n in (1, 2, 3)]}\n"
    assert run("", directory, packages, KEYS) == f"{[NAMES.asset_key('roles').path]}\n"
