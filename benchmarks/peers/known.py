"""The peers: how each is started, and why one is not."""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

DIRECTORY = Path(__file__).parent
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "analytics_assets_benchmarks"
"""Directory for the environments of the peers, about a gigabyte. Delete it to have them made anew."""


@dataclass(frozen=True, slots=True)
class Peer:
    """A tool that is measured beside the project."""

    name: str
    file: str = ""
    """Name of its locked requirements, and of the script that runs it in its environment, without their suffixes."""
    reason: str = ""
    """Why it is not measured, wherever the benchmark runs."""

    @property
    def requirements(self) -> Path:
        """Its locked requirements: `uv pip compile` of its own packages, which the script names."""
        return DIRECTORY / f"{self.file}.txt"

    @property
    def environment(self) -> Path:
        """Its virtual environment. Other requirements make another one."""
        digest = hashlib.sha256(self.requirements.read_bytes()).hexdigest()[:8]
        return CACHE / f"{self.file}-{digest}"

    @property
    def command(self) -> list[str]:
        """The command line, without the conditions. `-I` keeps the project out of the environment."""
        script = DIRECTORY / f"{self.file}.py"
        return [str(self.environment / "bin" / "python"), "-I", str(script), str(self.environment / "catalog.json")]


PEERS = (
    Peer("Singer SDK, target-duckdb", "singer"),
    Peer("PyAirbyte", "pyairbyte"),
    Peer("Sling, without its Pro token", "sling"),
    Peer("ingestr", reason="cannot read an API that it does not ship"),
)
