"""A wall clock for other processes that can be put forward, so that nobody has to wait for what takes minutes."""

import shutil
import struct
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path


@dataclass
class Clock:
    """The system's clock, moved. It runs at its usual speed between two puts."""

    directory: Path
    """Where the library and its offset are."""
    can_move: bool
    """Whether it can be put. Otherwise it shows the true time, and who waits for it waits as long as that takes."""
    offset: float = 0.0
    """Seconds by which it is ahead."""

    @property
    def environment(self) -> dict[str, str]:
        """Variables of a process that is to have this clock, as all that it starts."""
        if not self.can_move:
            return {}
        return {"CLOCK_OFFSET": str(self.directory / "clock"), "LD_PRELOAD": str(self.directory / "clock.so")}

    def now(self) -> datetime:
        """The time of the moved clock."""
        return datetime.fromtimestamp(time.time() + self.offset, UTC)

    def put(self, moment: datetime) -> None:
        """Puts the clock to a moment. Whoever sleeps until an earlier one wakes up."""
        self.forward(moment.timestamp() - time.time() - self.offset)

    def forward(self, seconds: float) -> None:
        """Puts the clock forward, if it can be put."""
        if not self.can_move:
            return
        self.offset += seconds
        with (self.directory / "clock").open("r+b") as file:
            file.write(struct.pack("d", self.offset))


def new_clock(directory: Path) -> Clock:
    """A clock that shows the true time. It can be put where there is glibc and a C compiler."""
    if sys.platform != "linux" or not shutil.which("cc"):
        return Clock(directory, can_move=False)
    source = Path(__file__).with_name("clock.c")
    command = ["cc", "-shared", "-fPIC", "-O2", "-o", str(directory / "clock.so"), str(source), "-lm"]
    subprocess.run(command, check=True)
    (directory / "clock").write_bytes(struct.pack("d", 0))
    return Clock(directory, can_move=True)
