"""Rows of kilobytes and megabytes: they load and merge with the defaults, and what does not fit changes nothing."""

import json
import sys
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest

from analytics_assets.demo.exchange import Row
from analytics_assets_tests.servers.fake_api import FakeApi
from analytics_assets_tests.support.commands import EIGHT, LAUNCH, materialize, run
from analytics_assets_tests.support.project import Project, failure_message, metadata, resource_config
from analytics_assets_tests.support.rows import activity

MEMORY = "SOURCES__ANALYTICS__DUCKDB_MEMORY"
WORDS = "Some words that a customer has written, and others. "


pytestmark = pytest.mark.slow


@pytest.mark.skipif(sys.platform != "linux", reason="other systems count memory in other ways")
@pytest.mark.parametrize(
    "sizes",
    [[20_000] * 4_000, [1_000_000] * 200, [*[100] * 500, 20_000_000, *[100] * 500]],
    ids=["4,000 of 20 KB", "200 of 1 MB", "one of 20 MB"],
)
def test_large_rows_load_and_merge_in_less_than_800_mb(
    empty_api: FakeApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sizes: list[int]
) -> None:
    database, taken = tmp_path / "large.duckdb", tmp_path / "taken.json"
    monkeypatch.setenv("DESTINATION__DUCKDB__CREDENTIALS", str(database))
    # All rows of the second load are newer, and replace those of the first.
    for version in (1, 2):
        empty_api.rows["activities"] = large(sizes, version)
        result = run(tmp_path, *LAUNCH, str(taken), *materialize("key:analytics/activities", EIGHT))
        found = json.loads(taken.read_text(encoding="utf-8"))
        assert found["status"] == 0, result.stdout + result.stderr
        assert found["memory"] < 800
        with duckdb.connect(str(database)) as connection:
            query = "SELECT id, message, length(data ->> 'text') FROM analytics.activities ORDER BY id"
            rows = connection.execute(query).fetchall()
        assert rows == [(n, f"Version {version}", size) for n, size in enumerate(sizes, 1)]


def test_a_load_that_does_not_fit_into_memory_changes_nothing(
    empty_api: FakeApi, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = [1_000_000] * 80
    empty_api.rows["activities"] = large(sizes, 1)
    monkeypatch.setenv(MEMORY, "48MB")
    message = failure_message(project.run("activities"))
    assert "DuckDB needs more memory than it may have" in message
    assert "Raise the setting duckdb_memory in .dlt/config.toml or the environment" in message
    assert project.query("SELECT count(*) FROM analytics.activities") == [(0,)]

    monkeypatch.setenv(MEMORY, "512MB")
    assert metadata(project.sync("activities"), "activities")["dagster/row_count"] == len(sizes)
    before = content(project)

    # Enough for the staging table, and not for reading it: the merge fails between its delete and its insert.
    empty_api.rows["activities"] = large(sizes, 2)
    monkeypatch.setenv(MEMORY, "100MB")
    assert "DuckDB needs more memory than it may have" in failure_message(project.run("activities"))
    assert content(project) == before

    # A field of the resource wins.
    project.sync("activities", run_config=resource_config(duckdb_memory="512MB"))
    assert [row[:2] for row in content(project)] == [(n, "Version 2") for n in range(1, len(sizes) + 1)]


def test_rows_that_are_too_large_for_a_preview_are_loaded(
    empty_api: FakeApi, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    empty_api.rows["activities"] = large([1_000_000] * 80, 1)
    monkeypatch.setenv(MEMORY, "100MB")
    said = metadata(project.sync("activities"), "activities")
    assert said["dagster/row_count"] == 80
    assert "preview" not in said


def large(sizes: list[int], version: int) -> list[Row]:
    """Activities an hour apart, so that most are out of the lag."""
    start = datetime(2024 + version, 1, 1)  # noqa: DTZ001 - spelled as the API does
    return [
        activity(
            n,
            f"{(start + timedelta(hours=n)).isoformat()}Z",
            message=f"Version {version}",
            data={"text": (f"{n} {version} {WORDS}" * (size // len(WORDS) + 1))[:size]},
        )
        for n, size in enumerate(sizes, 1)
    ]


def content(project: Project) -> list[tuple[Any, ...]]:
    return project.query("SELECT id, message, md5(data), _dlt_load_id, _dlt_id FROM analytics.activities ORDER BY id")
