"""The reports that the project ships have the same rows in every warehouse."""

import sqlite3
from contextlib import closing
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from analytics_assets.api.values.timestamps import parse_timestamp
from analytics_assets.defs.reports.assets import REPORTS, Report
from analytics_assets_tests.servers.fake_api import FakeApi
from analytics_assets_tests.support.project import Project, failure_message
from analytics_assets_tests.support.refreshing import refresh, refreshed
from analytics_assets_tests.support.rows import activity, location, organization, script
from analytics_assets_tests.support.shipped import as_shipped
from analytics_assets_tests.support.tables import Tables, open_tables

DONE = {"activityType": "ACTION", "activityResult": "SUCCESS"}

ROWS = {
    "activities": [
        activity(1, "2024-05-01T23:59:59.999999Z", **DONE, deviceId=1, severity="MAJOR"),
        activity(2, "2024-05-02T01:59:59+02:00", **DONE, deviceId=1, severity="NONE"),
        activity(3, "2024-05-02T00:00:00Z", **DONE, deviceId=2),
        activity(4, "2024-05-02T05:00:00Z", activityType="ACTION", severity="CRITICAL"),
        activity(5, "2024-05-02T06:00:00Z", activityType="ACTION"),
        activity(6, None, activityType=""),
    ],
    "organizations": [organization(1, nodeApprovalMode="MANUAL"), organization(2, name="é %s :x"), organization(3)],
    "locations": [location(1, address="Street 1"), location(2), location(3, organizationId=3), location(4)],
    "automation_scripts": [
        script(1, language="sh", active=True, operatingSystems=["Mac", "Linux", "linux"], lastUpdatedBy="a"),
        script(
            2, "2024-06-01T00:00:00.000001Z", language="sh", active=True, operatingSystems=["linux", "Linux", "Mac"]
        ),
        script(3, language="sh", active=False, operatingSystems=[]),
        script(4, language="sh", active=True, operatingSystems=None),
        script(5, language="sh", active=True, operatingSystems={"a": ["Mac"]}),
        script(6, language="SH", active=None, operatingSystems=["é, x"], lastUpdatedBy="b"),
    ],
}


MAY, JUNE = datetime(2024, 5, 1, tzinfo=UTC), datetime(2024, 6, 1, 0, 0, 0, 1, UTC)

EXPECTED = {
    "activity_daily": [
        (date(2024, 5, 1), "ACTION", "SUCCESS", 2, 1, 1),
        (date(2024, 5, 2), "ACTION", "SUCCESS", 1, 1, 0),
        (date(2024, 5, 2), "ACTION", None, 2, 0, 1),
        (None, "", None, 1, 0, 0),
    ],
    "automation_inventory": [
        ("SH", "é, x", None, 1, 1, MAY, MAY),
        ("sh", "", False, 1, 0, MAY, MAY),
        ("sh", "Linux, Mac, linux", True, 2, 1, MAY, JUNE),
        ("sh", None, True, 2, 0, MAY, MAY),
    ],
    "organization_overview": [(1, "Organization 1", "MANUAL", 2, 1), (2, "é %s :x", None, 0, 0)],
}

PREVIEW = [
    ["language", "operating_systems", "active", "scripts", "editors", "first_edit", "last_edit"],
    ["SH", "é, x", "", "1", "1", "2024-05-01 00:00:00Z", "2024-05-01 00:00:00Z"],
    ["sh", "", "False", "1", "0", "2024-05-01 00:00:00Z", "2024-05-01 00:00:00Z"],
    ["sh", "Linux, Mac, linux", "True", "2", "1", "2024-05-01 00:00:00Z", "2024-06-01 00:00:00.000001Z"],
    ["sh", "", "True", "2", "0", "2024-05-01 00:00:00Z", "2024-05-01 00:00:00Z"],
]


@pytest.mark.parametrize("kind", ["duckdb", "postgres", "mariadb", "sqlite", "delta", "iceberg", "ducklake"])
def test_reports_have_the_same_rows_in_every_warehouse(
    kind: str,
    request: pytest.FixtureRequest,
    empty_api: FakeApi,
    project: Project,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TZ", "Pacific/Auckland")
    project = as_shipped(project)
    warehouse = open_tables(kind, request, project, tmp_path, monkeypatch)
    empty_api.rows.update({name: list(rows) for name, rows in ROWS.items()})
    project.sync(*ROWS)
    del empty_api.rows["organizations"][2], empty_api.rows["locations"][3]
    project.sync("organizations", "locations")
    events = refresh(project).get_asset_materialization_events()
    [preview] = [
        event.materialization.metadata["preview"].value
        for event in events
        if event.asset_key == dg.AssetKey(["reports", "automation_inventory"])
    ]
    lines = [line for line in str(preview).splitlines() if not line.startswith("|:")]
    assert [[cell.strip() for cell in line.strip("|").split("|")] for line in lines] == PREVIEW
    # The second replaces the tables of the first.
    numbers = refreshed(project)
    assert numbers["activity_daily"] == {"rows": 4, "repeated_keys": 0, "counted": 6, "rows_of_input": 6}
    assert numbers["organization_overview"] == {"rows": 2, "repeated_keys": 0, "counted": 2, "rows_of_input": 2}
    assert {report.name: rows_of(warehouse, report, tmp_path) for report in REPORTS} == EXPECTED
    with monkeypatch.context() as patch:
        read = Path.read_text
        wrong = "SELECT nothing AS language FROM automation_scripts"
        patch.setattr(Path, "read_text", lambda path, **kinds: wrong if path.suffix == ".sql" else read(path, **kinds))
        result = refresh(project, "automation_inventory")
    assert "reports.automation_inventory cannot be made: " in failure_message(result)
    assert "pw-canary" not in failure_message(result)
    [inventory] = [report for report in REPORTS if report.name == "automation_inventory"]
    assert rows_of(warehouse, inventory, tmp_path) == EXPECTED["automation_inventory"]


def rows_of(warehouse: Tables, report: Report, tmp_path: Path) -> list[tuple[Any, ...]]:
    """The rows of a report as the destination's own driver reads them."""
    query = f"SELECT {', '.join(column.name for column in report.columns)} FROM"
    if warehouse.kind == "sqlite":
        with closing(sqlite3.connect(tmp_path / "warehouse__reports.db")) as connection:
            rows = connection.execute(f"{query} {report.name}").fetchall()
    elif warehouse.lake:
        with warehouse.lake.connect([report.name], "reports") as connection:
            rows = connection.execute(f"{query} {report.name}").fetchall()
    else:
        catalog = "lake." if warehouse.kind == "ducklake" else ""
        rows = warehouse.execute(f"{query} {catalog}reports.{report.name}")
    types = [column.type for column in report.columns]
    found = [tuple(value_of(value, type_) for value, type_ in zip(row, types, strict=True)) for row in rows]
    return sorted(found, key=lambda row: [(value is None, value) for value in row[: len(report.key)]])


def value_of(value: Any, type_: str) -> Any:
    if value is None:
        return None
    match type_:
        case "DATE":
            return date.fromisoformat(value) if isinstance(value, str) else value
        case "BOOLEAN":
            assert value in {0, 1}
            return bool(value)
        case "TIMESTAMP WITH TIME ZONE":
            return parse_timestamp(value)
    return value
