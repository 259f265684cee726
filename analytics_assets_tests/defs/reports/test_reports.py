"""The reports: what they count, and when they are refreshed."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import pytest
from dagster._core.definitions.job_base import InMemoryJob
from dagster._core.execution.api import execute_run

from analytics_assets.defs.reports.assets import REPORTS, Report
from analytics_assets_tests.servers.fake_api import Answer, FakeApi
from analytics_assets_tests.support.eight import defs
from analytics_assets_tests.support.project import Project, failure_message
from analytics_assets_tests.support.rows import activity, location, organization, script
from analytics_assets_tests.support.sensor import Sensor, tick_before_each_sync

each_report = pytest.mark.parametrize("report", REPORTS, ids=lambda report: report.name)


def refresh(project: Project, *reports: str) -> dg.ExecuteInProcessResult:
    """Materializes reports, all by default, as the UI does it."""
    keys = [dg.AssetKey(["reports", name]) for name in reports or [report.name for report in REPORTS]]
    job = defs().resolve_implicit_global_asset_job_def()
    return job.execute_in_process(asset_selection=keys, instance=project.instance, raise_on_error=False)


def refreshed(project: Project, *reports: str) -> dict[str, dict[str, Any]]:
    """The numbers of their checks, after a refresh that succeeds and whose checks pass."""
    result = refresh(project, *reports)
    assert result.success, failure_message(result)
    evaluations = result.get_asset_check_evaluations()
    assert all(each.passed and each.severity is dg.AssetCheckSeverity.ERROR for each in evaluations)
    numbers = {
        each.asset_key.path[-1]: {name: value.value for name, value in each.metadata.items()} for each in evaluations
    }
    for event in result.get_asset_materialization_events():
        assert event.asset_key
        rows = event.materialization.metadata["dagster/row_count"].value
        assert rows == numbers[event.asset_key.path[-1]]["rows"]
    return numbers


@each_report
def test_what_the_catalog_shows_of_a_report(report: Report) -> None:
    [spec] = [spec for spec in defs().resolve_all_asset_specs() if spec.key == dg.AssetKey(["reports", report.name])]
    assert spec.group_name == "analytics_reports"
    assert spec.kinds == {"duckdb", "sql"}
    assert spec.owners
    assert spec.description
    assert spec.metadata["dagster/table_name"] == f"reports.{report.name}"
    assert all(column.description for column in spec.metadata["dagster/column_schema"].columns)
    [reference] = spec.metadata["dagster/code_references"].code_references
    assert Path(reference.file_path).is_file()


@each_report
def test_a_report_depends_on_the_tables_that_its_query_reads(api: FakeApi, project: Project, report: Report) -> None:
    project.sync(*report.inputs)
    [spec] = [spec for spec in defs().resolve_all_asset_specs() if spec.key == dg.AssetKey(["reports", report.name])]
    with duckdb.connect(str(project.database)) as connection:
        read = connection.get_table_names(report.sql_file.read_text(encoding="utf-8"), qualified=True)
    assert {dep.asset_key.path[-1] for dep in spec.deps} == read


@each_report
def test_a_report_has_the_declared_columns(api: FakeApi, project: Project, report: Report) -> None:
    project.sync(*report.inputs)
    refreshed(project, report.name)
    columns = project.query(
        "SELECT column_name, data_type FROM duckdb_columns()"
        f" WHERE schema_name = 'reports' AND table_name = '{report.name}' ORDER BY column_index"
    )
    assert columns == [(column.name, column.type) for column in report.columns]


def test_activities_are_counted_per_utc_day_type_and_result(
    empty_api: FakeApi, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "Pacific/Auckland")
    done = {"activityType": "ACTION", "activityResult": "SUCCESS"}
    empty_api.rows["activities"] = [
        activity(1, "2024-05-01T23:59:59Z", **done, deviceId=1, severity="MAJOR"),
        activity(2, "2024-05-02T01:59:59+02:00", **done, deviceId=1, severity="NONE"),
        activity(3, "2024-05-02T00:00:00Z", **done, deviceId=1),
        activity(4, "2024-05-02T05:00:00Z", activityType="ACTION", severity="CRITICAL"),
        activity(5, "2024-05-02T06:00:00Z", activityType="ACTION"),
        activity(6, None),
    ]
    project.sync("activities")
    numbers = refreshed(project, "activity_daily")
    first, second = datetime(2024, 5, 1).date(), datetime(2024, 5, 2).date()  # noqa: DTZ001 - days have no zone
    assert project.query("FROM reports.activity_daily") == [
        (first, "ACTION", "SUCCESS", 2, 1, 1),
        (second, "ACTION", "SUCCESS", 1, 1, 0),
        (second, "ACTION", None, 2, 0, 1),
        (None, None, None, 1, 0, 0),
    ]
    assert numbers == {"activity_daily": {"rows": 4, "repeated_keys": 0, "counted": 6, "rows_of_input": 6}}


def test_organizations_and_locations_that_are_gone_are_not_counted(empty_api: FakeApi, project: Project) -> None:
    empty_api.rows["organizations"] = [organization(1, nodeApprovalMode="MANUAL"), organization(2), organization(3)]
    empty_api.rows["locations"] = [location(1, address="Street 1"), location(2), location(3, organizationId=3)]
    empty_api.rows["locations"] += [location(4), location(5, organizationId=77)]
    project.sync("organizations", "locations")
    del empty_api.rows["organizations"][2]
    del empty_api.rows["locations"][3]
    project.sync("organizations", "locations")
    numbers = refreshed(project, "organization_overview")
    assert project.query("FROM reports.organization_overview") == [
        (1, "Organization 1", "MANUAL", 2, 1),
        (2, "Organization 2", None, 0, 0),
    ]
    assert numbers["organization_overview"]["rows_of_input"] == 2


def test_scripts_are_counted_once_whatever_they_run_on(empty_api: FakeApi, project: Project) -> None:
    both = {"language": "sh", "active": True}
    empty_api.rows["automation_scripts"] = [
        script(1, "2024-05-01T00:00:00Z", **both, operatingSystems=["Mac", "Linux"], lastUpdatedBy="a"),
        script(2, "2024-06-01T00:00:00Z", **both, operatingSystems=["Linux", "Mac"], lastUpdatedBy="b"),
        script(3, language="sh", active=False, operatingSystems=[]),
        script(4, language="sh", active=True, operatingSystems=None),
    ]
    project.sync("automation_scripts")
    numbers = refreshed(project, "automation_inventory")
    may, june = datetime(2024, 5, 1, tzinfo=UTC), datetime(2024, 6, 1, tzinfo=UTC)
    assert project.query("FROM reports.automation_inventory") == [
        ("sh", "", False, 1, 0, may, may),
        ("sh", "Linux, Mac", True, 2, 2, may, june),
        ("sh", None, True, 1, 0, may, may),
    ]
    assert numbers["automation_inventory"]["counted"] == 4


def test_tables_without_rows_make_reports_without_rows(empty_api: FakeApi, project: Project) -> None:
    project.sync()
    assert refreshed(project) == {
        report.name: {"rows": 0, "repeated_keys": 0, "counted": 0, "rows_of_input": 0} for report in REPORTS
    }


def test_a_table_that_was_never_synced_is_named_and_not_tried_again(api: FakeApi, project: Project) -> None:
    project.sync("organizations")
    result = refresh(project, "organization_overview")
    assert "reports.organization_overview cannot be made before analytics.locations is there" in failure_message(result)
    run = project.instance.get_run_by_id(result.run_id)
    assert run is not None
    assert run.tags["dagster/max_retries"] == "0"
    assert project.query("SELECT count(*) FROM duckdb_tables() WHERE schema_name = 'reports'") == [(0,)]


def test_a_refresh_that_fails_keeps_the_report_as_it_was(api: FakeApi, project: Project) -> None:
    project.sync("automation_scripts")
    refreshed(project, "automation_inventory")
    before = project.query("FROM reports.automation_inventory")
    project.query("ALTER TABLE analytics.automation_scripts DROP COLUMN language")
    assert not refresh(project, "automation_inventory").success
    assert project.query("FROM reports.automation_inventory") == before


@pytest.mark.parametrize(
    ("query", "numbers"),
    [
        (
            "SELECT language, NULL AS operating_systems, active, 1 AS scripts FROM analytics.automation_scripts",
            (3, 2, 3),
        ),
        ("SELECT 'sh' AS language, NULL AS operating_systems, true AS active, 4 AS scripts", (1, 0, 4)),
    ],
    ids=["a row twice", "a script too many"],
)
def test_a_query_that_counts_wrongly_is_an_error(
    api: FakeApi, project: Project, monkeypatch: pytest.MonkeyPatch, query: str, numbers: tuple[int, int, int]
) -> None:
    project.sync("automation_scripts")
    monkeypatch.setattr(Path, "read_text", lambda *_, **__: query)
    [evaluation] = refresh(project, "automation_inventory").get_asset_check_evaluations()
    assert not evaluation.passed
    assert evaluation.severity is dg.AssetCheckSeverity.ERROR
    rows, repeated, counted = numbers
    said = {name: value.value for name, value in evaluation.metadata.items()}
    assert said == {"rows": rows, "repeated_keys": repeated, "counted": counted, "rows_of_input": 3}


def test_the_jobs_leave_the_reports_alone(api: FakeApi, project: Project) -> None:
    project.sync()
    assert project.query("SELECT count(*) FROM duckdb_tables() WHERE schema_name = 'reports'") == [(0,)]


def test_where_the_destination_is_not_duckdb_there_are_no_reports(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DESTINATION_TYPE", "postgres")
    groups = {spec.group_name for spec in defs().resolve_all_asset_specs()}
    assert groups == {"api", "analytics_api"}


def test_reports_are_refreshed_once_after_each_sync_of_their_inputs(api: FakeApi, project: Project) -> None:
    sensor = Sensor(project.instance, dg.AssetSelection.groups("analytics_reports"))
    assert sensor.tick() == set()
    project.sync("organizations")
    assert sensor.tick() == set()  # locations have never been there
    project.sync("locations")
    assert sensor.tick() == {"organization_overview"}
    assert sensor.tick() == set()
    project.sync()
    assert sensor.tick() == {report.name for report in REPORTS}
    refreshed(project)
    assert sensor.tick() == set()


def test_inputs_that_arrive_one_by_one_in_a_run_are_waited_for(
    api: FakeApi, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.sync()
    sensor = Sensor(project.instance, dg.AssetSelection.groups("analytics_reports"))
    sensor.tick()
    asked_for = tick_before_each_sync(sensor, monkeypatch)
    project.sync("organizations", "locations")
    assert asked_for == [("organizations", set()), ("locations", set())]
    assert sensor.tick() == {"organization_overview"}


def test_reports_that_a_failed_run_has_skipped_are_refreshed_after_it(api: FakeApi, project: Project) -> None:
    project.sync()
    refreshed(project)
    sensor = Sensor(project.instance, dg.AssetSelection.groups("analytics_reports"))
    sensor.tick()
    api.answer_always("roles", Answer(403))
    # As the UI does it: execute_in_process would not record what was selected, by which Dagster's own conditions go.
    selected = defs().resolve_asset_graph().executable_asset_keys
    job = defs().resolve_implicit_global_asset_job_def().get_subset(asset_selection=selected)
    run = project.instance.create_run_for_job(job, asset_selection=selected)
    assert not execute_run(InMemoryJob(job), run, project.instance, raise_on_error=False).success
    assert sensor.tick() == {report.name for report in REPORTS}
