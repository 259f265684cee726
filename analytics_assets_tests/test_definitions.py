"""What Dagster sees of the project."""

import ast
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import tomlkit
import yaml

from analytics_assets.api import catalog
from analytics_assets.api.catalog import DOCS_URL, RESOURCES, Resource
from analytics_assets.api.dialects.analytics import ANALYTICS
from analytics_assets.definitions import defs
from analytics_assets.defs.assets.resource import AnalyticsResource
from analytics_assets.defs.assets.specs import asset_key, upstream_key
from analytics_assets_tests.servers.fake_api import FakeApi
from analytics_assets_tests.support.checkout import CHECKOUT
from analytics_assets_tests.support.project import Project, metadata

REPORTS = ["activity_daily", "organization_overview", "automation_inventory"]

NO_NETWORK = """
import socket, sys
def refuse(*args, **kwargs):
    raise AssertionError("definitions opened a socket")
socket.socket.connect = socket.socket.bind = socket.create_connection = refuse
from analytics_assets.definitions import defs
defs().get_repository_def()
needless = {"duckdb", "pyarrow", "pyreqwest"} & set(sys.modules)
assert not needless, f"definitions need no {needless}"
print("loaded")
"""


def specs() -> dict[dg.AssetKey, dg.AssetSpec]:
    return {spec.key: spec for spec in defs().resolve_all_asset_specs()}


def test_definitions_load_with_an_empty_environment_no_network_and_nothing_written(tmp_path: Path) -> None:
    home, elsewhere = tmp_path / "home", tmp_path / "elsewhere"
    home.mkdir()
    elsewhere.mkdir()
    environment = {"HOME": str(home), "DLT_DATA_DIR": str(home / "dlt"), "PYTHONDONTWRITEBYTECODE": "1"}
    before = sorted(path for path in CHECKOUT.glob("*") if path.name != "__pycache__")
    result = subprocess.run(
        [sys.executable, "-c", NO_NETWORK], cwd=elsewhere, env=environment, capture_output=True, text=True, check=False
    )
    assert result.stdout.strip() == "loaded", result.stderr
    assert list(home.iterdir()) == list(elsewhere.iterdir()) == []
    assert sorted(path for path in CHECKOUT.glob("*") if path.name != "__pycache__") == before


def test_keys_groups_and_upstream() -> None:
    found = specs()
    reports = {dg.AssetKey(["reports", name]) for name in REPORTS}
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
    assert ANALYTICS.endpoints[resource.name].path in str(spec.description)
    assert resource.description in str(spec.description)
    schema: dg.TableSchema = spec.metadata["dagster/column_schema"]
    assert [column.description for column in schema.columns] == [c.description for c in resource.table_columns]
    assert schema.columns[0].constraints.nullable is False
    assert schema.columns[0].constraints.unique is True
    [reference] = spec.metadata["dagster/code_references"].code_references
    line = Path(reference.file_path).read_text(encoding="utf-8").splitlines()[reference.line_number - 1]
    assert reference.file_path == catalog.__file__
    assert f'"{resource.name}"' in line


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
        assert spec.metadata["docs"].url == DOCS_URL
        assert DOCS_URL in str(spec.description)
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


def test_the_resource_has_a_field_for_every_setting_and_shows_no_secret() -> None:
    from analytics_assets.api.settings import Settings  # noqa: PLC0415

    assert set(Settings()) <= set(AnalyticsResource.model_fields)
    shown = repr(AnalyticsResource(api_key="token-canary", destination_credentials="postgresql://u:pw-canary@h/d"))
    assert "canary" not in shown


def test_workspace_and_project_file_name_the_same_location() -> None:
    pyproject = tomlkit.parse((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8")).unwrap()
    project = pyproject["tool"]["dg"]["project"]
    workspace = yaml.safe_load((CHECKOUT / "workspace.yaml").read_text(encoding="utf-8"))
    [entry] = workspace["load_from"]
    assert entry["python_module"]["module_name"] == project["code_location_target_module"]
    assert entry["python_module"]["location_name"] == project["code_location_name"] == "analytics_assets"


def test_the_deprecated_package_is_imported_in_one_module() -> None:
    importing = [
        path.relative_to(CHECKOUT).as_posix()
        for path in (CHECKOUT / "analytics_assets").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("dagster_embedded_elt")
    ]
    assert importing in ([], ["analytics_assets/defs/assets/assets.py"])


@pytest.mark.parametrize(
    "command",
    [
        ["dagster", "definitions", "validate"],
        ["dagster", "definitions", "validate", "-w", "workspace.yaml"],
        ["dg", "check", "defs"],
    ],
    ids=" ".join,
)
def test_the_command_lines_accept_the_project(command: list[str], tmp_path: Path) -> None:
    executable = Path(sys.executable).with_name(command[0])
    environment: dict[str, Any] = {**os.environ, "DAGSTER_HOME": str(tmp_path), "DG_TELEMETRY_DISABLED": "1"}
    result = subprocess.run(
        [str(executable), *command[1:]], cwd=CHECKOUT, env=environment, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert "analytics_assets" in result.stdout + result.stderr or command[0] == "dg"
