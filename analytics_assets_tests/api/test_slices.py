"""A long history from the newest row down: loaded in slices, and gone on with by the next sync where one has died."""

import os
import signal
import subprocess
import sys
import threading

import pytest

from analytics_assets.demo.exchange import Request
from analytics_assets_tests.servers.fake_api import Answer
from analytics_assets_tests.servers.fake_ninjaone import FakeNinjaOne, epoch
from analytics_assets_tests.support.project import Project, failure_message, metadata
from analytics_assets_tests.support.reading import read_resource
from analytics_assets_tests.support.rows import MAY, events

ROWS = 2_550
SLICE = 1_000
"""Rows: a hundred pages of ten."""


@pytest.fixture
def ninjaone(ninjaone: FakeNinjaOne) -> FakeNinjaOne:
    """The public API with a history of three slices."""
    ninjaone.rows["activities"] = events(1, ROWS)
    return ninjaone


def below(api: FakeNinjaOne) -> list[int]:
    """The ids below which pages were asked for; 0 for the newest page."""
    return [int(request.query.get("olderThan", 0)) for request in api.asked("activities")]


def since(api: FakeNinjaOne) -> set[float]:
    return {float(request.query["after"]) - MAY for request in api.asked("activities")}


def loads(project: Project) -> list[int]:
    """Rows by load."""
    counts = "SELECT count(*) FROM analytics.activities GROUP BY _dlt_load_id ORDER BY _dlt_load_id"
    return [count for (count,) in project.query(counts)]


def break_below(api: FakeNinjaOne, number: int) -> None:
    """The API refuses pages below an id until `mend`."""
    api.faults["activities"].append(
        lambda request: Answer(400) if int(request.query.get("olderThan", 2**40)) < number else None
    )


def mend(api: FakeNinjaOne) -> None:
    api.faults["activities"].clear()
    api.requests.clear()


def test_a_long_history_is_loaded_in_slices(ninjaone: FakeNinjaOne, project: Project) -> None:
    said = metadata(project.sync("activities"), "activities")
    assert loads(project) == [SLICE, SLICE, 550]
    assert (said["rows_loaded"], said["rows_read"], said["dagster/row_count"]) == (ROWS, ROWS, ROWS)
    # 255 pages, the empty one, and as the last was full its last row again.
    assert said["requests"] == len(below(ninjaone)) == 257

    mend(ninjaone)
    said = metadata(project.sync("activities"), "activities")
    assert (said["rows_loaded"], since(ninjaone)) == (0, {ROWS - 1 - 300 - 1})
    assert said["rows_unchanged"] == said["rows_read"]


def test_a_slice_that_overlaps_the_one_before_brings_no_row_twice(ninjaone: FakeNinjaOne, project: Project) -> None:
    def overlap(request: Request) -> Answer | None:
        below = int(request.query.get("olderThan", 2**40)) + 3
        page = [row for row in reversed(ninjaone.rows["activities"]) if row["id"] < below][:10]
        return Answer(body={"activities": page if below > 4 else []})

    ninjaone.faults["activities"].append(overlap)
    said = metadata(project.sync("activities"), "activities")
    assert said["rows_loaded"] > ROWS
    assert project.ids("activities") == list(range(1, ROWS + 1))


def test_the_next_sync_continues_where_a_failed_one_stopped(ninjaone: FakeNinjaOne, project: Project) -> None:
    break_below(ninjaone, 100)
    message = failure_message(project.run("activities"))
    assert "answered 400" in message
    assert project.ids("activities") == list(range(ROWS - 2 * SLICE + 1, ROWS + 1))

    mend(ninjaone)
    ninjaone.rows["activities"] += events(ROWS + 1, ROWS + 30)
    said = metadata(project.sync("activities"), "activities")
    asked = below(ninjaone)
    assert (asked[0], max(asked)) == (551, ROWS + 21)
    # What was left out down to the start date, and then what is new.
    start = epoch("2024-01-01T00:00:00Z") - MAY - 1
    assert since(ninjaone) == {start, ROWS - 1 - 300 - 1}
    assert said["rows_loaded"] == 550 + 30
    assert project.ids("activities") == list(range(1, ROWS + 31))

    mend(ninjaone)
    project.sync("activities")
    assert since(ninjaone) == {ROWS + 29 - 300 - 1}


def test_a_gap_that_a_later_sync_leaves_is_filled_from_its_own_start(ninjaone: FakeNinjaOne, project: Project) -> None:
    project.sync("activities")
    mend(ninjaone)
    ninjaone.rows["activities"] += events(ROWS + 1, ROWS + 1500)
    break_below(ninjaone, ROWS + 100)
    assert not project.run("activities").success
    assert len(project.ids("activities")) == ROWS + SLICE

    mend(ninjaone)
    project.sync("activities")
    assert since(ninjaone) == {ROWS - 1 - 300 - 1, ROWS + 1499 - 300 - 1}
    assert below(ninjaone)[0] == ROWS + 501
    assert project.ids("activities") == list(range(1, ROWS + 1501))


def test_a_history_of_whole_slices_has_no_gap(ninjaone: FakeNinjaOne, project: Project) -> None:
    ninjaone.rows["activities"] = events(1, 2 * SLICE)
    project.sync("activities")
    assert loads(project) == [SLICE, SLICE]
    mend(ninjaone)
    project.sync("activities")
    assert since(ninjaone) == {2 * SLICE - 1 - 300 - 1}


