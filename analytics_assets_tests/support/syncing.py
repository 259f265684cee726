"""A process that syncs resources of the eight by the library, as another host would.

    python -m analytics_assets_tests.support.syncing

Each line of its input is the JSON of one sync. It answers each with a line: why each resource failed, and what it said.
"""

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from analytics_assets.api.reading import Reading
from analytics_assets.api.settings_reader import read_settings
from analytics_assets.defs.display.errors import explain
from analytics_assets.warehouse.session import open_session
from analytics_assets.warehouse.sync import begin_sync, sync
from analytics_assets_tests.support.eight import BY_NAME, EIGHT


def sync_resources(
    resources: Sequence[str], *, everything: bool = False, start: str | None = None, end: str | None = None
) -> dict[str, Any]:
    """Syncs resources; returns why each failed, and what the run said."""
    first, last = (datetime.fromisoformat(moment) if moment else None for moment in (start, end))
    reading = Reading(everything=everything, start=first, end=last)
    failed: dict[str, str] = {}
    said: list[str] = []
    try:
        with (
            open_session(read_settings(EIGHT), log=said.append) as session,
            begin_sync(session, [BY_NAME[name] for name in resources]) as pending,
        ):
            for each in pending:
                try:
                    sync(each, session, reading)
                except Exception as error:  # noqa: BLE001 - as the asset does
                    failed[each.listing.resource.name] = explain(error, ())
    except Exception as error:  # noqa: BLE001 - the process goes on
        failed[""] = explain(error, ())
    return {"failed": failed, "said": said}


class Syncing:
    """The process, as another talks to it."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def begin(self, *resources: str, **options: Any) -> None:
        """Has the process begin a sync."""
        assert self._process.stdin
        self._process.stdin.write(json.dumps({"resources": resources, **options}) + "\n")
        self._process.stdin.flush()

    def end(self) -> dict[str, Any]:
        """Waits for the end of the sync."""
        assert self._process.stdout
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer


@contextmanager
def syncing(environment: Mapping[str, str]) -> Iterator[Syncing]:
    """Runs the process. It has loaded what it needs when this returns."""
    command = [sys.executable, "-m", __name__]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, env=dict(environment), stdin=pipe, stdout=pipe, text=True) as process:
        try:
            yield Syncing(process)
        finally:
            process.kill()


def main() -> None:
    """Syncs until the input ends."""
    answers = sys.stdout
    sys.stdout = sys.stderr
    for line in sys.stdin:
        print(json.dumps(sync_resources(**json.loads(line))), file=answers, flush=True)


if __name__ == "__main__":
    main()
