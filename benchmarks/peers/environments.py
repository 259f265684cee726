"""Makes the virtual environment of a peer by uv, once."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

from analytics_assets.api.connector import SHIPPED
from benchmarks.peers.known import Peer

SECONDS = 900
"""The longest time that an installation may take."""

TYPES = {
    "bigint": {"type": ["null", "integer"]},
    "bool": {"type": ["null", "boolean"]},
    "date": {"type": ["null", "string"], "format": "date"},
    "decimal": {"type": ["null", "number"]},
    "double": {"type": ["null", "number"]},
    "json": {"type": ["null", "object", "array"]},
    "text": {"type": ["null", "string"]},
    "timestamp": {"type": ["null", "string"], "format": "date-time"},
}
"""The JSON schema of a column's values, by its type."""


def prepare(peer: Peer) -> str:
    """Makes the environment, and writes the resources into it as the scripts of the peers read them.

    Returns:
        Why the peer cannot be measured here; empty if it can.
    """
    if peer.reason:
        return peer.reason
    made = peer.environment / "made"
    if not made.exists() and (reason := _install(peer)):
        return reason
    made.touch()
    (peer.environment / "catalog.json").write_text(json.dumps(_catalog()), encoding="utf-8")
    return ""


def _install(peer: Peer) -> str:
    uv = str(found) if (found := Path(sys.executable).with_name("uv")).exists() else shutil.which("uv")
    if not uv:
        return "uv, which makes its environment, is not installed"
    shutil.rmtree(peer.environment, ignore_errors=True)
    python = str(peer.environment / "bin" / "python")
    install = ["pip", "install", "--compile-bytecode", "--python", python, "--requirement", str(peer.requirements)]
    for command in (["venv", "--python", sys.executable, str(peer.environment)], install):
        try:
            subprocess.run([uv, "--quiet", *command], capture_output=True, text=True, check=True, timeout=SECONDS)
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
            said = str(error.stderr or error).strip().splitlines()[0]
            return f"it cannot be installed here: {said}"
    return ""


def _catalog() -> list[dict[str, object]]:
    """The resources, in the words of no tool."""
    endpoints = SHIPPED.dialects[0].endpoints
    return [
        {
            "name": resource.name,
            "path": endpoints[resource.name].path,
            "selector": endpoints[resource.name].selector,
            "paginated": bool(endpoints[resource.name].pagination),
            "key": resource.key_label,
            "cursor": resource.cursor,
            "schema": {"type": "object", "properties": {each.name: TYPES[each.type] for each in resource.columns}},
        }
        for resource in SHIPPED.resources
    ]
