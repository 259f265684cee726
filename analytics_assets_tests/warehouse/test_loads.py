"""A long listing is committed load by load while it is read on: what is there when it ends, or breaks off."""

import gc
import tempfile
from collections import Counter
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from dlt import Pipeline

from analytics_assets.api.catalog import Column
from analytics_assets.demo.exchange import Request
from analytics_assets.warehouse.pipeline import build_pipeline
from analytics_assets_tests.servers.fake_api import Answer, FakeApi
from analytics_assets_tests.support.eight import BY_NAME
from analytics_assets_tests.support.project import Project, failure_message, metadata
from analytics_assets_tests.support.rows import events, organization

ROWS = 9_000


@pytest.fixture(autouse=True)
def api(empty_api: FakeApi, monkeypatch: pytest.MonkeyPatch) -> FakeApi:
    monkeypatch.setenv("SOURCES__ANALYTICS__PAGE_SIZE", "500")
    # A batch has 2,000 rows or a few more. The batch behind the first that is enough is the last of a load.
    monkeypatch.setenv("SOURCES__ANALYTICS__ROWS_PER_LOAD", "2000")
    empty_api.rows["activities"] = events(1, ROWS)
    empty_api.rows["organizations"] = [organization(number) for number in range(1, ROWS + 1)]
    return empty_api


def offset(request: Request) -> int:
    return int(request.query.get("after", 0))


def break_beyond(api: FakeApi, resource: str, most: int) -> None:
    api.faults[resource].append(lambda request: Answer(400) if offset(request) > most else None)


def loads(project: Project, resource: str, where: str = "true") -> int:
    [(count,)] = project.query(f"SELECT count(DISTINCT _dlt_load_id) FROM analytics.{resource} WHERE {where}")
    return int(count)


def test_a_long_listing_is_requested_once_and_loaded_in_parts(api: FakeApi, project: Project) -> None:
    # The newest rows come first, so those of the lag are in the first load.
    api.rows["activities"].reverse()
    said = metadata(project.sync("activities"), "activities")
    assert loads(project, "activities") > 1
    # None of its ids is in the table, so that no part is merged.
    assert not project.query("SELECT * FROM duckdb_tables() WHERE schema_name = 'analytics_staging'")
    assert (said["rows_loaded"], said["rows_read"], said["dagster/row_count"]) == (ROWS, ROWS, ROWS)
    assert set(Counter(map(offset, api.asked("activities"))).values()) == {1}
    assert project.ids("activities") == list(range(1, ROWS + 1))
    # The cursor and the digests of the lag are those of the whole listing.
    api.rows["activities"] = [*events(ROWS + 1, ROWS + 1), *api.rows["activities"]]
    said = metadata(project.sync("activities"), "activities")
    assert (said["rows_loaded"], said["dagster/row_count"]) == (1, ROWS + 1)
    assert said["rows_unchanged"] >= 300


def test_the_temporary_disk_holds_one_load_at_a_time(
    api: FakeApi, project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Measured by the API, whenever it is asked for a page."""
    (tmp_path / "scratch").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "scratch"))
    # A load may be twice as large as asked for: its files are written in groups of some thousand rows.
    api.rows["activities"] = events(1, 8 * ROWS)
    peaks = []
    for rows in ("2000", "1000000"):
        monkeypatch.setenv("SOURCES__ANALYTICS__ROWS_PER_LOAD", rows)
        sizes: list[int] = []
        api.faults["activities"] = [partial(measure, tmp_path / "scratch", sizes)]
        project.sync("activities", config={"mode": "rebuild"})
        peaks.append(max(sizes))
    assert peaks[0] < peaks[1] / 2


def test_the_pipelines_of_former_loads_are_not_kept_in_memory(
    api: FakeApi, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    api.rows["activities"] = events(1, 4 * ROWS)
    kept: list[int] = []

    def count_and_build(*arguments: Any) -> Pipeline:
        kept.append(sum(isinstance(each, Pipeline) for each in gc.get_objects()))
        return build_pipeline(*arguments)

    monkeypatch.setattr("analytics_assets.warehouse.sync.build_pipeline", count_and_build)
    gc.disable()
    try:
        project.sync("activities")
    finally:
        gc.enable()
    assert len(kept) > 3
    assert kept[-1] == kept[1]


def measure(directory: Path, sizes: list[int], _: Request) -> None:
    found = 0
    for path in directory.rglob("*"):
        with suppress(FileNotFoundError):
            found += path.stat().st_size
    sizes.append(found)


def test_a_listing_that_breaks_off_between_two_loads_moves_no_cursor(api: FakeApi, project: Project) -> None:
    # A cursor that moved would hide all rows but the newest.
    api.rows["activities"].reverse()
    break_beyond(api, "activities", 6_000)
    assert "answered 400" in failure_message(project.run("activities"))
    assert 0 < len(project.ids("activities")) < ROWS
    api.faults["activities"].clear()
    # Meanwhile rows were added in front, which moves all others.
    api.rows["activities"] = [*reversed(events(ROWS + 1, ROWS + 700)), *api.rows["activities"]]
    project.sync("activities")
    assert project.ids("activities") == list(range(1, ROWS + 701))
    assert metadata(project.sync("activities"), "activities")["rows_loaded"] == 0


def test_what_is_gone_is_marked_after_the_last_load_and_rows_that_move_meanwhile_are_not(
    api: FakeApi, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Otherwise all of it would come in one load.
    monkeypatch.setattr("analytics_assets.warehouse.unchanged.MOST_BYTES", 0)
    rows = api.rows["organizations"]
    project.sync("organizations")
    gone = list(range(10, ROWS + 1, 10))
    rows[:] = [row for row in rows if row["id"] % 10]

    def delete_in_front(request: Request) -> None:
        if offset(request) > 5_000:
            del rows[:3]

    api.faults["organizations"].append(delete_in_front)
    said = metadata(project.sync("organizations"), "organizations")
    assert said["rows_marked_deleted"] == len(gone)
    assert project.ids("organizations", "deleted_at IS NOT NULL") == gone
    assert loads(project, "organizations", "deleted_at IS NULL") > 1


def test_a_new_column_is_filled_in_all_rows_though_a_sync_broke_off_between_two_loads(
    api: FakeApi, project: Project
) -> None:
    project.sync("activities")
    for row in api.rows["activities"]:
        row["siteName"] = f"Site {row['id']}"
    events_ = BY_NAME["activities"]
    project.declare(replace(events_, columns=(*events_.columns, Column("siteName", "text", "Where it happened"))))
    break_beyond(api, "activities", 6_000)
    assert not project.run("activities").success
    api.faults["activities"].clear()
    project.sync("activities")
    assert project.query("SELECT count(*), count(site_name) FROM analytics.activities") == [(ROWS, ROWS)]


def test_a_first_window_of_several_loads_leaves_nothing_to_be_filled(
    api: FakeApi, project: Project, postgres: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Windows of events leave the state alone once it is there. Of a window that is cut, it was there too early."""
    monkeypatch.setenv("DESTINATION_TYPE", "postgres")
    monkeypatch.setenv("DESTINATION__POSTGRES__CREDENTIALS", postgres)
    window = {"start": "2024-01-01T00:00:00Z", "end": "2024-05-02T00:00:00Z"}
    assert metadata(project.sync("activities", config=window), "activities")["rows_loaded"] == ROWS
    after = project.sync("activities")
    assert metadata(after, "activities")["rows_loaded"] == 0
    assert "to fill the older rows" not in project.log(after)
