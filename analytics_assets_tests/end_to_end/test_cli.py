"""The command lines that people use, in processes of their own."""

import re
import signal
import threading
import time
from pathlib import Path

import pytest

from analytics_assets.demo.exchange import Request
from analytics_assets_tests.servers.fake_api import TOKEN, Answer, FakeApi
from analytics_assets_tests.support.commands import COMMANDS, EIGHT, SHIPPED, materialize, run, start
from analytics_assets_tests.support.shipped import RESOURCES, keys, loaded_keys


@pytest.fixture
def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "cli.duckdb"
    monkeypatch.setenv("DESTINATION__DUCKDB__CREDENTIALS", str(path))
    return path


def test_dagster_asset_materialize_from_another_directory(shipped_api: FakeApi, database: Path, tmp_path: Path) -> None:
    result = run(tmp_path, *materialize("*", SHIPPED))
    assert result.returncode == 0, result.stdout + result.stderr
    for resource in RESOURCES:
        assert loaded_keys(database, resource) == keys(resource, shipped_api.rows[resource])
    assert list((tmp_path / "elsewhere").iterdir()) == []
    # DuckDB's binding tells of its objects that outlive Python.
    assert "leaked" not in result.stderr


def test_sync_prints_a_table_what_it_cost_and_the_next_step(
    shipped_api: FakeApi, database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # More are asked for ahead of the end, in vain, as time allows.
    monkeypatch.setenv("SOURCES__ANALYTICS__REQUESTS_IN_FLIGHT", "1")
    result = run(tmp_path, *COMMANDS, "sync")
    assert result.returncode == 0, result.stdout + result.stderr
    for resource in RESOURCES:
        [line] = [line for line in result.stdout.splitlines() if f" {resource} " in line]
        assert f" {len(shipped_api.rows[resource])} " in line
        assert "materialized" in line
    rows = sum(len(shipped_api.rows[resource]) for resource in RESOURCES)
    assert f"\n{rows:,} rows loaded, {rows:,} read in {len(shipped_api.requests)} requests.\n" in result.stdout
    assert "make dev" in result.stdout
    asked = len(shipped_api.requests)
    again = run(tmp_path, *COMMANDS, "sync")
    assert re.search(
        rf"^Nothing new: 0 rows loaded, [\d,]+ read in {len(shipped_api.requests) - asked} requests\.$",
        again.stdout,
        re.MULTILINE,
    )


def test_a_sync_of_the_demo_prints_no_traceback(database: Path, tmp_path: Path) -> None:
    result = run(tmp_path, *COMMANDS, "sync")
    assert result.returncode == 0, result.stdout + result.stderr
    assert "Traceback" not in result.stdout + result.stderr


def test_sync_says_what_failed_and_why_in_forty_columns_too(
    shipped_api: FakeApi, database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    shipped_api.answer_always(RESOURCES[-1], Answer(401))
    result = run(tmp_path, *COMMANDS, "sync")
    assert result.returncode == 1
    lines = result.stdout.splitlines()
    for resource in RESOURCES:
        [line] = [line.split() for line in lines if line.startswith(f" {resource} ")]
        rows = str(len(shipped_api.rows[resource]))
        assert line == [resource, *(["failed"] if resource == RESOURCES[-1] else [rows, rows])]
    assert [line for line in lines if len(line) > 40] == []
    assert "check sources.analytics.api_key" in " ".join(result.stdout.split())
    assert "Steps failed" not in result.stdout


@pytest.mark.parametrize(
    ("line", "arguments", "stdout", "stderr"),
    [
        (
            'exec "$@" > /dev/full',
            ["dev", "--port", "65536"],
            "",
            "The output cannot be written: No space left on device.",
        ),
        ('exec "$@" 2>&-', ["dev", "--port", "65536"], "--port 65536 is no port: ports are numbers", ""),
        ('DAGSTER_HOME=/dev/null exec "$@"', ["sync"], "", "DAGSTER_HOME = '/dev/null' is no directory. Make it"),
    ],
    ids=["full disk", "closed stderr", "no home"],
)
def test_what_a_shell_gets_wrong_is_one_sentence(
    tmp_path: Path, line: str, arguments: list[str], stdout: str, stderr: str
) -> None:
    result = run(tmp_path, "sh", "-c", line, "sh", *COMMANDS, *arguments)
    assert result.returncode == 1
    assert result.stdout.startswith(stdout)
    assert result.stderr.startswith(stderr)
    assert (result.stdout + result.stderr).count("\n") == 1


def test_a_configured_catalog_is_that_of_the_commands(
    database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCES__ANALYTICS__RESOURCES", RESOURCES[0])
    dropped = run(tmp_path, *COMMANDS, "drop", RESOURCES[1])
    assert dropped.returncode == 1
    assert f"{RESOURCES[1]} is switched off by sources.analytics.resources, and its table stays" in dropped.stderr
    monkeypatch.setenv("ALERTS__WEBHOK_URL", "canary-7f3a")
    misspelled = run(tmp_path, *COMMANDS, "check")
    assert misspelled.returncode == 1
    assert misspelled.stderr.startswith(
        "alerts.webhok_url is no setting (did you mean 'webhook_url'?). Correct the key"
    )
    assert "canary" not in misspelled.stderr
    monkeypatch.setenv("SOURCES__ANALYTICS__HASHED", f"{RESOURCES[0]}.nothing_of_the_sort")
    wrong = run(tmp_path, *COMMANDS, "sync")
    assert wrong.returncode == 1
    assert wrong.stderr.startswith("sources.analytics.hashed = ")
    assert "Traceback" not in wrong.stderr


@pytest.mark.parametrize("command", ["sync", "check"])
def test_a_secret_in_the_file_that_git_keeps_is_refused_by_its_name(
    api: FakeApi, database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    file = tmp_path / "project" / ".dlt" / "config.toml"
    file.parent.mkdir(parents=True)
    file.write_text('[sources.analytics]\napi_key = "canary-7f3a"\n')
    monkeypatch.delenv("SOURCES__ANALYTICS__API_KEY")
    project = f"DLT_PROJECT_DIR={tmp_path / 'project'}"
    result = run(tmp_path, "env", project, *COMMANDS, command)
    assert result.returncode == 1
    said = " ".join((result.stdout + result.stderr).split())
    assert "sources.analytics.api_key is a secret, but config.toml contains it. Move it to .dlt/secrets.toml" in said
    assert "canary" not in said
    assert not api.requests


@pytest.mark.parametrize("command", ["sync", "check"])
@pytest.mark.parametrize("name", ["config.toml", "secrets.toml"])
def test_a_file_that_is_no_toml_is_one_sentence_with_the_place(
    api: FakeApi, database: Path, tmp_path: Path, command: str, name: str
) -> None:
    file = tmp_path / "project" / ".dlt" / name
    file.parent.mkdir(parents=True)
    file.write_text('[sources.analytics]\napi_key = "canary-7f3a"\npage_size = sixty-canary\n')
    project = f"DLT_PROJECT_DIR={tmp_path / 'project'}"
    result = run(tmp_path, "env", project, *COMMANDS, command)
    assert result.returncode == 1
    said = f"{file} cannot be read as TOML: Unexpected character: 's' at line 3 col 12. Correct it there."
    assert result.stderr.splitlines()[-1] == said
    assert "Traceback" not in result.stdout + result.stderr
    assert "canary" not in result.stdout + result.stderr
    assert api.requests == []


@pytest.mark.parametrize("command", ["sync", "check"])
@pytest.mark.parametrize("resource", [RESOURCES[0], RESOURCES[-1]])
def test_ctrl_c_ends_a_command_with_one_sentence(
    shipped_api: FakeApi, database: Path, tmp_path: Path, command: str, resource: str
) -> None:
    over, waiting = threading.Event(), threading.Event()

    def stall(_: Request) -> None:
        waiting.set()
        over.wait()

    shipped_api.faults[resource].append(stall)
    process = start(tmp_path, *COMMANDS, command)
    try:
        assert waiting.wait(timeout=60)
        # Until the resources before it are done, or about: it may come at any moment.
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate(timeout=30)
    finally:
        over.set()
        process.kill()
        process.communicate()
    assert process.returncode == 130
    said = stderr.splitlines()[-1]
    # No task or event loop complains, either.
    assert not [word for word in ("Traceback", "destroyed", "closed") if word in stdout + stderr]
    assert "failed" not in stdout
    if command == "check":
        assert said == "Ended by Ctrl-C: this command loads nothing."
    else:
        assert re.fullmatch(
            "Ended by Ctrl-C: (nothing new is loaded|.* loaded. That stays), and the next sync .*", said
        )
        shipped_api.faults[resource].clear()
        assert run(tmp_path, *COMMANDS, "sync").returncode == 0
        assert loaded_keys(database, resource) == keys(resource, shipped_api.rows[resource])


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
    api.answer_always("roles", Answer(body={"data": [{"id": TOKEN}]}))
    api.answer_always("software_products", Answer(body={"data": [{"id": None, echo: echo}]}))
    result = run(tmp_path, *materialize("*", EIGHT))

    assert result.returncode != 0
    assert "All 8 resources failed." in result.stdout + result.stderr
    assert TOKEN not in result.stdout + result.stderr
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert any(path.suffix == ".db" for path in written)
    assert [path for path in written if TOKEN.encode() in path.read_bytes()] == []
