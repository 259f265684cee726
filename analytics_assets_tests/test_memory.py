"""Memory stays flat: DuckDB is loaded from parquet, page by page."""

import os
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest

ACTIVITIES = 100_000
LIMIT_MB = 500


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is in KiB on Linux only")
def test_a_hundred_thousand_activities_stay_below_500_mb(tmp_path: Path) -> None:
    serve = [sys.executable, "-m", "benchmarks.server", "--activities", str(ACTIVITIES), "--others", "0"]
    materialize = [
        str(Path(sys.executable).with_name("dagster")),
        *("asset", "materialize", "--select", "key:analytics/activities", "-m", "analytics_assets.definitions"),
    ]
    database = tmp_path / "many.duckdb"
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
        with (tmp_path / "output").open("wb") as output:
            process = subprocess.Popen(materialize, env=environment, stdout=output, stderr=subprocess.STDOUT)
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        server.kill()
    assert process.returncode == 0, (tmp_path / "output").read_text()
    with duckdb.connect(str(database)) as connection:
        assert connection.execute("SELECT count(*) FROM analytics.activities").fetchone() == (ACTIVITIES,)
    assert usage.ru_maxrss / 1024 < LIMIT_MB
