"""What a sync shows on a terminal."""

import os
import pty
import subprocess
import threading
from pathlib import Path

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
    assert process.wait(PATIENCE) == 0
    reader.join()
    os.close(ours)
    text = shown.decode()
    assert "queued" in text
    # Nothing is cut.
    assert "…" not in text
    assert text.count("materialized") >= len(PATHS)
    assert text.index("reading") < text.rindex("Rows loaded")
