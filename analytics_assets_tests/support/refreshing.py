"""Refreshes of reports, as the UI does them."""

from typing import Any

import dagster as dg

from analytics_assets_tests.support.project import Project, failure_message


def refresh(project: Project, *reports: str) -> dg.ExecuteInProcessResult:
    """Materializes reports, all by default, as the UI does it."""
    keys = [dg.AssetKey(["reports", name]) for name in reports or [report.name for report in project.reports]]
    job = project.definitions.resolve_implicit_global_asset_job_def()
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
