"""What a sync shows on a terminal."""

import io
import os
import pty
import subprocess
import threading
from pathlib import Path
from time import monotonic

import pytest
from rich.console import Console

from analytics_assets.api.stats import SyncStats, Wait
from analytics_assets.defs.display import progress
from analytics_assets.defs.display.terminal import LiveProgress
from analytics_assets.demo.exchange import Request
from analytics_assets_tests.servers.fake_api import PATHS, FakeApi
from analytics_assets_tests.support.commands import COMMANDS_OF_EIGHT
from analytics_assets_tests.support.dagster_dev import PATIENCE
from analytics_assets_tests.support.holder import holding


def test_a_terminal_shows_the_wait_for_the_file_the_resources_live_and_then_the_table(
    api: FakeApi, tmp_path: Path
) -> None:
    shown, screen, given_up = bytearray(), threading.Condition(), threading.Event()

    def is_on_screen(text: bytes) -> bool:
        with screen:
            return screen.wait_for(lambda: text in shown, PATIENCE)

    def slow(request: Request) -> None:
        if not given_up.is_set() and not is_on_screen(b"reading"):
            given_up.set()

    def read(terminal: int) -> None:
        # Linux tells the end of a terminal by an error.
        try:
            while data := os.read(terminal, 4096):
                with screen:
                    shown.extend(data)
                    screen.notify_all()
        except OSError:
            pass

    api.faults["organizations"].append(slow)
    ours, theirs = pty.openpty()
    environment = {**os.environ, "DAGSTER_HOME": str(tmp_path), "TERM": "xterm-256color", "COLUMNS": "80"}
    environment["DESTINATION__DUCKDB__CREDENTIALS"] = str(database := tmp_path / "terminal.duckdb")
    reader = threading.Thread(target=read, args=(ours,), daemon=True)
    reader.start()
    with holding(database):
        process = subprocess.Popen(
            [*COMMANDS_OF_EIGHT, "sync"], stdin=theirs, stdout=theirs, stderr=theirs, env=environment
        )
        os.close(theirs)
        assert is_on_screen(b"Waiting for the DuckDB file")
        assert is_on_screen(b"s so far)")
    assert process.wait(PATIENCE) == 0
    reader.join()
    os.close(ours)
    text = shown.decode()
    assert "queued" in text
    # Nothing is cut.
    assert "…" not in text
    assert text.count("materialized") >= len(PATHS)
    assert text.index("reading") < text.rindex("Rows loaded")


@pytest.mark.parametrize(
    ("width", "says"),
    [
        (40, ["47 rows, 39%", "47 rows, waiting 60", "materialized", "queued"]),
        (60, ["47 rows, 39%, about 73 s left", "47 rows, waiting 60 s for its turn", "materialized", "queued"]),
        (80, ["reading      47 rows, 39%, about 73 s left", "reading      47 rows, wait", "materialized 47", "queued"]),
    ],
)
def test_as_much_is_shown_of_each_resource_as_fits(width: int, says: list[str]) -> None:
    run, now = progress.Progress([], print, {}), monotonic()
    for name in ("left", "waits", "over", "queued"):
        stats = SyncStats(rows_read=47, waits=[Wait("its turn", now + 60)] if name == "waits" else [])
        run.stages[name] = progress.Stage(name, stats, 120, began=0 if name == "queued" else now - 47)
    run.stages["over"].outcome = progress.MATERIALIZED
    shown = io.StringIO()
    live = LiveProgress(width=width, console=Console(file=shown, width=width), expand=True)
    live.follow(run)
    live.console.print(*live.get_renderables())
    lines = [
        line.removeprefix(name.ljust(19)) for name, line in zip(run.stages, shown.getvalue().splitlines(), strict=False)
    ]
    for line, begin in zip(lines, says, strict=True):
        assert line.startswith(begin)
    assert shown.getvalue().count("…") <= 1
