"""The job `analytics_backfill`: a window a partition, and a sync after it that loads what is new and nothing else."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
import pytest

from analytics_assets.api.settings import SettingsError
from analytics_assets.defs.assets.windows import Window, follow
from analytics_assets.defs.automation.alerts import name_of
from analytics_assets.defs.automation.run_tags import BACKFILL
from analytics_assets.demo.exchange import Request, Row
from analytics_assets_tests.servers.fake_api import Answer, FakeApi
from analytics_assets_tests.servers.fake_ninjaone import FakeNinjaOne
from analytics_assets_tests.support.eight import asset_key
from analytics_assets_tests.support.project import Project, failure_message, metadata, resource_config
from analytics_assets_tests.support.rows import activity

JOB = "analytics_backfill"
DAY = timedelta(days=1)


def today() -> datetime:
    return datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


START = today() - 3 * DAY
KEYS = [f"{START + n * DAY:%Y-%m-%d}" for n in range(3)]


def times() -> Iterator[datetime]:
    """Ten a day from its first moment on, and as many of today that are past by now."""
    for day in range(3):
        yield from (START + day * DAY + hour * timedelta(hours=2) for hour in range(10))
    now = datetime.now(UTC)
    yield from (today() + (now - today()) * part / 11 for part in range(10))


@pytest.fixture(autouse=True)
def configured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCES__ANALYTICS__START_DATE", START.isoformat())
    monkeypatch.setenv("SOURCES__ANALYTICS__BACKFILL_PARTITIONS", "daily")


def history(write: Any = datetime.isoformat) -> list[Row]:
    return [activity(number, write(at)) for number, at in enumerate(times(), 1)]


@pytest.fixture
def api(empty_api: FakeApi) -> FakeApi:
    empty_api.rows["activities"] = history()
    return empty_api


def backfill(project: Project, key: str, *, success: bool = True, of: str | None = None) -> dg.ExecuteInProcessResult:
    """The run of one partition, which has to succeed, or to fail."""
    job = project.definitions.resolve_job_def(JOB)
    tags = {BACKFILL: of} if of else {}
    run = job.execute_in_process(partition_key=key, instance=project.instance, raise_on_error=False, tags=tags)
    assert run.success is success, failure_message(run)
    return run


def after(request: Request) -> int:
    return int(request.query["after"])


def test_the_sync_after_all_partitions_loads_what_is_new_and_nothing_else(api: FakeApi, project: Project) -> None:
    definition = project.definitions.resolve_job_def(JOB)
    assert definition.partitions_def
    assert definition.partitions_def.get_partition_keys() == KEYS
    assert "no filter by activityTime, so each window reads the whole listing" in str(definition.description)
    for number, key in enumerate(reversed(KEYS), 1):
        run = backfill(project, key)
        said = metadata(run, "activities")
        assert (said["rows_loaded"], said["dagster/row_count"]) == (10, 10 * number)
    assert project.ids("activities") == list(range(1, 31))
    # Loaded again, it changes nothing. It says before the first request what it costs.
    again = backfill(project, KEYS[1])
    assert metadata(again, "activities")["dagster/row_count"] == 30
    assert f"The last sync has read 40 rows of it, in {said['requests']} requests" in project.log(again)

    said = metadata(project.sync("activities"), "activities")
    assert (said["rows_loaded"], said["dagster/row_count"]) == (10, 40)
    assert metadata(project.sync("activities"), "activities")["rows_loaded"] == 0


def test_a_partition_that_fails_is_red_by_itself_and_the_sync_begins_where_it_is_missing(
    api: FakeApi, project: Project
) -> None:
    backfill(project, KEYS[0])
    api.faults["activities"].append(lambda _: Answer(400))
    failed = backfill(project, KEYS[1], success=False)
    assert "answered 400" in failure_message(failed)
    api.faults["activities"].clear()
    backfill(project, KEYS[2])
    said = metadata(project.sync("activities"), "activities")
    assert (said["rows_loaded"], said["dagster/row_count"]) == (30, 40)


@pytest.mark.parametrize(
    "undone", ["DROP TABLE analytics.activities", "DELETE FROM analytics.activities WHERE id = 7", "another API"]
)
def test_windows_whose_rows_are_no_longer_there_do_not_count(api: FakeApi, project: Project, undone: str) -> None:
    """The last window is loaded once more, so that there is a table without a cursor."""
    for key in KEYS:
        backfill(project, key)
    config = None
    if undone == "another API":
        # The table has its rows, but not by this API.
        config = resource_config(base_url=f"{api.url}/")
    else:
        project.query(undone)
        backfill(project, KEYS[2])
    project.sync("activities", run_config=config)
    assert project.ids("activities") == list(range(1, 41))


def test_a_partition_of_a_table_that_was_emptied_leaves_no_cursor_of_before(api: FakeApi, project: Project) -> None:
    project.sync("activities")
    project.query("DELETE FROM analytics.activities")
    backfill(project, KEYS[1])
    project.sync("activities")
    assert project.ids("activities") == list(range(1, 41))


def test_each_partition_asks_for_its_part_only_where_the_api_can_filter(
    ninjaone: FakeNinjaOne, project: Project
) -> None:
    ninjaone.rows["activities"] = history(datetime.timestamp)
    description = project.definitions.resolve_job_def(JOB).description
    assert "whole listing" not in str(description)
    for key in KEYS:
        ninjaone.requests.clear()
        said = metadata(backfill(project, key), "activities")
        # The filter ends two seconds later, where the next day has its first row.
        assert (said["rows_loaded"], said["rows_read"]) in {(10, 10), (10, 11)}
    ninjaone.requests.clear()
    said = metadata(project.sync("activities"), "activities")
    assert (said["rows_loaded"], said["dagster/row_count"]) == (10, 40)
    # Not from the start date, but from the end of the last window on.
    assert {after(request) for request in ninjaone.asked("activities")} == {int(today().timestamp()) - 1}


def test_a_partition_says_what_a_sync_says(api: FakeApi, project: Project) -> None:
    """Tags, checks, and its retries: of the whole step, because it has no assets of its own."""
    run = backfill(project, KEYS[0])
    record = project.instance.get_run_by_id(run.run_id)
    assert record
    assert record.tags["analytics/window"] == f"{START.isoformat()} to {(START + DAY).isoformat()}"
    assert record.tags["dagster/retry_strategy"] == "ALL_STEPS"
    assert name_of(record) == f"{JOB} for {KEYS[0]}"
    event = project.instance.get_latest_materialization_event(asset_key("activities"))
    assert event
    assert event.run_id == run.run_id
    evaluated = {each.check_name for each in run.get_asset_check_evaluations()}
    assert {"primary_key", "last_load", "values_fit"} <= evaluated
    # Of a backfill only the last run measures the table.
    waiting = project.instance.create_run_for_job(
        project.definitions.resolve_job_def(JOB), tags={BACKFILL: "b"}, status=dg.DagsterRunStatus.NOT_STARTED
    )
    assert not backfill(project, KEYS[1], of="b").get_asset_check_evaluations()
    project.instance.delete_run(waiting.run_id)
    assert backfill(project, KEYS[1], of="b").get_asset_check_evaluations()


@pytest.mark.parametrize(("by", "first"), [("weekly", "2024-05-13"), ("monthly", "2024-05-01")])
def test_the_first_partition_has_the_start_date_and_no_row_before_it(
    api: FakeApi, project: Project, monkeypatch: pytest.MonkeyPatch, by: str, first: str
) -> None:
    monkeypatch.setenv("SOURCES__ANALYTICS__START_DATE", "2024-05-15T12:00:00Z")
    monkeypatch.setenv("SOURCES__ANALYTICS__BACKFILL_PARTITIONS", by)
    definition = project.definitions.resolve_job_def(JOB)
    assert definition.partitions_def
    assert definition.partitions_def.get_first_partition_key() == first
    config: Any = definition.get_run_config_for_partition_key(first)
    assert config["ops"]["analytics_window"]["config"]["start"] == "2024-05-15T12:00:00+00:00"


def test_partitions_of_another_length_are_refused(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCES__ANALYTICS__BACKFILL_PARTITIONS", "hourly")
    with pytest.raises(SettingsError, match="backfill_partitions = 'hourly' is none of daily, weekly, monthly"):
        _ = project.definitions


def test_windows_lead_on_as_far_as_there_is_no_hole() -> None:
    days = [Window(START + n * DAY, START + (n + 1) * DAY, n) for n in range(5)]
    early = Window(days[2].start, days[2].end - timedelta(minutes=1), 9)
    assert follow([days[3], days[0], days[1]], START) == days[:2]
    assert follow(days[1:], START) == []
    assert follow([*days[:2], early, *days[3:]], START) == [*days[:2], early]
    both = Window(START, START + 2 * DAY, 1)
    assert follow([both, *days], START) == [both, *days[2:]]
