"""What is new: cursors, the lag behind them, and rows that have none."""

import tempfile
from datetime import UTC, datetime

import dlt
import pytest

from analytics_assets.api.listing import open_listings
from analytics_assets.api.settings_reader import read_settings
from analytics_assets.api.source import read_listing
from analytics_assets.demo.exchange import Row
from analytics_assets.warehouse.parquet import write_parquet
from analytics_assets_tests.servers.fake_api import FakeApi
from analytics_assets_tests.support.eight import BY_NAME, EIGHT
from analytics_assets_tests.support.project import Project, metadata
from analytics_assets_tests.support.rows import activity, group, policy
from analytics_assets_tests.support.wire import (
    Scene,
    Table,
    row,
)


def test_an_edit_in_the_same_second_as_the_cursor_is_loaded(api: FakeApi, project: Project) -> None:
    project.sync("policies")
    api.rows["policies"][1] = policy(2, name="Edited in the same second")
    assert metadata(project.sync("policies"), "policies")["rows_loaded"] == 1
    assert project.query("SELECT name FROM analytics.policies WHERE id = 2") == [("Edited in the same second",)]


def test_a_row_that_appears_late_is_loaded_within_the_lag(api: FakeApi, project: Project) -> None:
    project.sync("activities")
    assert BY_NAME["activities"].lag_seconds == 300
    api.rows["activities"].append(activity(90, "2024-05-01T00:36:30Z"))  # the newest is at 00:41:00
    result = project.sync("activities")

    assert metadata(result, "activities")["rows_loaded"] == 1
    assert 90 in project.ids("activities")


