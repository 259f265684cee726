"""What a run says of itself: in its log, its tags, its materializations, and of the endpoints that it has read."""

from dataclasses import replace
from typing import Any

import dagster as dg
import pytest

from analytics_assets.api.catalog import Column
from analytics_assets.definitions import build_definitions
from analytics_assets.defs.assets.resource import AnalyticsResource
from analytics_assets.defs.assets.specs import code_version
from analytics_assets_tests.servers.fake_api import TOKEN, Answer, FakeApi
from analytics_assets_tests.support.eight import BY_NAME, NAMES, asset_key, upstream_key
from analytics_assets_tests.support.project import Project, metadata, resource_config

NOBODY = "http://127.0.0.1:1"
"""A URL at which no connection comes about."""


def tags(project: Project, result: dg.ExecuteInProcessResult) -> dict[str, str]:
    run = project.instance.get_run_by_id(result.run_id)
    assert run
    return dict(run.tags)


def observations(result: dg.ExecuteInProcessResult) -> dict[str, dict[str, Any]]:
    """What the run has observed of each endpoint."""
    found = [event for event in result.all_events if event.event_type is dg.DagsterEventType.ASSET_OBSERVATION]
    seen = [event.asset_observation_data.asset_observation for event in found]
    assert all(each.asset_key == upstream_key(each.asset_key.path[-1]) for each in seen)
    return {each.asset_key.path[-1]: {name: value.value for name, value in each.metadata.items()} for each in seen}


def test_a_run_says_what_it_was_given_and_what_the_api_did(api: FakeApi, project: Project) -> None:
    api.answer_always("policies", Answer(403))
    result = project.run("roles", "policies")

    facts = {
        "mode": "incremental",
        "window": "none",
        "base_url": api.url,
        "dialect": "analytics",
        "destination": str(project.database),
    }
    assert tags(project, result).items() >= {f"analytics/{name}": value for name, value in facts.items()}.items()
    assert metadata(result, "roles").items() >= facts.items()
    log = " ".join(project.log(result).split())
    assert (
        f"Loads new rows of 2 resources (policies, roles), from {api.url} (dialect analytics) into {project.database}."
    ) in log
    assert "| `api_key` | configured, not shown" in log
    assert "| `page_size` | 20 " in log
    assert TOKEN not in log

    seen = observations(result)
    good, bad = seen["roles"], seen["policies"]
    assert (good["requests"], good["rows"], good["status"]) == (1, len(api.rows["roles"]), 200)
    assert good["bytes"] > 0
    assert 0 < good["latency_mean_seconds"] <= good["latency_max_seconds"]
    assert "problem" not in good
    assert (bad["requests"], bad["rows"], bad["status"]) == (1, 0, 403)
    assert "answered 403" in bad["problem"]
    # The graph shows an endpoint as up to date by this.
    keys = [upstream_key(name) for name in ("roles", "policies")]
    noted = project.instance.get_latest_materialization_events(keys)
    assert [noted.get(key) is not None for key in keys] == [True, False]


def test_a_window_and_a_mode_are_named(api: FakeApi, project: Project) -> None:
    window = project.sync("roles", config={"start": "2024-01-01T00:00:00Z", "end": "2024-02-01T00:00:00Z"})
    bounds = "2024-01-01T00:00:00+00:00 to 2024-02-01T00:00:00+00:00"
    assert tags(project, window)["analytics/window"] == bounds
    assert f"Loads the window from {bounds} of 1 resource (roles), from" in project.log(window)
    rebuild = project.sync("roles", config={"mode": "rebuild"})
    assert tags(project, rebuild)["analytics/mode"] == "rebuild"
    assert tags(project, rebuild)["analytics/window"] == "none"
    assert "Drops and loads anew the tables of 1 resource (roles), from" in project.log(rebuild)


