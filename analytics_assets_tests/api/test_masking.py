"""Fields that the catalog declares as sensitive: nothing that comes after the reader sees their values."""

import hashlib
import hmac
import json
import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from analytics_assets.api.catalog import Resource
from analytics_assets_tests.servers.fake_api import Answer, FakeApi
from analytics_assets_tests.support.eight import BY_NAME, RESOURCES, asset_key, defs
from analytics_assets_tests.support.project import Project, failure_message, metadata
from analytics_assets_tests.support.rows import activity, organization

KEY = "key-of-the-hashes-canary"
SECRET = "ada@example.com"

Declare = Callable[..., Resource]


def digest(value: str) -> str:
    return hmac.new(KEY.encode(), value.encode(), hashlib.sha256).hexdigest()


@pytest.fixture
def declare(project: Project, monkeypatch: pytest.MonkeyPatch) -> Declare:
    """Declares fields of a resource of the catalog as sensitive, for one test."""

    def declare(name: str, **fields: Any) -> Resource:
        changed = replace(BY_NAME[name], **fields)
        project.declare(changed)
        monkeypatch.setenv("SOURCES__ANALYTICS__HASH_KEY", KEY)
        return changed

    return declare


def details(number: int, **fields: Any) -> dict[str, Any]:
    params = {"email": SECRET, "ip": "192.0.2.7", "count": 3}
    people = [{"email": SECRET, "role": "owner"}, {"email": "bob@example.com", "role": "guest"}, {"email": None}]
    return activity(
        number, f"2024-05-01T00:{number:02}:00Z", subject=SECRET, data={"params": params, "people": people}, **fields
    )


@pytest.mark.parametrize("extra", [{}, {"brandNew": "not declared"}], ids=["declared", "undeclared"])
def test_declared_fields_are_hashed_or_dropped_before_anything_sees_them(
    empty_api: FakeApi, project: Project, declare: Declare, caplog: pytest.LogCaptureFixture, extra: dict[str, Any]
) -> None:
    declare(
        "activities",
        hashed=("subject", "data.params.email", "data.people.email"),
        dropped=("data.params.ip", "phone"),
    )
    empty_api.rows["activities"] = [details(n, phone="+49 canary", **extra) for n in (1, 2)]
    with caplog.at_level(logging.DEBUG):
        result = project.sync("activities")

    hashed, other = digest(SECRET), digest("bob@example.com")
    [(subject, params, people)] = project.query(
        "SELECT DISTINCT subject, data->>'params', data->>'people' FROM analytics.activities"
    )
    assert subject == hashed
    assert json.loads(params) == {"email": hashed, "count": 3}
    assert json.loads(people) == [
        {"email": hashed, "role": "owner"},
        {"email": other, "role": "guest"},
        {"email": None},
    ]
    everything = str(project.query("SELECT * FROM analytics.activities"))
    everything += caplog.text + str(metadata(result, "activities")) + str(result.all_events)
    everything += str(project.query("SELECT * FROM analytics._dlt_pipeline_state"))
    for hidden in (SECRET, "192.0.2.7", "+49 canary", "bob@", KEY):
        assert hidden not in everything
    assert hashed[:40] in metadata(result, "activities")["preview"]
    columns = project.query("SELECT column_name FROM duckdb_columns() WHERE table_name = 'activities'")
    assert ("phone",) not in columns


def test_a_path_that_no_row_of_a_whole_listing_has_is_a_warning(
    empty_api: FakeApi, project: Project, declare: Declare
) -> None:
    declare("activities", hashed=("data.params.email", "data.prams.email"), dropped=("data.params.ip",))
    empty_api.rows["activities"] = [details(1)]
    result = project.sync("activities")
    assert "activities: none of the 1 rows has data.prams.email, so nothing was hashed or" in project.log(result)
    # Rows that are only new need not have all fields.
    empty_api.rows["activities"].append(details(2))
    assert "none of the" not in project.log(project.sync("activities"))


def test_a_hashed_row_that_has_not_changed_is_not_loaded_again(
    empty_api: FakeApi, project: Project, declare: Declare
) -> None:
    declare("activities", hashed=("subject", "data.people"), dropped=("data.params",))
    empty_api.rows["activities"] = [details(1)]
    project.sync("activities")
    assert metadata(project.sync("activities"), "activities")["rows_loaded"] == 0
    empty_api.rows["activities"] = [details(1) | {"subject": "someone else"}]
    assert metadata(project.sync("activities"), "activities")["rows_loaded"] == 1


def test_a_dropped_column_is_in_no_table_and_no_schema(api: FakeApi, project: Project, declare: Declare) -> None:
    columns = tuple(column for column in BY_NAME["organizations"].columns if column.name != "name")
    declare("organizations", columns=columns, dropped=("name",))
    result = project.sync("organizations")
    names = {name for (name,) in project.query("SELECT column_name FROM duckdb_columns() WHERE NOT internal")}
    assert "name" not in names
    assert "name" not in {column.name for column in metadata(result, "organizations")["dagster/column_schema"].columns}
    assert "undeclared_columns" not in metadata(result, "organizations")