def test_unchanged_rows_of_the_lag_are_not_loaded_again(
    empty_api: FakeApi, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCES__ANALYTICS__PAGE_SIZE", "500")
    monkeypatch.setenv("SOURCES__ANALYTICS__LAG_SECONDS", "1500")
    begins = 1714521600  # 2024-05-01T00:00:00Z
    empty_api.rows["activities"] = [activity(n, begins + n) for n in range(5000)]
    project.sync("activities")
    again = metadata(project.sync("activities"), "activities")
    assert (again["rows_loaded"], again["rows_unchanged"]) == (0, 1501)

    empty_api.rows["activities"][3600]["message"] = "Edited"
    empty_api.rows["activities"].insert(0, activity(9000, begins + 3700))
    news = metadata(project.sync("activities"), "activities")
    assert (news["rows_loaded"], news["rows_unchanged"]) == (2, 1500)
    assert project.query("SELECT message FROM analytics.activities WHERE id = 3600") == [("Edited",)]


def test_cursors_are_compared_as_points_in_time(api: FakeApi, project: Project) -> None:
    api.rows["policies"] = [
        policy(1, "2024-05-01T02:00:00+05:00"),  # as text the largest, in time the earliest
        policy(2, "2024-04-30T22:00:00.500Z"),
        policy(3, 1714514400),  # 2024-04-30T22:00:00Z
        policy(4, 1714514401.25),
        policy(5, "2024-04-30T22:00:02"),
    ]
    result = project.sync("policies")

    assert [moment for (moment,) in project.query("SELECT epoch(updated) FROM analytics.policies ORDER BY id")] == [
        1714510800,
        1714514400.5,
        1714514400,
        1714514401.25,
        1714514402,
    ]
    newest = datetime(2024, 4, 30, 22, 0, 2, tzinfo=UTC).timestamp()
    assert metadata(result, "policies")["cursor_after"] == newest
    assert metadata(project.sync("policies"), "policies")["cursor_before"] == newest


def test_rows_without_a_cursor_are_loaded_and_counted_and_not_loaded_again(api: FakeApi, project: Project) -> None:
    api.rows["groups"] = [group(1), group(2, None), {"id": 3, "name": "no key at all"}]
    first, second = project.sync("groups"), project.sync("groups")

    assert project.ids("groups") == [1, 2, 3]
    assert metadata(first, "groups")["rows_without_cursor"] == 2
    assert metadata(second, "groups")["rows_loaded"] == 0
    api.rows["groups"][1] = group(2, None, name="Edited")
    assert metadata(project.sync("groups"), "groups")["rows_loaded"] == 1
    assert project.query("SELECT name FROM analytics.groups WHERE id = 2") == [("Edited",)]


def test_a_cursor_in_the_future_does_not_hide_what_comes(api: FakeApi, project: Project) -> None:
    api.rows["policies"].append(policy(90, "2099-01-01T00:00:00Z"))
    first = project.sync("policies")
    api.rows["policies"].append(policy(91, "2024-05-02T00:00:00Z"))
    second = project.sync("policies")

    assert metadata(first, "policies")["rows_in_future"] == 1
    assert metadata(second, "policies")["rows_loaded"] == 1
    assert project.ids("policies") == [1, 2, 3, 90, 91]
    assert project.query("SELECT updated::DATE::VARCHAR FROM analytics.policies WHERE id = 90") == [("2099-01-01",)]


def test_rows_before_the_start_date_stay_out(api: FakeApi, project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("START_DATE", "2024-05-01T00:30:00Z")
    project.sync("activities")
    assert project.ids("activities") == list(range(30, 42))


def test_rows_whose_cursor_does_not_fit_hold_up_no_others(duck: Scene) -> None:
    moments = ['"soon"', '""', "true", '"2024-05-01T00:00:00Z"', "1714521600", '"9999-12-31T23:59:59-05:00"', "NaN"]
    rows = [row(n, updated=moment, name='"x"') for n, moment in enumerate(moments)]
    tables: dict[str, Table] = {}
    result = duck.sync({"groups": rows}, tables)
    assert metadata(result, "groups")["rows_without_cursor"] == 5
    # Those without are compared: only what is edited is loaded, and so is what is new.
    assert metadata(duck.sync({"groups": rows}, tables), "groups")["rows_without_cursor"] == 5
    rows[0] = row(0, updated='"later"', name='"y"')
    rows.append(row(100, updated='"2024-05-02T00:00:00Z"'))
    assert duck.sync({"groups": rows}, tables).success


def test_an_old_row_is_not_marked_as_deleted(duck: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCES__ANALYTICS__START_DATE", "1500-01-01T00:00:00Z")
    rows = [row(1, updated='"1500-01-01T00:00:00Z"'), row(2, updated='"2024-05-01T00:00:00Z"'), row(3)]
    tables: dict[str, Table] = {}
    duck.sync({"groups": rows}, tables)
    duck.sync({"groups": rows}, tables, mode="full")


@pytest.mark.parametrize("lag", ["0", "60"])
def test_the_cursor_is_the_newest_of_all_batches(empty_api: FakeApi, monkeypatch: pytest.MonkeyPatch, lag: str) -> None:
    monkeypatch.setattr("analytics_assets.api.prefetch.BATCH_ROWS", 20)
    monkeypatch.setenv("SOURCES__ANALYTICS__LAG_SECONDS", lag)
    rows: list[Row] = [{"id": n, "activityTime": f"2024-05-01T00:{59 - n // 2:02}:00Z"} for n in range(1, 101)]
    rows[99]["brandNew"] = "x"
    empty_api.rows["activities"] = rows
    resource = BY_NAME["activities"]
    [listing] = open_listings(read_settings(EIGHT), [resource]).values()
    source = read_listing(listing)
    with tempfile.TemporaryDirectory() as directory:
        write_parquet(source, listing, directory)
        pipeline = dlt.pipeline("both", destination="duckdb", pipelines_dir=directory)
        pipeline.extract(source)
        state = pipeline.state["sources"]["analytics_activities"]["resources"]["activities"]["incremental"][
            "activity_time"
        ]
    assert state["last_value"].isoformat() == "2024-05-01T00:59:00+00:00"
