"""What Dagster knows of the assets before a run."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from analytics_assets.api import catalog
from analytics_assets.api.catalog import Resource
from analytics_assets.api.connector import SHIPPED
from analytics_assets.defs.assets.specs import code_reference, describe
from analytics_assets.defs.automation.crons import HOURLY
from analytics_assets.defs.names import name_all
from analytics_assets_tests.servers.fake_api import ENDPOINTS, FakeApi
from analytics_assets_tests.support.eight import EIGHT, RESOURCES, asset_key, defs, upstream_key
from analytics_assets_tests.support.project import Project, metadata
from analytics_assets_tests.support.reports import REPORTS


def specs() -> dict[dg.AssetKey, dg.AssetSpec]:
    return {spec.key: spec for spec in defs().resolve_all_asset_specs()}


def test_keys_groups_and_upstream() -> None:
    found = specs()
    reports = {dg.AssetKey(["reports", report.name]) for report in REPORTS}
    assets = {asset_key(resource.name) for resource in RESOURCES}
    assert set(found) == assets | {upstream_key(resource.name) for resource in RESOURCES} | reports
    for resource in RESOURCES:
        spec = found[dg.AssetKey(["analytics", resource.name])]
        assert spec.group_name == "analytics_api"
        assert [dep.asset_key for dep in spec.deps] == [dg.AssetKey(["api", resource.name])]
        assert spec.kinds == {"dlt", "duckdb"}
        assert spec.owners
    graph = defs().resolve_asset_graph()
    assert graph.executable_asset_keys == assets | reports


def test_one_definition_that_can_be_subset() -> None:
    definition = defs().resolve_assets_def(asset_key("roles"))
    assert definition.keys == {asset_key(resource.name) for resource in RESOURCES}
    assert definition.op.name == "analytics_api"
    assert definition.op.pool == "analytics_warehouse"
    assert definition.can_subset


@pytest.mark.parametrize("resource", RESOURCES, ids=lambda resource: resource.name)
def test_description_schema_and_code_reference(resource: Resource) -> None:
    spec = specs()[asset_key(resource.name)]
    assert ENDPOINTS[resource.name].path in str(spec.description)
    assert resource.description in str(spec.description)
    schema: dg.TableSchema = spec.metadata["dagster/column_schema"]
    for column, declared in zip(schema.columns, resource.table_columns, strict=True):
        # The API's field stands where every UI shows it.
        origin = "" if column.name == declared.name else f" (API: {declared.name})"
        assert column.description == f"{declared.description}{origin}"
    assert schema.columns[0].constraints.nullable is False
    assert schema.columns[0].constraints.unique is True
    assert spec.metadata.items() >= code_reference(resource).items()


def test_a_resource_of_another_catalog_does_not_lead_to_the_shipped_one() -> None:
    assert code_reference(replace(SHIPPED.resources[0], description="One row per company.")) == {}


@pytest.mark.parametrize("resource", SHIPPED.resources, ids=lambda resource: resource.name)
def test_a_shipped_resource_leads_to_its_entry_and_says_its_limits(resource: Resource) -> None:
    reference: Any = code_reference(resource)["dagster/code_references"].code_references[0]
    line = Path(reference.file_path).read_text(encoding="utf-8").splitlines()[reference.line_number - 1]
    assert reference.file_path == catalog.__file__
    assert f'"{resource.name}"' in line
    assert resource.limits
    assert all(limit in describe(name_all(), resource, HOURLY) for limit in resource.limits)


def test_the_schema_survives_a_run_with_names_types_and_descriptions(api: FakeApi, project: Project) -> None:
    result = project.sync("policies")
    schema = metadata(result, "policies")["dagster/column_schema"]
    assert schema == specs()[asset_key("policies")].metadata["dagster/column_schema"]


@pytest.mark.parametrize("resource", RESOURCES, ids=lambda resource: resource.name)
def test_each_column_leads_back_to_a_field_of_the_api_before_and_after_a_run(
    empty_api: FakeApi, project: Project, resource: Resource
) -> None:
    found = specs()
    fields = found[upstream_key(resource.name)].metadata["dagster/column_schema"]
    assert [(field.name, field.description) for field in fields.columns] == [
        (column.name, column.description) for column in resource.columns
    ]
    before = found[asset_key(resource.name)].metadata["dagster/column_lineage"]
    after = metadata(project.sync(resource.name), resource.name)["dagster/column_lineage"]
    assert after == before
    origins = {name: [(dep.asset_key, dep.column_name) for dep in deps] for name, deps in before.deps_by_column.items()}
    columns = {column.name for column in found[asset_key(resource.name)].metadata["dagster/column_schema"].columns}
    assert set(origins) == columns - {"deleted_at", "_rescued_data"}
    assert {name for [(_, name)] in origins.values()} == {field.name for field in fields.columns}
    assert {key for [(key, _)] in origins.values()} == {upstream_key(resource.name)}


def test_lineage_and_constraints_are_the_apis() -> None:
    activities = specs()[asset_key("activities")].metadata["dagster/column_lineage"]
    [origin] = activities.deps_by_column["activity_time"]
    assert (origin.asset_key, origin.column_name) == (dg.AssetKey(["api", "activities"]), "activityTime")
    locations = specs()[asset_key("locations")].metadata["dagster/column_schema"]
    constraints = {column.name: column.constraints.other for column in locations.columns if column.constraints.other}
    assert constraints == {"id": ["primary key"], "organization_id": ["references organizations.id"]}


@pytest.mark.parametrize("resource", RESOURCES, ids=lambda resource: resource.name)
def test_assets_and_endpoints_link_to_the_documentation_and_say_their_limits(resource: Resource) -> None:
    for key in (asset_key(resource.name), upstream_key(resource.name)):
        spec = specs()[key]
        assert spec.metadata["docs"].url == EIGHT.docs_url
        assert str(EIGHT.docs_url) in str(spec.description)
    assert resource.limits
    assert all(limit in str(specs()[asset_key(resource.name)].description) for limit in resource.limits)


def test_tags_select_what_is_incremental_and_what_are_events() -> None:
    graph = defs().resolve_asset_graph()
    by_tag = {
        tag: sorted(key.path[-1] for key in dg.AssetSelection.from_string(f"tag:{tag}").resolve(graph))
        for tag in ("sync=incremental", "sync=complete", "rows=events")
    }
    assert by_tag == {
        "sync=incremental": ["activities", "automation_scripts", "groups", "policies", "roles"],
        "sync=complete": ["locations", "organizations", "software_products"],
        "rows=events": ["activities"],
    }


def test_the_kind_follows_the_destination(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DESTINATION_TYPE", "postgres")
    assert specs()[asset_key("roles")].kinds == {"dlt", "postgres"}
