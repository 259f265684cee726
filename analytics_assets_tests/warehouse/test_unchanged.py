"""A complete listing that is as it was is not loaded again, and what is gone is marked all the same."""

import re
import time

import pytest

from analytics_assets.warehouse.session import open_session
from analytics_assets_tests.servers.fake_api import FakeApi
from analytics_assets_tests.support.project import Project, failure_message, metadata
from analytics_assets_tests.support.rows import activity


def loads(project: Project) -> list[tuple[str]]:
    return project.query("SELECT load_id FROM analytics._dlt_loads ORDER BY 1")


def test_a_quiet_sync_writes_nothing(api: FakeApi, project: Project) -> None:
    project.sync()
    copy = project.database.with_name("warehouse_read.duckdb")
    before, copied = loads(project), copy.stat().st_ino
    result = project.sync()
    said = metadata(result, "organizations")
    assert (said["rows_loaded"], said["rows_read"], said["rows_unchanged"]) == (0, 45, 45)
    outcome = r"organizations: 0 rows loaded, 45 read in \d+ requests: all as the last load has brought them"
    assert re.search(outcome, project.log(result))
    assert loads(project) == before
    assert copy.stat().st_ino == copied
    api.rows["activities"].append(activity(501, "2024-05-02T00:00:00Z"))
    project.sync()
    [new] = set(loads(project)) - set(before)
    project.sync()
    assert loads(project) == [*before, new]


def test_a_reading_in_several_loads_that_moves_no_cursor_leaves_it_as_it_was(
    api: FakeApi, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cursor() -> object:
        with open_session() as session, session.client as client:
            state = client.stored_state("analytics_activities")
        return state["sources"]["analytics_activities"]["resources"]["activities"]["incremental"]

    project.sync("activities")
    before, cursor_before = loads(project), cursor()
    monkeypatch.setattr("analytics_assets.api.prefetch.BATCH_ROWS", 10)
    monkeypatch.setenv("SOURCES__ANALYTICS__ROWS_PER_LOAD", "20")
    project.sync("activities", config={"mode": "full"})
    assert len(loads(project)) > len(before) + 1
    assert cursor() == cursor_before


def test_one_changed_row_brings_the_whole_listing(api: FakeApi, project: Project) -> None:
    project.sync("organizations")
    api.rows["organizations"][40]["name"] = "Renamed"
    assert metadata(project.sync("organizations"), "organizations")["rows_loaded"] == 45
    assert project.ids("organizations", "name = 'Renamed'") == [41]
    # A field that the catalog does not know counts, too.
    api.rows["organizations"][3]["colour"] = "red"
    project.sync("organizations")
    assert project.ids("organizations", "colour IS NOT NULL") == [4]


def test_mode_full_loads_it_and_repairs_what_was_changed_by_hand(api: FakeApi, project: Project) -> None:
    project.sync("locations")
    project.query("UPDATE analytics.locations SET name = 'By hand'")
    rows = len(api.rows["locations"])
    assert metadata(project.sync("locations", config={"mode": "full"}), "locations")["rows_loaded"] == rows
    assert project.ids("locations", "name = 'By hand'") == []
    assert metadata(project.sync("locations"), "locations")["rows_loaded"] == 0


def test_a_table_that_was_emptied_is_filled_again(api: FakeApi, project: Project) -> None:
    project.sync("organizations")
    project.query("DELETE FROM analytics.organizations")
    project.sync("organizations")
    assert project.ids("organizations") == list(range(1, 46))


def test_what_a_sync_could_not_mark_is_marked_by_a_later_one(
    api: FakeApi, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.sync("organizations")
    del api.rows["organizations"][10:]
    for _ in range(2):
        assert "lacks 35 of the table's 45 live rows" in failure_message(project.run("organizations"))
    monkeypatch.setenv("SOURCES__ANALYTICS__MAX_DELETED_SHARE", "0.9")
    said = metadata(project.sync("organizations"), "organizations")
    assert (said["rows_loaded"], said["rows_marked_deleted"]) == (0, 35)


def test_a_listing_that_is_too_long_to_be_held_back_is_loaded_each_time(
    api: FakeApi, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("analytics_assets.warehouse.unchanged.MOST_BYTES", 500)
    monkeypatch.setattr("analytics_assets.api.prefetch.BATCH_ROWS", 10)
    monkeypatch.setenv("SOURCES__ANALYTICS__PAGE_SIZE", "10")
    for _ in range(2):
        assert metadata(project.sync("organizations"), "organizations")["rows_loaded"] == 45
        assert project.ids("organizations", "deleted_at IS NULL") == list(range(1, 46))


@pytest.mark.parametrize("resource", ["organizations", "policies"])
def test_what_is_as_it_was_is_not_compared_with_a_load_of_the_future(
    api: FakeApi, project: Project, monkeypatch: pytest.MonkeyPatch, resource: str
) -> None:
    with monkeypatch.context() as patch:
        clock = "dlt.common.storages.load_package.increasing_precise_time"
        patch.setattr(clock, lambda: time.time() + 3600)
        project.sync(resource)
    # The clock is right again. dlt would go on to restore the state of the first load, which the former row is as in.
    [first, *_] = api.rows[resource]
    first["name"], former = "Edited", first["name"]
    message = failure_message(project.run(resource))
    assert f"{resource}: the newest load of the table is of " in message
    assert "Set the clocks" in message
    stored = f"SELECT name, deleted_at FROM analytics.{resource} WHERE id = 1"
    first["name"] = former
    project.run(resource)
    assert project.query(stored) == [(former, None)]
    assert "delete it from _dlt_loads, and run with mode: rebuild" in message
    project.query("DELETE FROM analytics._dlt_loads")
    first["name"] = "Edited"
    project.sync(resource, config={"mode": "rebuild"})
    assert project.query(stored) == [("Edited", None)]
    assert metadata(project.sync(resource), resource)["rows_loaded"] == 0
