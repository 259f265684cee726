"""Runs of the eight assets against a server of the specification's wire format."""

import logging
import os
import signal
from datetime import UTC, datetime
from typing import Any

import dlt
import pytest
from dlt.load.load import Load
from dlt.normalize import Normalize

from analytics_assets.api.catalog import BY_NAME, RESOURCES, Resource
from analytics_assets.api.values.columns import column_name
from analytics_assets_tests.conftest import Project, failure_message, materialized, metadata
from analytics_assets_tests.fake_api import IN_TURN, PATHS, TOKEN, Answer, FakeApi
from analytics_assets_tests.rows import activity, group, organization, policy, role, script

INCREMENTAL = ["policies", "activities", "automation_scripts", "groups", "roles"]
COMPLETE = ["organizations", "locations", "software_products"]

SQL_TYPES = {
    "bigint": "BIGINT",
    "bool": "BOOLEAN",
    "json": "JSON",
    "text": "VARCHAR",
    "timestamp": "TIMESTAMP WITH TIME ZONE",
}


def test_first_sync_loads_exactly_the_rows_of_the_api(api: FakeApi, project: Project) -> None:
    result = project.sync()

    assert materialized(result) == IN_TURN
    for resource, rows in api.rows.items():
        assert project.ids(resource) == [row["id"] for row in rows]
        assert metadata(result, resource)["rows_loaded"] == len(rows)
        assert metadata(result, resource)["dagster/row_count"] == len(rows)
        assert metadata(result, resource)["dagster/table_name"] == f"analytics.{resource}"


def test_second_sync_with_nothing_new_succeeds_and_loads_nothing_incrementally(api: FakeApi, project: Project) -> None:
    project.sync()
    result = project.sync()

    assert {name: metadata(result, name)["rows_loaded"] for name in INCREMENTAL} == dict.fromkeys(INCREMENTAL, 0)
    for resource, rows in api.rows.items():
        assert project.ids(resource) == [row["id"] for row in rows]
        assert metadata(result, resource)["dagster/row_count"] == len(rows)


@pytest.mark.parametrize(
    ("resource", "row"),
    [
        ("policies", policy(90, "2024-06-01T00:00:00Z")),
        ("activities", activity(90, "2024-06-01T00:00:00Z")),
        ("automation_scripts", script(90, "2024-06-01T00:00:00Z")),
        ("groups", group(90, "2024-06-01T00:00:00Z")),
        ("roles", role(90, "2024-06-01T00:00:00Z")),
    ],
)
def test_one_new_row_is_all_that_the_next_sync_loads(
    api: FakeApi, project: Project, resource: str, row: dict[str, object]
) -> None:
    project.sync(resource)
    api.rows[resource].append(row)
    result = project.sync(resource)

    assert metadata(result, resource)["rows_loaded"] == 1
    assert project.ids(resource) == [row["id"] for row in api.rows[resource]]


def test_an_edited_row_replaces_its_old_version(api: FakeApi, project: Project) -> None:
    project.sync("policies", "organizations")
    api.rows["policies"][1] = policy(2, "2024-06-01T00:00:00Z", name="Edited")
    api.rows["organizations"][1] = organization(2, name="Renamed")
    result = project.sync("policies", "organizations")

    assert metadata(result, "policies")["rows_loaded"] == 1
    assert project.query("SELECT name FROM analytics.policies WHERE id = 2") == [("Edited",)]
    assert project.query("SELECT name FROM analytics.organizations WHERE id = 2") == [("Renamed",)]


def test_an_edit_within_the_cursors_resolution_is_news(api: FakeApi, project: Project) -> None:
    project.sync("policies")
    api.rows["policies"][1] = policy(2, name="Edited in the same second")
    assert metadata(project.sync("policies"), "policies")["rows_loaded"] == 1
    assert project.query("SELECT name FROM analytics.policies WHERE id = 2") == [("Edited in the same second",)]