def test_a_value_of_another_shape_on_the_way_is_hidden_as_well(
    empty_api: FakeApi, project: Project, declare: Declare
) -> None:
    declare(
        "activities", hashed=("data.params.email", "data.people.email"), dropped=("data.params.ip", "data.hosts.ip")
    )
    data = {"params": f"mail {SECRET}", "people": [SECRET, None, {"email": SECRET}], "hosts": ["192.0.2.7", {"ip": 1}]}
    empty_api.rows["activities"] = [activity(1, "2024-05-01T00:00:00Z", data=data)]
    project.sync("activities")
    [(found,)] = project.query("SELECT data::text FROM analytics.activities")
    hashed = digest(SECRET)
    assert json.loads(found) == {"people": [hashed, None, {"email": hashed}], "hosts": [{}]}


@pytest.mark.parametrize("token", ["1e400", "9" * 5_000, "[" * 700 + "]" * 700], ids=["huge", "long", "deep"])
def test_a_value_that_fits_no_column_is_hashed(
    empty_api: FakeApi, project: Project, declare: Declare, token: str
) -> None:
    declare("organizations", hashed=("name",), dropped=("tags.a",))
    empty_api.answer_with("organizations", Answer(body=f'{{"data": [{{"id": 1, "name": {token}}}]}}'.encode()))
    project.sync("organizations")
    assert project.query("SELECT name, _rescued_data FROM analytics.organizations") == [(digest(token), None)]


def test_everything_within_a_hashed_object_is_hashed(empty_api: FakeApi, project: Project, declare: Declare) -> None:
    declare("organizations", hashed=("userData",))
    empty_api.rows["organizations"] = [organization(1, userData={"a": ["x", 1, True, None, {"b": 1.5}]})]
    project.sync("organizations")
    [(found,)] = project.query("SELECT user_data FROM analytics.organizations")
    x, one, true, number = map(digest, ("x", "1", "true", "1.5"))
    assert found == f'{{"a":["{x}","{one}","{true}",null,{{"b":"{number}"}}]}}'


@pytest.mark.parametrize(
    "answer",
    [
        Answer(body=f'{{"data": [{{"id": 1, "name": "{SECRET}'.encode()),
        Answer(400, {"error": f"cannot show {SECRET}"}),
        Answer(body={"data": [{"id": 1, "name": {"first": SECRET}}]}),
        Answer(body={"data": [{"id": 1, "name": SECRET}, {"id": 1, "name": SECRET}]}),
        Answer(body={"data": [{"name": SECRET}]}),
    ],
    ids=["cut", "status", "type", "twice", "no key"],
)
def test_no_error_quotes_what_is_sensitive(
    api: FakeApi, project: Project, declare: Declare, caplog: pytest.LogCaptureFixture, answer: Answer
) -> None:
    declare("organizations", hashed=("name",))
    api.answer_always("organizations", answer)
    with caplog.at_level(logging.DEBUG):
        result = project.run("organizations")

    assert not result.success
    said = failure_message(result) + caplog.text + str(result.all_events)
    said += project.log(result)
    assert "organizations" in said
    assert SECRET not in said


@pytest.mark.parametrize(
    ("key", "problem"), [(None, "is missing, and needed to hash organizations.name"), ("x", "is shorter")]
)
def test_without_a_good_hash_key_no_request_is_made(
    api: FakeApi,
    project: Project,
    declare: Declare,
    monkeypatch: pytest.MonkeyPatch,
    key: str | None,
    problem: str,
) -> None:
    declare("organizations", hashed=("name",))
    if key:
        monkeypatch.setenv("SOURCES__ANALYTICS__HASH_KEY", key)
    else:
        monkeypatch.delenv("SOURCES__ANALYTICS__HASH_KEY")
    message = failure_message(project.run())
    assert f"sources.analytics.hash_key {problem}" in message
    assert "SOURCES__ANALYTICS__HASH_KEY" in message
    assert api.requests == []


def test_the_asset_says_what_is_hidden(declare: Declare, project: Project) -> None:
    declare("activities", hashed=("subject", "data.params.email"), dropped=("data.params.ip",))
    [spec] = [spec for spec in defs(project.names).resolve_all_asset_specs() if spec.key == asset_key("activities")]
    assert "- **Hashed before it is loaded**: `subject`, `data.params.email`" in str(spec.description)
    assert "- **Never loaded**: `data.params.ip`" in str(spec.description)


def test_nothing_is_sensitive_by_default() -> None:
    assert not any(resource.is_sensitive for resource in RESOURCES)
