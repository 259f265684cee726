"""The declarative Airbyte CDK, which knows NinjaOne by other people's facts, reads the demo API."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from analytics_assets.demo.server import DEMO_CLIENT_ID, DEMO_CLIENT_SECRET
from analytics_assets_tests.servers.demo_api import NinjaOneDemo
from analytics_assets_tests.servers.fake_api import PATHS
from analytics_assets_tests.servers.running import running
from analytics_assets_tests.support.needs import absent


@pytest.fixture
def demo() -> Iterator[NinjaOneDemo]:
    demo = NinjaOneDemo()
    with running(demo.server):
        yield demo


@pytest.fixture(scope="module")
def airbyte() -> list[str]:
    """A command that runs the Airbyte CDK in an environment of its own, which is made on the way."""
    uv = os.environ.get("UV") or shutil.which("uv") or str(Path(sys.executable).with_name("uv"))
    if not Path(uv).exists() and shutil.which(uv) is None:
        absent("there is no uv")
    command = [uv, "run", "--quiet", "--isolated", "--no-project", "--python", sys.executable]
    command += ["--with-requirements", str(Path(__file__).parent / "airbyte_requirements.txt")]
    made = run([*command, "python", "-c", ""])
    if made.returncode != 0:
        absent(f"uv cannot install the Airbyte CDK: {made.stderr}")
    return [*command, "--offline", "source-declarative-manifest"]


def run(command: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "VIRTUAL_ENV"}}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=300, **options)


def test_the_declarative_airbyte_cdk_reads_the_same_rows(
    demo: NinjaOneDemo, airbyte: list[str], tmp_path: Path
) -> None:
    streams = [
        {
            "stream": {"name": name, "json_schema": {}, "supported_sync_modes": ["full_refresh"]},
            "sync_mode": "full_refresh",
            "destination_sync_mode": "overwrite",
        }
        for name in PATHS
    ]
    config = {
        "base_url": demo.server.url,
        "client_id": DEMO_CLIENT_ID,
        "client_secret": DEMO_CLIENT_SECRET,
    }
    (tmp_path / "catalog.json").write_text(json.dumps({"streams": streams}), encoding="utf-8")
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    arguments = ["--config", "config.json", "--catalog", "catalog.json"]
    result = run(
        [*airbyte, "read", *arguments, "--manifest-path", str(Path(__file__).parent / "airbyte_manifest.yaml")],
        cwd=tmp_path,
    )

    messages = [json.loads(line) for line in result.stdout.splitlines()]
    assert result.returncode == 0, result.stdout[-5_000:] + result.stderr[-5_000:]
    read: dict[str, list[Any]] = {name: [] for name in PATHS}
    for message in messages:
        if message["type"] == "RECORD":
            read[message["record"]["stream"]].append(message["record"]["data"])
    for name in PATHS:
        assert read[name] == demo.listing(name)
