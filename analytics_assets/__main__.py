"""The command line: `sync` runs the job `analytics_sync`, `check` tests whether it would succeed, `dev` runs the UI.

python -m analytics_assets sync
python -m analytics_assets check
python -m analytics_assets drop devices
python -m analytics_assets dev --port 3000
python -m analytics_assets watch --once
"""

import argparse
import os
import shutil
import signal
import sys
import textwrap
from itertools import chain
from pathlib import Path

from analytics_assets.garbage import rarely_collected
from analytics_assets.interrupts import end_at_once
from analytics_assets.project import read_umask, use_dagster_home


def main() -> None:
    """Parses the command line and runs the command. One that cannot write what it says ends with one sentence."""
    _open_closed()
    try:
        try:
            _run()
        except SystemExit as ended:
            sys.exit(_fold(ended.code) if isinstance(ended.code, str) else ended.code)
        finally:
            sys.stdout.flush()
    except OSError as error:
        try:
            # Whether it was that, or something else has failed.
            print(flush=True)
        except OSError:
            # Python itself flushes at its end, and would say so.
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            # Whoever ends early, such as `head`, has read what it wanted.
            sys.exit(1 if isinstance(error, BrokenPipeError) else f"The output cannot be written: {error.strerror}.")
        raise


def _open_closed() -> None:
    """Gives the process the standard streams that it was started without: `2>&-` in a shell."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            # It gets the number that is free, which is the stream's own.
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: PTH123, SIM115 - stays open


def _fold(text: str) -> str:
    """A text for stderr. A terminal would break its lines within words."""
    if not sys.stderr.isatty():
        return text
    width = shutil.get_terminal_size().columns
    lines = (
        textwrap.wrap(line, width, break_long_words=False, break_on_hyphens=False) or [""] for line in text.splitlines()
    )
    return "\n".join(chain.from_iterable(lines))


def _run() -> None:
    signal.signal(signal.SIGINT, end_at_once)
    parser = argparse.ArgumentParser(prog="python -m analytics_assets")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("sync", help="load new rows of all resources through Dagster, and print a table of the outcome")
    commands.add_parser(
        "check", help="test whether a sync would succeed: ask the API and the destination, load nothing"
    )
    former = commands.add_parser("drop", help="drop the table and state of a resource that the catalog no longer lists")
    former.add_argument("resource", help="name of the resource, as `check` says it")
    former.add_argument("--yes", action="store_true", help="do not ask")
    ui = commands.add_parser("dev", help="run Dagster's UI, for browsers on this machine only, and Dagster's daemon")
    ui.add_argument("--port", type=int, default=3000, help="port of the UI (default: 3000)")
    outside = commands.add_parser(
        "watch", help="tell the webhook when Dagster's daemon is down, and when it is up again"
    )
    outside.add_argument("--once", action="store_true", help="print all that is wrong, and end with 1 if anything is")
    given = parser.parse_args()
    _keep_to_owner()
    if given.command in {"sync", "dev", "watch"}:
        _find_home()
    if given.command == "dev":
        from analytics_assets.dev import dev  # noqa: PLC0415 - the other commands start no server

        sys.exit(dev(given.port, _say))
    if sys.stderr.isatty():
        print("Loading Dagster and dlt ...", file=sys.stderr, flush=True)
    with rarely_collected():
        from analytics_assets.commands import run  # noqa: PLC0415 - Ctrl-C is heeded, something said, before it loads

    sys.exit(run(given))


def _say(text: str) -> None:
    """Prints at once, for the person who waits."""
    print(text, flush=True)


def _find_home() -> None:
    try:
        use_dagster_home(_say)
    except OSError as error:
        sys.exit(
            f"Dagster's history needs a directory, and {error.filename} cannot be made: {error.strerror}. Set"
            " DAGSTER_HOME to the absolute path of one."
        )
    if not Path(home := os.environ["DAGSTER_HOME"]).is_absolute():
        sys.exit(
            f"DAGSTER_HOME = {home!r} has to be an absolute path. Without the variable, Dagster's history is in"
            " .dagster, beside .dlt."
        )
    if not Path(home).is_dir():
        sys.exit(f"DAGSTER_HOME = {home!r} is no directory. Make it, or correct the variable.")


def _keep_to_owner() -> None:
    """Makes files written from now on, such as Dagster's history, readable by their owner alone, or as `UMASK` says."""
    try:
        os.umask(read_umask())
    except ValueError:
        sys.exit(f"UMASK = {os.environ['UMASK']!r} is no octal number such as 077, the default, or 027.")


if __name__ == "__main__":
    main()
