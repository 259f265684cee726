"""Which resources are on, and which fields are hidden, is configuration."""

import dlt
import pytest

from analytics_assets.api.configured import configure
from analytics_assets.api.settings import SettingsError
from analytics_assets.api.settings_reader import read_settings
from analytics_assets.defs.assets.resource import AnalyticsResource
from analytics_assets.defs.assets.run_facts import tabulate_configured
from analytics_assets_tests.servers.fake_api import FakeApi
from analytics_assets_tests.support.eight import BY_NAME, EIGHT, asset_key, upstream_key
from analytics_assets_tests.support.project import Project, failure_message, materialized

HASH_KEY = "0123456789abcdef"


def setting(monkeypatch: pytest.MonkeyPatch, key: str, value: str) -> None:
    monkeypatch.setenv(f"SOURCES__ANALYTICS__{key.upper()}", value)


def test_nothing_changes_without_configuration() -> None:
    assert configure(EIGHT) is EIGHT


@pytest.mark.parametrize("spelled", ["groups, roles", '["groups", "roles"]'])
def test_lists_are_read_as_text_with_commas_or_as_json_any_number_of_times(
    monkeypatch: pytest.MonkeyPatch, spelled: str
) -> None:
    setting(monkeypatch, "resources", spelled)
    setting(monkeypatch, "hashed", '["roles.name", "activities.data.message"]')
    setting(monkeypatch, "dropped", "groups.description,activities.subject")
    once = configure(EIGHT)
    assert list(once.by_name) == ["groups", "roles"]
    assert once.by_name["roles"].hashed == ("name",)
    assert once.by_name["groups"].dropped == ("description",)
    assert "description" not in {column.name for column in once.by_name["groups"].columns}
    assert configure(once) is once
    assert configure(EIGHT.only(["groups"])).by_name.keys() == {"groups"}


def test_a_list_in_toml_counts_for_a_session_without_dagster() -> None:
    with dlt.config.values({"sources.analytics.resources": ["locations"]}):
        connector = read_settings(EIGHT).connector
    assert list(connector.by_name) == ["locations"]
    # There is no table of organizations to look into.
    assert {column.references for column in connector.by_name["locations"].columns} == {None}


def test_short_names_count_as_for_all_settings(monkeypatch: pytest.MonkeyPatch, project: Project) -> None:
    monkeypatch.setenv("RESOURCES", "groups, roles")
    monkeypatch.setenv("SOURCES__HASHED", "roles.name")
    monkeypatch.setenv("DROPPED", '["groups.description"]')
    monkeypatch.setenv("BASE_URL", "https://short.example.com")
    monkeypatch.setenv("API_KEY", "short-canary")
    once = configure(EIGHT)
    assert list(once.by_name) == ["groups", "roles"]
    assert once.by_name["roles"].hashed == ("name",)
    assert once.by_name["groups"].dropped == ("description",)
    assert "short-canary" in AnalyticsResource().secrets(EIGHT)
    assert "https://short.example.com" in tabulate_configured(project.names, AnalyticsResource())


@pytest.mark.parametrize(
    ("key", "value", "problem"),
    [
        ("resources", "groups, rolls", "= 'rolls' names no resource of analytics (did you mean 'roles'?)"),
        ("resources", '["groups"', "is no list"),
        ("hashed", "organisations.name", "names no resource of analytics (did you mean 'organizations'?)"),
        ("hashed", "organizations.nmae", "names no declared field of organizations, so that it would hide nothing"),
        ("hashed", "organizations", "names no declared field of organizations"),
        ("hashed", "organizations.id", "organizations: id is needed as it is: id is the key or the cursor"),
        ("hashed", "activities.deviceId", "the column deviceId is bigint: declare it as text or json"),
        ("hashed", "organizations.name.x", "name.x leads into the column name, which is text"),
        ("dropped", "activities.data..x", "'data..x' has an empty part"),
        ("hashed", "organizations.", "names no declared field of organizations"),
        ("dropped", "activities.activityTime", "activityTime is needed as it is"),
        ("dropped", "organizations.id", "organizations: id is needed as it is: id is the key or the cursor"),
    ],
)
def test_a_mistake_is_one_error_that_names_the_key(
    monkeypatch: pytest.MonkeyPatch, project: Project, key: str, value: str, problem: str
) -> None:
    setting(monkeypatch, key, value)
    with pytest.raises(SettingsError) as caught:
        assert project.definitions
    assert str(caught.value).startswith(f"sources.analytics.{key} = ")
    assert problem in str(caught.value)
    assert f"in [sources.analytics] of .dlt/config.toml, or as SOURCES__ANALYTICS__{key.upper()}" in str(caught.value)
    assert "Dagster resource" not in str(caught.value)


def test_what_is_configured_holds_in_definitions_runs_checks_and_the_warehouse(
    monkeypatch: pytest.MonkeyPatch, project: Project, api: FakeApi
) -> None:
    secret = "Who reads this"
    api.rows["organizations"][0]["name"] = secret
    project.sync("activities")
    setting(monkeypatch, "resources", "organizations, locations, policies")
    setting(monkeypatch, "hashed", "organizations.name")
    setting(monkeypatch, "dropped", "organizations.description, locations.organizationId")
    api.rows["organizations"].append({"id": 77, "name": secret, "description": "gone"})

    failed = project.run()
    assert not failed.success
    assert "hash_key is missing, and needed to hash organizations.name" in failure_message(failed)
    setting(monkeypatch, "hash_key", HASH_KEY)
    requests = len(api.requests)
    result = project.sync(config={"mode": "rebuild"})
    assert materialized(result) == ["organizations", "policies", "locations"]
    assert not any("activities" in request.path for request in api.requests[requests:])
    [[shown, columns]] = project.query(
        "SELECT (SELECT name FROM analytics.organizations WHERE id = 77), list(column_name) FROM"
        " information_schema.columns WHERE table_schema = 'analytics' AND table_name = 'organizations'"
    )
    assert len(shown) == 64
    assert "description" not in columns
    assert project.ids("activities"), "the table of a resource that is switched off stays"

    graph = project.definitions.resolve_asset_graph()
    for name in BY_NAME:
        is_on = name in {"organizations", "locations", "policies"}
        assert (asset_key(name) in graph.get_all_asset_keys()) == is_on
        assert (upstream_key(name) in graph.get_all_asset_keys()) == is_on
    assert not any(key.name == "organization_exists" for key in graph.asset_check_keys)
    reports = {key.path[-1] for key in graph.get_all_asset_keys() if key.path[0] == "reports"}
    assert reports == {"organization_overview"}
    checked = project.run(job="analytics_check")
    assert checked.success
    assert "activities" not in project.log(checked)
