"""Who can read what is written, and what a terminal gets to see of values."""

import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb
import pytest

from analytics_assets_tests.servers.fake_api import TOKEN, Answer, FakeApi
from analytics_assets_tests.support.commands import COMMANDS_OF_EIGHT, run
from analytics_assets_tests.support.project import Project, failure_message
from analytics_assets_tests.support.rows import role

ANSI = "\x1b[31mred\x1b]0;title\x07\x9b1m\u202e"
RAW = (b"\x1b[31mred", b"\x1b]0;", b"\x07", b"\xc2\x9b", b"\xe2\x80\xae")


@contextmanager
def umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("mask", [0o000, 0o022, 0o077])
def test_a_new_warehouse_is_its_owners_alone_whatever_the_umask(api: FakeApi, project: Project, mask: int) -> None:
    with umask(mask):
        project.sync("roles")
        assert os.umask(mask) == mask
    assert mode(project.database) == 0o600


def test_the_directory_of_the_default_warehouse_is_its_owners_alone(
    api: FakeApi, project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DESTINATION__DUCKDB__CREDENTIALS")
    with umask(0):
        project.sync("roles")
    data = tmp_path / "project" / "data"
    assert (mode(data), mode(data / "warehouse.duckdb")) == (0o700, 0o600)


def test_a_warehouse_that_somebody_has_opened_to_others_stays_so_and_its_log_is_like_it(
    api: FakeApi, project: Project
) -> None:
    project.sync("roles")
    project.database.chmod(0o640)
    script = """
import os, sys
from pathlib import Path
from analytics_assets.warehouse.duckdb_file import open_duckdb
path = Path(sys.argv[1])
with open_duckdb(path, 1, "96MB", print) as connection:
    connection.execute("SET checkpoint_threshold = '1GB'; CREATE TABLE x AS SELECT 1 AS one")
    print(oct(path.with_name(path.name + ".wal").stat().st_mode & 0o777), oct(path.stat().st_mode & 0o777))
"""
    with umask(0):
        shown = subprocess.run(
            [sys.executable, "-c", script, str(project.database)], capture_output=True, text=True, check=True
        )
    assert shown.stdout.split() == ["0o640", "0o640"]


@pytest.mark.parametrize(("told", "expected"), [(None, 0o600), ("027", 0o640)])
def test_the_history_of_the_command_line_is_its_owners_alone_unless_it_is_told_otherwise(
    api: FakeApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told: str | None, expected: int
) -> None:
    database = tmp_path / "cli.duckdb"
    monkeypatch.setenv("DESTINATION__DUCKDB__CREDENTIALS", str(database))
    if told:
        monkeypatch.setenv("UMASK", told)
    with umask(0):
        result = run(tmp_path, *COMMANDS_OF_EIGHT, "sync")
    assert result.returncode == 0, result.stdout + result.stderr
    written = [path for path in (tmp_path / "dagster").rglob("*") if path.is_file()]
    assert any(path.name == "runs.db" for path in written)
    assert {mode(path) for path in (*written, database)} == {expected}


def test_a_wrong_umask_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UMASK", "rw-")
    result = run(tmp_path, *COMMANDS_OF_EIGHT, "check")
    assert result.stderr.strip() == "UMASK = 'rw-' is no octal number such as 077, the default, or 027."


@pytest.mark.parametrize("destination", ["duckdb", "postgres"])
@pytest.mark.parametrize("command", ["sync", "check"])
def test_no_value_of_the_api_commands_the_terminal_or_a_log(
    api: FakeApi,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    postgres: str,
    destination: str,
    command: str,
) -> None:
    monkeypatch.setenv("DESTINATION_TYPE", destination)
    monkeypatch.setenv("DESTINATION__POSTGRES__CREDENTIALS", postgres)
    monkeypatch.setenv("DESTINATION__DUCKDB__CREDENTIALS", str(tmp_path / "ansi.duckdb"))
    api.rows["roles"] = [role(1, description=f"a\x00{ANSI}", **{f"new{ANSI}": ANSI})]
    api.rows["groups"] = [{"id": 1, "updated": ANSI}]
    api.rows["policies"] = [{"id": f"{ANSI}key", "updated": "2024-01-01T00:00:00Z", "name": ANSI}]
    api.rows["locations"] = [{"id": 2**64, "name": ANSI}]
    api.answer_always("organizations", Answer(400, body=ANSI.encode(), headers={"Content-Type": "text/\xa0x"}))
    api.answer_always("activities", Answer(body={"data": [], ANSI: 1}))
    api.answer_always("software_products", Answer(302, headers={"Location": "http://elsewhere.example/\x9b1m"}))
    result = run(tmp_path, *COMMANDS_OF_EIGHT, command)
    shown = (result.stdout + result.stderr).encode()
    assert b"organizations" in shown
    logs = b"".join(path.read_bytes() for path in (tmp_path / "dagster").rglob("*") if path.suffix in {".out", ".err"})
    assert [raw for raw in RAW if raw in shown + logs] == []


def test_a_name_that_is_no_text_for_a_terminal_is_spelled_out(api: FakeApi, project: Project) -> None:
    api.rows["groups"] = [{"id": ANSI}]
    message = failure_message(project.run("groups"))
    assert "\\u001b[31mred" in message
    assert message.replace("\n", "").isprintable()


@pytest.mark.parametrize(
    "value",
    [
        r"@\|![x](http://x/y.png)",
        "http://x.example/a",
        "see https://x.example",
        "www.x.example",
        "a@x.example",
        "MAILTO:a@x.example",
        "ftp://x",
    ],
)
def test_a_value_that_looks_like_a_link_is_shown_as_code(api: FakeApi, project: Project, value: str) -> None:
    api.rows["roles"] = [role(1, name=f"{value} `b` | c")]
    result = project.sync("roles")
    [event] = result.get_asset_materialization_events()
    preview = str(event.materialization.metadata["preview"].value)
    shown = f"{value} `b` | c"[:40].replace("|", "¦")
    assert f"`` {shown}" in preview
    assert preview.count("|") == preview.replace("¦", "").count("|")
    with duckdb.connect(str(project.database)) as connection:
        assert connection.execute("SELECT name FROM analytics.roles").fetchone() == (f"{value} `b` | c",)
    assert TOKEN not in preview
