"""What the project ships, on purpose: the eight resources, both dialects and the reports, as they are specified.

Whoever changes one of the eight changes `support/specification.py` with it. A ninth needs no entry there.
"""

import re
from dataclasses import replace
from datetime import UTC, datetime

import dagster as dg
import duckdb
import pytest

from analytics_assets.api.connector import SHIPPED
from analytics_assets.api.dialects.base import Dialect
from analytics_assets.definitions import defs
from analytics_assets.defs.reports.assets import REPORTS, Report
from analytics_assets.demo.data import LISTINGS
from analytics_assets_tests.project.test_configuration_docs import API
from analytics_assets_tests.servers.fake_api import FakeApi
from analytics_assets_tests.support.eight import EIGHT
from analytics_assets_tests.support.project import Project
from analytics_assets_tests.support.refreshing import refreshed
from analytics_assets_tests.support.rows import activity, location, organization, script
from analytics_assets_tests.support.shipped import NAMES, as_shipped
from tools.tour import DOCUMENT, document

SPECIFICATION = "analytics_assets_tests/support/specification.py"

each_report = pytest.mark.parametrize("report", REPORTS, ids=lambda report: report.name)


@pytest.fixture
def project(project: Project) -> Project:
    return as_shipped(project)


@pytest.mark.parametrize("name", EIGHT.by_name)
def test_a_shipped_resource_is_what_the_tests_are_about(name: str) -> None:
    assert SHIPPED.by_name.get(name) == EIGHT.by_name[name], f"api/catalog.py and {SPECIFICATION} differ in {name}"


def test_the_shipped_connector_is_what_the_tests_are_about() -> None:
    eight = SHIPPED.only(EIGHT.by_name)
    assert list(eight.by_name) == list(EIGHT.by_name), f"api/catalog.py and {SPECIFICATION} have another order"
    for name, dialect in EIGHT.dialects_by_name.items():
        shipped = eight.dialects_by_name[name]
        assert values(shipped) == values(dialect), f"api/dialects/{name}.py and {SPECIFICATION} differ"
    assert (SHIPPED.name, SHIPPED.docs_url) == (EIGHT.name, EIGHT.docs_url)
    assert (SHIPPED.section, SHIPPED.dataset) == (EIGHT.section, EIGHT.dataset)


def values(dialect: Dialect) -> tuple[Dialect, list[str]]:
    """A dialect without its function, and what that makes of points in time."""
    moments = [datetime(2024, 5, 1, tzinfo=UTC), datetime(1960, 1, 1, 0, 0, 0, 1, tzinfo=UTC)]
    moments.append(datetime(2024, 5, 1, 12, 30, 59, 1, tzinfo=UTC))
    return replace(dialect, format_datetime=str), list(map(dialect.format_datetime, moments))


def test_tables_reports_and_a_freshness_policy_for_each_cursor_are_shipped() -> None:
    specs = {spec.key: spec for spec in defs().resolve_all_asset_specs()}
    assert set(specs) == {
        *NAMES.asset_keys(),
        *(NAMES.upstream_key(name) for name in SHIPPED.by_name),
        *(NAMES.report_key(report.name) for report in REPORTS),
    }
    fresh = {key for key, spec in specs.items() if spec.freshness_policy}
    assert fresh == {NAMES.asset_key(resource.name) for resource in SHIPPED.resources if resource.cursor}


def test_the_demo_has_rows_of_their_own_for_the_eight() -> None:
    for dialect in SHIPPED.dialects:
        paths = {name: endpoint.path for name, endpoint in dialect.endpoints.items()}
        lost = LISTINGS.keys() - set(paths.values())
        assert not lost, f"LISTINGS in demo/data.py has paths that are in no endpoint of {dialect.name}"
        made_up = {name for name in EIGHT.by_name if paths[name] not in LISTINGS}
        assert not made_up, f"LISTINGS in demo/data.py lacks the paths that {dialect.name} has for them"


def test_the_documents_have_the_dialects_and_the_lags() -> None:
    sizes, first = API["page_size"]["meaning"], SHIPPED.dialects[0].name
    document = "the tables of docs/configuration.md have to say it"
    assert API["dialect"]["default"] == f'`"{first}"`', document
    for dialect in SHIPPED.dialects:
        assert f"{dialect.page_size} for `{dialect.name}`" in sizes, document
        assert f"`{dialect.name}`" in API["dialect"]["meaning"], document
    lags = {resource.name: resource.lag_seconds for resource in SHIPPED.resources if resource.cursor}
    of_others = re.search(r"(\d+) for the others", API["lag_seconds"]["meaning"])
    assert of_others, document
    for name, lag in lags.items():
        said = f"{lag} for {name}" in API["lag_seconds"]["meaning"]
        assert said or lag == int(of_others[1]), f"lag_seconds of {name}: {document}"


def test_the_tour_is_written_down_as_it_is_walked() -> None:
    assert DOCUMENT.read_text(encoding="utf-8") == document(), "`make tour` writes docs/tour.md anew"


@each_report
def test_a_report_depends_on_the_tables_that_its_query_reads(
    shipped_api: FakeApi, project: Project, report: Report
) -> None:
    project.sync(*report.inputs)
    [spec] = [
        spec
        for spec in project.definitions.resolve_all_asset_specs()
        if spec.key == dg.AssetKey(["reports", report.name])
    ]
    with duckdb.connect(str(project.database)) as connection:
        read = connection.get_table_names(report.sql_file.read_text(encoding="utf-8"), qualified=True)
    assert {dep.asset_key.path[-1] for dep in spec.deps} == read


@each_report
def test_a_report_has_the_declared_columns(shipped_api: FakeApi, project: Project, report: Report) -> None:
    project.sync(*report.inputs)
    refreshed(project, report.name)
    columns = project.query(
        "SELECT column_name, data_type FROM duckdb_columns()"
        f" WHERE schema_name = 'reports' AND table_name = '{report.name}' ORDER BY column_index"
    )
    assert columns == [(column.name, column.type) for column in report.columns]


def test_activities_are_counted_per_utc_day_type_and_result(
    shipped_api: FakeApi, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "Pacific/Auckland")
    done = {"activityType": "ACTION", "activityResult": "SUCCESS"}
    shipped_api.rows["activities"] = [
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


def test_organizations_and_locations_that_are_gone_are_not_counted(shipped_api: FakeApi, project: Project) -> None:
    shipped_api.rows["organizations"] = [organization(1, nodeApprovalMode="MANUAL"), organization(2), organization(3)]
    shipped_api.rows["locations"] = [location(1, address="Street 1"), location(2), location(3, organizationId=3)]
    shipped_api.rows["locations"] += [location(4), location(5, organizationId=77)]
    project.sync("organizations", "locations")
    del shipped_api.rows["organizations"][2]
    del shipped_api.rows["locations"][3]
    project.sync("organizations", "locations")
    numbers = refreshed(project, "organization_overview")
    assert project.query("FROM reports.organization_overview") == [
        (1, "Organization 1", "MANUAL", 2, 1),
        (2, "Organization 2", None, 0, 0),
    ]
    assert numbers["organization_overview"]["rows_of_input"] == 2


def test_scripts_are_counted_once_whatever_they_run_on(shipped_api: FakeApi, project: Project) -> None:
    both = {"language": "sh", "active": True}
    shipped_api.rows["automation_scripts"] = [
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
