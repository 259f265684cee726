"""What the checks say of the tables, after a sync and by themselves."""

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
import pytest

from analytics_assets.api.catalog import Column
from analytics_assets.defs.automation.crons import HOURLY, WEEKLY, Crons
from analytics_assets.defs.quality.checks import build_checks, find_checks
from analytics_assets.defs.quality.rules import checks_of
from analytics_assets_tests.servers.fake_api import Answer, FakeApi
from analytics_assets_tests.support.edits import columns_with
from analytics_assets_tests.support.eight import BY_NAME, NAMES, RESOURCES
from analytics_assets_tests.support.project import Project, failure_message, metadata
from analytics_assets_tests.support.rows import activity, group, location, policy, role
from analytics_assets_tests.support.sensor import Sensor, tick_before_each_sync

ALWAYS = {"primary_key", "last_load", "undeclared_columns", "values_fit"}
WITH_CURSOR = {"cursor_freshness", "rows_without_cursor"}
INCREMENTAL = {"policies", "activities", "automation_scripts", "groups", "roles"}
ERRORS = {"primary_key", "not_null", "last_load"}

EXPECTED = {
    (resource.name, check)
    for resource in RESOURCES
    for check in ALWAYS | (WITH_CURSOR if resource.name in INCREMENTAL else set())
} | {("locations", "organization_exists")}


@pytest.fixture
def api(api: FakeApi) -> FakeApi:
    """The rows of the shared one, with something that has just happened."""
    api.rows["activities"].append(activity(1000, _ago()))
    return api


def _ago(**duration: float) -> str:
    return (datetime.now(UTC) - timedelta(**duration)).isoformat()


def evaluations(result: dg.ExecuteInProcessResult) -> dict[tuple[str, str], dg.AssetCheckEvaluation]:
    found = {(each.asset_key.path[-1], each.check_name): each for each in result.get_asset_check_evaluations()}
    for (_, check), evaluation in found.items():
        assert evaluation.severity.value == ("ERROR" if check in ERRORS else "WARN")
    return found


def look(project: Project) -> dict[tuple[str, str], dg.AssetCheckEvaluation]:
    """What the checks say without a sync."""
    return evaluations(project.sync(job="analytics_verify"))


def numbers(evaluation: dg.AssetCheckEvaluation) -> dict[str, Any]:
    return {name: value.value for name, value in evaluation.metadata.items()}


def wrong(found: dict[tuple[str, str], dg.AssetCheckEvaluation]) -> dict[tuple[str, str], dict[str, Any]]:
    """The metadata of the checks that did not pass."""
    return {key: numbers(evaluation) for key, evaluation in found.items() if not evaluation.passed}


