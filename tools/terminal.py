"""A command in a terminal of 80 columns, and pictures of what it shows."""

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from io import StringIO

from playwright.sync_api import Page
from rich.console import Console
from rich.text import Text

from analytics_assets_tests.support.dagster_dev import PATIENCE

COLUMNS, LINES = 80, 24
CTRL_C = b"\x03"
ERASED = re.compile(r"\x1b\[2K|\x1b\[1A|\x1b\[\?25[hl]|\r")
"""What the live table sends before it is drawn anew."""


@dataclass(frozen=True)
class Shown:
    """What a command showed."""

    status: int
    """Its exit status."""
    live: str
    """The live table at the moment when Ctrl-C was pressed; empty if it was not."""
    last: str
    """What stays at its end."""


def show(command: str, environment: Mapping[str, str], interrupt: Callable[[str], bool] | None = None) -> Shown:
    """Runs a command of the command line in a terminal.

    Args:
        command: `sync` or `check`.
        environment: Its variables.
        interrupt: Called with what the terminal shows; Ctrl-C is pressed once it returns `True`.
    """
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))
    process = subprocess.Popen(
        [sys.executable, "-m", "analytics_assets", command],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**environment, "TERM": "xterm-256color"},
        start_new_session=True,
        # Ctrl-C reaches the processes of the terminal that they belong to.
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509 - it makes one system call
    )
    os.close(theirs)
    output, live, deadline = b"", "", time.monotonic() + PATIENCE
    try:
        while data := _read(ours, deadline):
            output += data
            if interrupt and not live and interrupt(screen := _screen(output)):
                live = screen
                os.write(ours, CTRL_C)
        return Shown(process.wait(PATIENCE), live, _screen(output))
    finally:
        process.kill()
        process.wait()
        os.close(ours)


def picture(page: Page, text: str, title: str) -> bytes:
    """What a terminal shows, as PNG."""
    console = Console(record=True, width=COLUMNS, file=StringIO(), force_terminal=True)
    console.print(Text.from_ansi(text))
    page.set_content(f"<body style='margin: 0'>{console.export_svg(title=title)}</body>")
    page.locator("svg").evaluate("element => element.style.width = '900px'")
    return page.locator("svg").screenshot()


def _read(terminal: int, deadline: float) -> bytes:
    """What comes next; nothing at the end, which Linux tells by an error, and after the deadline."""
    if not select.select([terminal], [], [], max(0.0, deadline - time.monotonic()))[0]:
        return b""
    try:
        return os.read(terminal, 65_536)
    except OSError:
        return b""


def _screen(output: bytes) -> str:
    """The first line, and what was drawn last."""
    text = output.decode(errors="replace").replace("\r\n", "\n")
    first, _, _ = text.partition("\n")
    *_, last = ERASED.split(text)
    return "\n".join(filter(None, (first, last.replace(first, "").replace("^C", "").strip("\n"))))