def test_a_full_read_fills_a_gap(ninjaone: FakeNinjaOne, project: Project) -> None:
    break_below(ninjaone, 100)
    assert not project.run("activities").success
    mend(ninjaone)
    said = metadata(project.sync("activities", config={"mode": "full"}), "activities")
    assert below(ninjaone)[0] == 0
    assert (said["rows_read"], said["dagster/row_count"]) == (ROWS, ROWS)
    mend(ninjaone)
    assert metadata(project.sync("activities"), "activities")["rows_loaded"] == 0
    assert since(ninjaone) == {ROWS - 1 - 300 - 1}


@pytest.mark.parametrize("undone", ["rebuild", "DROP TABLE analytics.activities", "DELETE FROM analytics.activities"])
def test_a_table_that_is_loaded_anew_has_no_gap(ninjaone: FakeNinjaOne, project: Project, undone: str) -> None:
    break_below(ninjaone, 100)
    assert not project.run("activities").success
    mend(ninjaone)
    if undone != "rebuild":
        project.query(undone)
    project.sync("activities", config={"mode": "rebuild"} if undone == "rebuild" else None)
    assert below(ninjaone)[0] == 0
    assert loads(project) == [SLICE, SLICE, 550]


def test_a_window_leaves_the_gap_alone(ninjaone: FakeNinjaOne, project: Project) -> None:
    break_below(ninjaone, 100)
    assert not project.run("activities").success
    mend(ninjaone)
    project.sync("activities", config={"start": "2024-05-01T00:00:00Z", "end": "2024-05-01T00:01:00Z"})
    assert len(project.ids("activities")) == 2 * SLICE + 60
    mend(ninjaone)
    project.sync("activities")
    assert below(ninjaone)[0] == 551
    assert project.ids("activities") == list(range(1, ROWS + 1))


def test_a_load_that_died_after_its_merge_is_read_again_and_no_more(ninjaone: FakeNinjaOne, project: Project) -> None:
    break_below(ninjaone, 100)
    assert not project.run("activities").success
    # What a kill at that point leaves: the rows of the second slice are merged, but dlt does not count the load.
    newest = "SELECT max(_dlt_load_id) FROM analytics.activities"
    project.query(f"DELETE FROM analytics._dlt_loads WHERE load_id IN ({newest})")
    mend(ninjaone)
    project.sync("activities")
    assert below(ninjaone)[0] == ROWS - SLICE + 1
    assert project.ids("activities") == list(range(1, ROWS + 1))


def test_rows_without_a_time_or_from_the_future_survive_the_slices(ninjaone: FakeNinjaOne, project: Project) -> None:
    rows = ninjaone.rows["activities"]
    del rows[2500]["activityTime"], rows[100]["activityTime"]
    rows[2400]["activityTime"] = rows[50]["activityTime"] = 4e9
    said = metadata(project.sync("activities"), "activities")
    assert (said["rows_without_cursor"], said["rows_in_future"], said["dagster/row_count"]) == (2, 2, ROWS)
    assert project.ids("activities", "activity_time > '2090-01-01'") == [51, 2401]
    assert project.ids("activities", "activity_time IS NULL") == [101, 2501]
    project.sync("activities")
    assert project.query("SELECT max(activity_time) < '2024-06-01' FROM analytics.activities WHERE id > 2500") == [
        (True,)
    ]


def test_the_next_sync_continues_where_a_killed_one_stopped(ninjaone: FakeNinjaOne, project: Project) -> None:
    reached = threading.Event()

    def note(request: Request) -> None:
        if int(request.query.get("olderThan", 2**40)) < 300:
            reached.set()

    ninjaone.faults["activities"].append(note)
    program = (
        "import dagster as dg\n"
        "from analytics_assets_tests.support.eight import asset_key, defs\n"
        "with dg.DagsterInstance.ephemeral() as instance:\n"
        "    defs().resolve_job_def('analytics_sync').execute_in_process(\n"
        "        asset_selection=[asset_key('activities')], instance=instance)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.DEVNULL) as worker:
        assert reached.wait(120)
        os.kill(worker.pid, signal.SIGKILL)
    assert worker.returncode == -signal.SIGKILL
    ids = project.ids("activities")
    assert ids == list(range(ROWS - 2 * SLICE + 1, ROWS + 1))
    mend(ninjaone)
    project.sync("activities")
    assert below(ninjaone)[0] == 551
    assert project.ids("activities") == list(range(1, ROWS + 1))


def test_values_that_do_not_fit_are_counted_over_all_slices(ninjaone: FakeNinjaOne, project: Project) -> None:
    for row in ninjaone.rows["activities"]:
        row["userId"] = "x" if row["id"] in {*range(1, 8), *range(2_000, 2_008)} else None
    message = failure_message(project.run("activities"))
    assert "15 of 15 values of 'userId' do not fit its type bigint" in message
    assert "Nothing more was loaded" in message


def test_a_source_by_itself_is_read_to_its_end(ninjaone: FakeNinjaOne) -> None:
    tables = read_resource("activities")
    assert sorted(key for table in tables for key in table["id"].to_pylist()) == list(range(1, ROWS + 1))
