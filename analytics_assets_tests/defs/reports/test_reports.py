"""Reports: what is shown of them, when they are refreshed, and what becomes of those that cannot be made."""

from pathlib import Path

import dagster as dg
import pytest
from dagster._core.definitions.job_base import InMemoryJob
from dagster._core.execution.api import execute_run

from analytics_assets.defs.reports.assets import Report
from analytics_assets_tests.servers.fake_api import Answer, FakeApi
from analytics_assets_tests.support.eight import defs
from analytics_assets_tests.support.project import Project, failure_message
from analytics_assets_tests.support.refreshing import refresh, refreshed
from analytics_assets_tests.support.reports import REPORTS
from analytics_assets_tests.support.sensor import Sensor, tick_before_each_sync

each_report = pytest.mark.parametrize("report", REPORTS, ids=lambda report: report.name)


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
    result = refresh(project, "automation_inventory")
    [event] = result.get_asset_materialization_events()
    assert str(event.materialization.metadata["preview"].value).startswith("| language ")
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