def test_the_demo_passes_all_checks_in_its_sync_and_alone(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCES__ANALYTICS__PAGE_SIZE", "1000")
    for found in (evaluations(project.sync()), look(project)):
        assert set(found) == EXPECTED
        assert wrong(found) == {}
    assert numbers(found["activities", "primary_key"])["rows"] > 3_000
    assert numbers(found["groups", "rows_without_cursor"])["share"] > 0


def test_a_sync_of_some_resources_checks_these_only(api: FakeApi, project: Project) -> None:
    found = evaluations(project.sync("roles", "software_products"))
    assert set(found) == {key for key in EXPECTED if key[0] in {"roles", "software_products"}}
    assert wrong(found) == {}


def test_the_step_does_not_block_the_assets_and_needs_the_warehouse_for_itself() -> None:
    [definition] = build_checks(NAMES, find_checks(NAMES, Crons(HOURLY, WEEKLY)))
    assert definition.node_def.name == "analytics_checks"
    assert definition.op.pool == "analytics_warehouse"
    for spec in definition.check_specs:
        assert spec.description
        assert not spec.blocking


@pytest.mark.parametrize(
    ("damage", "counts"),
    [
        ("INSERT INTO analytics.roles SELECT * FROM analytics.roles WHERE id = 1", (4, 0, 1)),
        ("UPDATE analytics.roles SET id = NULL WHERE id > 1", (3, 2, 0)),
    ],
)
def test_a_key_that_is_repeated_or_null_is_an_error(
    api: FakeApi, project: Project, damage: str, counts: tuple[int, int, int]
) -> None:
    project.sync("roles")
    project.query("ALTER TABLE analytics.roles ALTER id DROP NOT NULL")
    project.query(damage)
    rows, nulls, repeated = counts
    expected = {"rows": rows, "null_keys": nulls, "repeated_keys": repeated}
    assert wrong(look(project))["roles", "primary_key"] == expected


def test_a_load_that_died_or_was_not_completed_is_an_error(api: FakeApi, project: Project) -> None:
    project.sync("roles", "groups", "policies", "organizations")
    project.query("UPDATE analytics._dlt_loads SET status = 1 WHERE schema_name = 'analytics_groups'")
    project.query("UPDATE analytics.policies SET _dlt_load_id = '9999999999.5' WHERE id = 2")
    project.query("DROP TABLE analytics.organizations")
    found = look(project)
    failed = {key[0]: found[key].description for key in wrong(found) if key[1] == "last_load"}
    assert failed == {
        "groups": "The last load has the status 1 instead of 0.",
        "policies": "Load 9999999999.5 died halfway: the next sync reads everything again.",
        "organizations": "There is no table analytics.organizations yet: sync it.",
        **{
            name: f"There is no table analytics.{name} yet: sync it."
            for name in ("activities", "automation_scripts", "locations", "software_products")
        },
    }
    # The next sync of what died sets it right.
    assert wrong(evaluations(project.sync("policies"))) == {}


def test_before_the_first_sync_the_checks_say_so(project: Project) -> None:
    found = look(project)
    assert set(wrong(found)) == {(resource.name, "last_load") for resource in RESOURCES}
    for (resource, _), evaluation in found.items():
        assert evaluation.description == f"There is no table analytics.{resource} yet: sync it."


def test_tables_without_rows_pass(empty_api: FakeApi, project: Project) -> None:
    found = evaluations(project.sync())
    assert set(found) == EXPECTED
    assert wrong(found) == {}


def test_old_activities_warn_but_old_policies_do_not(api: FakeApi, project: Project) -> None:
    api.rows["activities"] = [activity(1, _ago(hours=9)), activity(2, _ago(hours=5))]
    found = evaluations(project.sync("activities", "policies"))
    said = wrong(found)
    assert list(said) == [("activities", "cursor_freshness")]
    assert said["activities", "cursor_freshness"]["age_hours"] == pytest.approx(5, abs=0.1)
    assert said["activities", "cursor_freshness"]["window_hours"] == 4.25
    says = found["activities", "cursor_freshness"].description or ""
    assert re.match("The newest row is 5 hours(| [0-9a-z ]+) old, and 4 hours 15 minutes are expected at most.", says)
    assert numbers(found["policies", "cursor_freshness"])["age_hours"] > 24 * 365

    api.rows["activities"].append(activity(3, _ago(hours=4)))
    assert wrong(evaluations(project.sync("activities"))) == {}


def test_the_window_of_the_data_follows_the_cron(
    api: FakeApi, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    api.rows["activities"] = [activity(1, _ago(hours=5))]
    monkeypatch.setenv("SCHEDULES__ANALYTICS_SYNC", "0 0 * * *")
    found = evaluations(project.sync("activities"))
    assert wrong(found) == {}
    assert numbers(found["activities", "cursor_freshness"])["window_hours"] == 4 * 24 + 0.25


def test_a_cursor_in_the_future_warns_while_the_row_lives(api: FakeApi, project: Project) -> None:
    api.rows["policies"].append(policy(90, "2099-01-01T00:00:00Z"))
    api.rows["groups"].append(group(90, _ago(minutes=-4)))  # clocks differ
    said = wrong(evaluations(project.sync("policies", "groups")))
    assert list(said) == [("policies", "cursor_freshness")]
    newest = datetime(2024, 5, 1, tzinfo=UTC).timestamp()
    assert said["policies", "cursor_freshness"]["rows_in_future"] == 1
    assert said["policies", "cursor_freshness"]["newest"] == newest

    api.rows["policies"].pop()
    assert wrong(evaluations(project.sync("policies", config={"mode": "full"}))) == {}


def test_locations_of_no_live_organization_warn(api: FakeApi, project: Project) -> None:
    api.rows["locations"] += [location(n, organizationId=n) for n in range(300, 307)]
    api.rows["locations"] += [location(400, organizationId=None), location(401, organizationId=45)]
    said = wrong(evaluations(project.sync("organizations", "locations")))
    assert said == {
        ("locations", "organization_exists"): {"rows": 8, "live_rows": 29, "ids": [300, 301, 302, 303, 304]}
    }

    # Organizations that are gone do not count, nor do locations that are.
    del api.rows["organizations"][-1]
    del api.rows["locations"][20:28]
    said = wrong(evaluations(project.sync("organizations", "locations")))
    assert said == {("locations", "organization_exists"): {"rows": 1, "live_rows": 21, "ids": [401]}}


def test_locations_without_a_table_of_organizations_warn(api: FakeApi, project: Project) -> None:
    found = evaluations(project.sync("locations"))
    assert wrong(found) == {("locations", "organization_exists"): {}}
    says = found["locations", "organization_exists"].description
    assert says == "There is no table analytics.organizations yet: sync it."


def test_undeclared_fields_warn(api: FakeApi, project: Project) -> None:
    api.rows["roles"].append(role(9, "2024-06-01T00:00:00Z", brandNew="x"))
    result = project.sync("roles")
    expected = {"columns": {"brandNew": "brand_new"}, "count": 1}
    assert wrong(evaluations(result)) == {("roles", "undeclared_columns"): expected}
    assert metadata(result, "roles")["undeclared_columns"] == {"brandNew": "brand_new"}
    assert wrong(look(project))["roles", "undeclared_columns"]["count"] == 1


def test_values_that_do_not_fit_warn_with_their_rows(api: FakeApi, project: Project) -> None:
    api.rows["roles"] += [role(n, "2024-06-01T00:00:00Z", name={"first": "x"}) for n in range(10, 17)]
    api.rows["roles"].append(role(20, "2024-06-01T00:00:00Z", icon="a\0b"))
    api.rows["roles"].append(role(21, "2024-06-01T00:00:00Z", **{f"field{n}": n for n in range(202)}))
    result = project.sync("roles")
    assert metadata(result, "roles")["values_rescued"] == 7
    found = evaluations(result)
    said = wrong(found)
    assert said["roles", "values_fit"] == {
        "rows_rescued": 7,
        "rows_replaced": 1,
        "rescued": {"name": {"rows": 7, "ids": [10, 11, 12, 13, 14]}},
        "replaced": {"icon": {"rows": 1, "ids": [20]}},
    }
    says = found["roles", "values_fit"].description or ""
    assert "are in `_rescued_data`: `name` in 7 rows (id 10, 11, 12, 13, 14, ...). If the API is right" in says
    assert "cannot store: `icon` in 1 row (id 20)." in says
    assert said["roles", "undeclared_columns"]["count"] == 202
    assert said["roles", "undeclared_columns"]["fields_without_a_column"] == ["field98", "field99"]
    for row in api.rows["roles"]:
        row |= {"name": "x", "icon": None}
    project.sync("roles", config={"mode": "full"})
    assert ("roles", "values_fit") not in wrong(look(project))


def test_rows_without_a_cursor_warn_above_a_tenth(api: FakeApi, project: Project) -> None:
    api.rows["groups"] = [group(n) for n in range(1, 10)] + [group(10, None)]
    api.rows["policies"] = [policy(n) for n in range(1, 9)] + [policy(9, None)]
    said = wrong(evaluations(project.sync("groups", "policies")))
    expected = {"rows_without_cursor": 1, "live_rows": 9, "share": 0.1111}
    assert said == {("policies", "rows_without_cursor"): expected}


def test_a_column_that_must_not_be_null_gets_a_check(api: FakeApi, project: Project) -> None:
    project.sync("roles")
    assert not any(check.name == "not_null" for resource in RESOURCES for check in checks_of(NAMES, resource, HOURLY))
    roles = BY_NAME["roles"]
    parent, name = (
        Column(*each, "Stricter", nullable=False) for each in (("nodeRoleParentId", "bigint"), ("name", "text"))
    )
    stricter = replace(roles, columns=columns_with("roles", parent, name))
    project.declare(stricter)
    assert wrong(look(project))["roles", "not_null"] == {"nulls_in_node_role_parent_id": 3, "nulls_in_name": 0}


def test_a_warehouse_that_cannot_be_opened_is_said_without_its_secrets(
    api: FakeApi, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DESTINATION_TYPE", "postgres")
    monkeypatch.setenv("DESTINATION__POSTGRES__CREDENTIALS", "postgresql://loader:pw-canary@127.0.0.1:1/none")
    message = failure_message(project.run(job="analytics_verify"))
    assert message.startswith("Cannot use the destination postgres")
    assert message.endswith("Connection refused")
    assert "pw-canary" not in message


def test_a_failed_resource_leaves_only_its_own_checks_to_be_evaluated(api: FakeApi, project: Project) -> None:
    sensor = Sensor(project.instance, dg.AssetSelection.all_asset_checks())
    sensor.tick()
    project.sync()
    assert sensor.tick() == set()

    api.answer_always("organizations", Answer(403))
    api.rows["locations"] += [location(300, organizationId=300)]
    failed = project.run()
    assert not failed.success
    found = evaluations(failed)
    assert set(found) == {key for key in EXPECTED if key[0] != "organizations"}
    # By the table of organizations that is there from before.
    assert list(wrong(found)) == [("locations", "organization_exists")]
    assert sensor.tick() == set()


def test_a_failed_run_evaluates_no_more_checks_than_it_was_launched_for(api: FakeApi, project: Project) -> None:
    api.answer_always("policies", Answer(403))
    assert set(evaluations(project.run("roles", "policies"))) == {key for key in EXPECTED if key[0] == "roles"}
    assert evaluations(project.run("policies")) == {}


def test_checks_that_a_run_may_still_evaluate_are_asked_for_only_if_it_does_not(
    api: FakeApi, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    sensor = Sensor(project.instance, dg.AssetSelection.all_asset_checks())
    sensor.tick()
    asked_for = tick_before_each_sync(sensor, monkeypatch, dies_at="roles")
    assert not project.run("groups", "roles").success
    assert asked_for == [("groups", set()), ("roles", set())]
    assert sensor.tick() == {key for key in EXPECTED if key[0] == "groups"}
    tick_before_each_sync(sensor, monkeypatch)
    project.sync("groups", "roles")
    assert sensor.tick() == set()