def test_every_run_is_retried_from_what_failed(api: FakeApi, project: Project) -> None:
    job = project.definitions.resolve_implicit_global_asset_job_def()
    assert "dagster/retry_strategy" not in job.tags
    result = job.execute_in_process(instance=project.instance, asset_selection=[asset_key("roles")])
    assert tags(project, result)["dagster/retry_strategy"] == "FROM_ASSET_FAILURE"


@pytest.mark.parametrize(("by_hand", "is_retried"), [(True, False), (False, True)])
def test_an_api_that_is_not_there_is_tried_again_unless_a_person_typed_its_url(
    api: FakeApi, project: Project, monkeypatch: pytest.MonkeyPatch, *, by_hand: bool, is_retried: bool
) -> None:
    if by_hand:
        monkeypatch.setenv("SOURCES__ANALYTICS__ALLOWED_HOSTS", NOBODY)
        result = project.run("roles", run_config=resource_config(base_url=NOBODY))
    else:
        monkeypatch.setenv("SOURCES__ANALYTICS__BASE_URL", NOBODY)
        result = project.run("roles")
    assert not result.success
    found = tags(project, result)
    assert found["analytics/base_url"] == NOBODY
    assert ("dagster/max_retries" not in found) is is_retried
    [seen] = observations(result).values()
    assert "status" not in seen
    assert f"No answer from {NOBODY}" in seen["problem"]


def test_a_wrong_setting_is_not_tried_again_by_a_run_of_checks_either(project: Project) -> None:
    result = project.run(job="analytics_verify", run_config=resource_config(dialect="klingon"))
    assert not result.success
    assert tags(project, result)["dagster/max_retries"] == "0"


def spec_of(name: str, resource: AnalyticsResource | None = None) -> dg.AssetSpec:
    definitions = build_definitions(NAMES, resource=resource)
    return next(spec for spec in definitions.resolve_all_asset_specs() if spec.key == asset_key(name))


def test_the_page_of_an_asset_shows_the_configuration_and_nothing_unreadable(
    api: FakeApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCES__ANALYTICS__PAGE_SIZE", "7")
    found = spec_of("roles").metadata
    shown = str(found["configuration"].value)
    for key, value in (("base_url", api.url), ("dialect", "analytics"), ("page_size", "7")):
        assert any(line.split()[1:4] == [f"`{key}`", "|", value] for line in shown.splitlines()), shown
    assert TOKEN not in shown
    assert [name for name in found if name.startswith("dagster_dlt/")] == []

    given = AnalyticsResource(base_url=dg.EnvVar("CRM_URL"), page_size=dg.EnvVar.int("CRM_PAGE"), dialect="ninjaone")
    monkeypatch.setenv("CRM_URL", "https://crm.example.com")
    monkeypatch.setenv("CRM_PAGE", "many")
    shown = str(spec_of("roles", given).metadata["configuration"].value)
    assert "https://crm.example.com" in shown
    assert "ninjaone" in shown


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("BASE_URL", "https://user:pw-canary@api.example.com"),
        ("BASE_URL", "https://api.example.com/?key=pw-canary"),
        ("BASE_URL", "htp://pw-canary"),
        ("DIALECT", "klingon"),
        ("PAGE_SIZE", "many"),
        ("ALLOWED_HOSTS", "[3"),
    ],
)
def test_definitions_load_with_wrong_settings_and_show_no_credentials(
    monkeypatch: pytest.MonkeyPatch, key: str, value: str
) -> None:
    monkeypatch.setenv(f"SOURCES__ANALYTICS__{key}", value)
    shown = str(spec_of("roles").metadata["configuration"].value)
    assert "canary" not in shown
    assert value in shown or "not shown: it is no URL" in shown


def test_a_code_version_changes_with_the_declaration_and_not_with_its_words() -> None:
    roles = BY_NAME["roles"]
    assert spec_of("roles").code_version == code_version(roles)
    assert code_version(replace(roles, description="Other words.")) == code_version(roles)
    changed = replace(roles, columns=(*roles.columns, Column("colour", "text", "Colour")))
    assert code_version(changed) != code_version(roles)