def test_a_row_that_appears_late_is_loaded_within_the_lag(api: FakeApi, project: Project) -> None:
    project.sync("activities")
    assert BY_NAME["activities"].lag_seconds == 300
    api.rows["activities"].append(activity(90, "2024-05-01T00:36:30Z"))  # the newest is at 00:41:00
    result = project.sync("activities")

    assert metadata(result, "activities")["rows_loaded"] == 1
    assert 90 in project.ids("activities")


def test_what_the_lag_reads_again_is_known_whatever_page_it_was_on(
    empty_api: FakeApi, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCES__ANALYTICS__PAGE_SIZE", "500")
    monkeypatch.setenv("SOURCES__ANALYTICS__LAG_SECONDS", "1500")
    begins = 1714521600  # 2024-05-01T00:00:00Z
    empty_api.rows["activities"] = [activity(n, begins + n) for n in range(5000)]
    project.sync("activities")
    again = metadata(project.sync("activities"), "activities")
    assert (again["rows_loaded"], again["rows_unchanged"]) == (0, 1501)

    empty_api.rows["activities"][3600]["message"] = "Edited"
    empty_api.rows["activities"].insert(0, activity(9000, begins + 3700))
    news = metadata(project.sync("activities"), "activities")
    assert (news["rows_loaded"], news["rows_unchanged"]) == (2, 1500)
    assert project.query("SELECT message FROM analytics.activities WHERE id = 3600") == [("Edited",)]


def test_cursors_are_instants_whatever_their_spelling(api: FakeApi, project: Project) -> None:
    api.rows["policies"] = [
        policy(1, "2024-05-01T02:00:00+05:00"),  # as text the largest, in time the earliest
        policy(2, "2024-04-30T22:00:00.500Z"),
        policy(3, 1714514400),  # 2024-04-30T22:00:00Z
        policy(4, 1714514401.25),
        policy(5, "2024-04-30T22:00:02"),
    ]
    result = project.sync("policies")

    assert [moment for (moment,) in project.query("SELECT epoch(updated) FROM analytics.policies ORDER BY id")] == [
        1714510800,
        1714514400.5,
        1714514400,
        1714514401.25,
        1714514402,
    ]
    newest = datetime(2024, 4, 30, 22, 0, 2, tzinfo=UTC).timestamp()
    assert metadata(result, "policies")["cursor_after"] == newest
    assert metadata(project.sync("policies"), "policies")["cursor_before"] == newest


def test_rows_without_a_cursor_are_loaded_and_counted_and_not_loaded_again(api: FakeApi, project: Project) -> None:
    api.rows["groups"] = [group(1), group(2, None), {"id": 3, "name": "no key at all"}]
    first, second = project.sync("groups"), project.sync("groups")

    assert project.ids("groups") == [1, 2, 3]
    assert metadata(first, "groups")["rows_without_cursor"] == 2
    assert metadata(second, "groups")["rows_loaded"] == 0
    api.rows["groups"][1] = group(2, None, name="Edited")
    assert metadata(project.sync("groups"), "groups")["rows_loaded"] == 1
    assert project.query("SELECT name FROM analytics.groups WHERE id = 2") == [("Edited",)]


def test_a_cursor_in_the_future_does_not_hide_what_comes(api: FakeApi, project: Project) -> None:
    api.rows["policies"].append(policy(90, "2099-01-01T00:00:00Z"))
    first = project.sync("policies")
    api.rows["policies"].append(policy(91, "2024-05-02T00:00:00Z"))
    second = project.sync("policies")

    assert metadata(first, "policies")["rows_in_future"] == 1
    assert metadata(second, "policies")["rows_loaded"] == 1
    assert project.ids("policies") == [1, 2, 3, 90, 91]
    assert project.query("SELECT updated::DATE::VARCHAR FROM analytics.policies WHERE id = 90") == [("2099-01-01",)]


def test_rows_before_the_start_date_stay_out(api: FakeApi, project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("START_DATE", "2024-05-01T00:30:00Z")
    project.sync("activities")
    assert project.ids("activities") == list(range(30, 42))


def test_a_subset_asks_for_its_own_endpoints_only(api: FakeApi, project: Project) -> None:
    result = project.sync("roles", "groups")

    assert materialized(result) == ["groups", "roles"]
    assert set(api.paths()) == {PATHS["groups"], PATHS["roles"]}


def test_paging_goes_on_until_an_empty_page_and_sends_the_token(
    api: FakeApi, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCES__ANALYTICS__REQUESTS_IN_FLIGHT", "1")
    project.sync("organizations", "policies")

    asked = api.asked("organizations")
    assert [request.query for request in asked] == [
        {"after": after, "limit": "20"} for after in ("0", "19", "38", "45")
    ]
    assert {request.headers["Authorization"] for request in api.requests} == {f"Bearer {TOKEN}"}
    assert [request.query for request in api.asked("policies")] == [{}]


def test_a_server_that_caps_the_page_size_loses_no_row(
    api: FakeApi, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCES__ANALYTICS__PAGE_SIZE", "1000")
    rows = api.rows["organizations"]

    def at_most_ten(request: object) -> Answer:
        after = int(api.requests[-1].query["after"])
        return Answer(body={"data": rows[after : after + 10]})

    api.faults["organizations"].append(at_most_ten)
    project.sync("organizations")
    assert project.ids("organizations") == list(range(1, 46))


def test_one_resource_that_fails_costs_only_itself(api: FakeApi, project: Project) -> None:
    api.answer_always("policies", Answer(403, {"error": "forbidden"}))
    result = project.run()

    assert not result.success
    assert materialized(result) == [name for name in IN_TURN if name != "policies"]
    message = failure_message(result)
    assert "1 of 8 resources failed" in message
    assert "policies: GET /v2/policies answered 403" in message
    assert "scopes or role" in message
    assert project.ids("activities") == [row["id"] for row in api.rows["activities"]]
    assert project.query("SELECT count(*) FROM duckdb_tables() WHERE table_name = 'policies'") == [(0,)]
    assert len(api.asked("policies")) == 1


def test_the_same_words_are_said_once_and_what_differs_apart(api: FakeApi, project: Project) -> None:
    for resource in ("policies", "groups"):
        api.rows[resource] = [api.rows[resource][0] | {"name": ["no text"], "id": n} for n in range(11)]
    api.answer_always("locations", Answer(403))
    api.answer_always("roles", Answer(403))
    first, *reasons = failure_message(project.run()).splitlines()
    assert first == "4 of 8 resources failed; the others are loaded."
    assert [reason.partition("?")[0].split()[:5] for reason in reasons] == [
        ["-", "policies,", "groups:", "11", "of"],
        ["-", "locations:", "GET", "/v2/locations"],
        ["-", "roles:", "GET", "/v2/roles", "answered"],
    ]


def test_what_failed_is_counted_in_words_that_fit(api: FakeApi, project: Project) -> None:
    api.answer_always("roles", Answer(403))
    assert failure_message(project.run("roles")).startswith("The only selected resource failed.\n- roles: GET ")


@pytest.mark.parametrize(("status", "limit"), [(401, "0"), (403, "0"), (503, None)])
def test_a_run_that_would_fail_again_is_not_retried(
    api: FakeApi, project: Project, status: int, limit: str | None
) -> None:
    api.answer_always("policies", Answer(status))
    result = project.run("policies", "roles")
    run = project.instance.get_run_by_id(result.run_id)
    assert run is not None
    assert run.tags.get("dagster/max_retries") == limit


@pytest.mark.parametrize(("step", "begins"), [(Normalize, "run"), (Load, "initialize_package")])
def test_a_run_that_is_interrupted_ends_whatever_dlt_is_at(
    api: FakeApi, project: Project, monkeypatch: pytest.MonkeyPatch, step: type, begins: str
) -> None:
    original = getattr(step, begins)

    def interrupt(self: Any, *args: Any) -> Any:
        if dlt.current.pipeline().pipeline_name == f"analytics_{IN_TURN[2]}":
            os.kill(os.getpid(), signal.SIGINT)
        return original(self, *args)

    monkeypatch.setattr(step, begins, interrupt)
    result = project.run()
    assert not result.success
    assert materialized(result) == IN_TURN[:2]
    assert "Execution was interrupted unexpectedly" in str([event.message for event in result.all_events])


def test_a_failed_resource_keeps_what_it_had_and_recovers(api: FakeApi, project: Project) -> None:
    project.sync("activities")
    api.rows["activities"] += [activity(n, f"2024-05-01T01:{n - 41:02}:00Z") for n in range(42, 100)]
    api.answer_with("activities", *[Answer(body={"activities": api.rows["activities"][:20]}), Answer(404)])
    failed = project.run("activities")

    assert not failed.success
    assert project.ids("activities") == list(range(1, 42))
    result = project.sync("activities")
    assert project.ids("activities") == list(range(1, 100))
    assert metadata(result, "activities")["rows_loaded"] == 58


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_these_statuses_are_retried_three_times(api: FakeApi, project: Project, status: int) -> None:
    api.answer_with("roles", *[Answer(status)] * 3)
    result = project.sync("roles")

    assert len(api.asked("roles")) == 4
    assert metadata(result, "roles")["requests"] == 4
    assert metadata(result, "roles")["retries"] == 3
    api.answer_with("roles", *[Answer(status)] * 4)
    assert f"answered {status}" in failure_message(project.run("roles"))


@pytest.mark.parametrize("status", [400, 401, 403, 404, 501])
def test_these_statuses_are_not_retried(api: FakeApi, project: Project, status: int) -> None:
    api.answer_with("roles", Answer(status))
    result = project.run("roles")

    assert not result.success
    assert f"answered {status}" in failure_message(result)
    assert len(api.asked("roles")) == 1


def test_a_connection_cut_in_mid_body_is_retried(api: FakeApi, project: Project) -> None:
    api.answer_with("roles", Answer(body={"data": api.rows["roles"]}, cut=40))
    project.sync("roles")
    assert project.ids("roles") == [1, 2, 3]


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (Answer(body=b"<html>Please log in</html>", headers={"Content-Type": "text/html"}), "not JSON (text/html"),
        (Answer(body=b'{"data": [{"id": 1}'), "not JSON (application/json"),
        (Answer(body=b""), "not JSON"),
        (
            Answer(body={"items": [{"id": 1}]}),
            "no list under the key 'data': found an object with the keys ['items']",
        ),
        (Answer(body=[{"id": 1}]), "no list under the key 'data': found a list"),
        (Answer(body={"data": {"id": 1}}), "no list under the key 'data': found an object"),
        (Answer(body={"data": None}), "no list under the key 'data': found null"),
        (Answer(body={"data": ["text"]}), "row 1 of 1 is not an object but a text"),
        (
            Answer(body={"data": [{"id": 1}, {"name": "x"}]}),
            "row 2 of 2 has no 'id' to merge on, which is an integer",
        ),
        (
            Answer(body={"data": [{"id": None}]}),
            "row 1 of 1 has no 'id' to merge on, which is an integer",
        ),
        (Answer(204), "204 No Content"),
    ],
)
def test_a_wrong_payload_is_an_error_and_never_zero_rows(
    api: FakeApi, project: Project, answer: Answer, message: str
) -> None:
    project.sync("policies")
    api.answer_always("policies", answer)
    result = project.run("policies")

    assert not result.success
    assert message in failure_message(result)
    assert project.ids("policies") == [1, 2, 3]


def test_an_empty_listing_is_a_table_without_rows(empty_api: FakeApi, project: Project) -> None:
    result = project.sync()

    for resource in PATHS:
        assert metadata(result, resource)["rows_loaded"] == 0
        assert metadata(result, resource)["dagster/row_count"] == 0
        assert project.ids(resource) == []
    project.sync()


def test_paging_that_does_not_advance_is_an_error(api: FakeApi, project: Project) -> None:
    api.answer_always("organizations", Answer(body={"data": api.rows["organizations"][:20]}))
    message = failure_message(project.run("organizations"))

    assert "page 2 (after=19) repeats the page before" in message
    assert "dialect" in message


def test_a_listing_over_the_page_cap_is_an_error(
    api: FakeApi, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCES__ANALYTICS__MAX_PAGES", "3")
    result = project.run("organizations")
    assert "goes on after 3 pages" in failure_message(result)
    monkeypatch.setenv("SOURCES__ANALYTICS__MAX_PAGES", "4")
    project.sync("organizations")


def test_a_changed_type_fails_with_column_and_way_out(api: FakeApi, project: Project) -> None:
    project.sync("groups")
    api.rows["groups"] += [group(n, "2024-06-01T00:00:00Z", deviceCount="many") for n in range(9, 20)]
    message = failure_message(project.run("groups"))

    assert "groups: 11 of 11 values of 'deviceCount' do not fit its type bigint, such as \"many\"" in message
    assert "in the rows with id 9, 10, 11, 12, 13" in message
    assert "mode: rebuild" in message
    assert project.ids("groups") == [1, 2, 3]


def test_unknown_fields_become_columns_and_nested_values_json(api: FakeApi, project: Project) -> None:
    api.rows["roles"][0] |= {"brandNew": "x", "nestedNew": {"a": [1, {"b": 2}]}}
    project.sync("roles")

    assert project.query("SELECT brand_new, nested_new->'a'->1->>'b' FROM analytics.roles WHERE id = 1") == [
        ('"x"', "2")
    ]
    tables = project.query("SELECT DISTINCT table_name FROM duckdb_tables() WHERE table_name NOT LIKE '_dlt%'")
    assert tables == [("roles",)]


@pytest.mark.parametrize("resource", RESOURCES, ids=lambda resource: resource.name)
def test_tables_have_the_declared_columns(empty_api: FakeApi, project: Project, resource: Resource) -> None:
    project.sync(resource.name)
    columns = project.query(
        "SELECT column_name, data_type, is_nullable FROM duckdb_columns()"
        f" WHERE schema_name = 'analytics' AND table_name = '{resource.name}' ORDER BY column_index"
    )
    declared = [
        (column_name(column.name), SQL_TYPES[column.type], column.nullable) for column in resource.table_columns
    ]
    assert columns == [*declared, ("_dlt_load_id", "VARCHAR", False), ("_dlt_id", "VARCHAR", False)]


@pytest.mark.parametrize("loss", ["DROP TABLE", "DELETE FROM"])
def test_a_table_that_was_dropped_or_emptied_is_loaded_again_from_the_start(
    api: FakeApi, project: Project, loss: str
) -> None:
    project.sync("policies", "roles")
    # Emptied is also how a rebuild leaves a table that is killed between dlt's drop and its load.
    project.query(f"{loss} analytics.policies")
    result = project.sync("policies", "roles")

    assert metadata(result, "policies")["rows_loaded"] == 3
    assert project.ids("policies") == [1, 2, 3]
    assert metadata(result, "roles")["rows_loaded"] == 0


def test_the_token_is_in_no_event_log_line_or_file(
    api: FakeApi, project: Project, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    api.answer_always("policies", Answer(401, {"error": f"Bearer {TOKEN} is no good"}))
    api.answer_always("roles", Answer(body=f"<html>{TOKEN}</html>".encode()))
    api.answer_always("groups", Answer(400, {"you_sent": TOKEN}))
    with caplog.at_level(logging.DEBUG):
        result = project.run()

    assert not result.success
    said = "\n".join([str(result.all_events), failure_message(result), caplog.text, *capfd.readouterr()])
    said += "".join(str(entry) for entry in project.instance.all_logs(result.run_id))
    assert "api_key" in said
    assert TOKEN not in said
    assert TOKEN.encode() not in project.database.read_bytes()
