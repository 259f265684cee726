"""Memory stays flat: rows are read, written and merged in batches."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import duckdb
import pytest

from analytics_assets.defs.names import name_all
from analytics_assets_tests.support.commands import LAUNCH, SHIPPED, materialize
from benchmarks.events import EVENTS

ROWS = 100_000
THROUGH_DAGSTER = materialize(f"key:{'/'.join(name_all().asset_key(EVENTS).path)}", SHIPPED)
WITHOUT_DAGSTER = [sys.executable, "-m", "benchmarks.alone"]


@pytest.mark.skipif(sys.platform != "linux", reason="other systems count memory in other ways")
@pytest.mark.parametrize(
    ("command", "limit"), [(THROUGH_DAGSTER, 500), (WITHOUT_DAGSTER, 400)], ids=["through Dagster", "without Dagster"]
)
def test_a_hundred_thousand_events_fit_into_so_many_mb(tmp_path: Path, command: Sequence[str], limit: int) -> None:
    serve = [sys.executable, "-m", "benchmarks.server", f"--{EVENTS}", str(ROWS), "--others", "0"]
    database, taken = tmp_path / "many.duckdb", tmp_path / "taken.json"
    with subprocess.Popen(serve, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout
        environment = {
            **os.environ,
            "DAGSTER_HOME": str(tmp_path),
            "DESTINATION__DUCKDB__CREDENTIALS": str(database),
            "SOURCES__ANALYTICS__BASE_URL": server.stdout.readline().strip(),
            "SOURCES__ANALYTICS__API_KEY": "any",
            "SOURCES__ANALYTICS__PAGE_SIZE": "1000",
        }
        run = subprocess.run(
            [*LAUNCH, str(taken), *command], env=environment, capture_output=True, text=True, check=False
        )
        server.kill()
    found = json.loads(taken.read_text(encoding="utf-8"))
    assert found["status"] == 0, run.stdout + run.stderr
    with duckdb.connect(str(database)) as connection:
        assert connection.execute(f"SELECT count(*) FROM analytics.{EVENTS}").fetchone() == (ROWS,)
    assert found["memory"] < limit
