"""Which column a field has: the declared ones, and those of fields that nobody has declared."""

import json
from dataclasses import replace

import pytest

from analytics_assets.api.catalog import Column, Resource
from analytics_assets_tests.servers.fake_api import FakeApi
from analytics_assets_tests.support.eight import BY_NAME, RESOURCES
from analytics_assets_tests.support.odd_rows import UNDECLARED
from analytics_assets_tests.support.oracle import RESCUED
from analytics_assets_tests.support.project import Project, failure_message, metadata
from analytics_assets_tests.support.wire import (
    Scene,
    Table,
    column_name,
    declared,
    row,
    serve_rows,
)

SQL_TYPES = {
    "bigint": "BIGINT",
    "bool": "BOOLEAN",
    "json": "JSON",
    "text": "VARCHAR",
    "timestamp": "TIMESTAMP WITH TIME ZONE",
}


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


def test_the_columns_are_as_declared_and_all_but_the_key_may_be_null(duck: Scene) -> None:
    rows = [row(1, brandNew="1")]
    duck.sync({"groups": rows, "software_products": [row('"a"')]}, {})
    types = {
        "bigint": "BIGINT",
        "bool": "BOOLEAN",
        "text": "VARCHAR",
        "timestamp": "TIMESTAMP WITH TIME ZONE",
        "json": "JSON",
    }
    for resource in ("groups", "software_products"):
        found = {column["column_name"]: column for column in duck.warehouse.query(f"DESCRIBE analytics.{resource}")}
        expected = {column_name(field): types[type_] for field, type_ in declared(resource).items()}
        expected |= {"_rescued_data": "JSON"} | ({"brand_new": "JSON"} if resource == "groups" else {})
        assert {name: found[name]["column_type"] for name in expected} == expected
        assert {name for name in expected if found[name]["null"] == "NO"} == {"id"}


def test_each_field_has_a_column_of_its_own_that_it_keeps(anywhere: Scene) -> None:
    names = [name for name in UNDECLARED if name not in declared("groups")]
    stored = [name.replace("\0", "\ufffd").replace("\ud83d", "\ufffd") for name in names]
    rows = [row(n, **{name: str(n)}) for n, name in enumerate(names, 1)]
    tables: dict[str, Table] = {}
    result = anywhere.sync({"groups": rows}, tables)
    columns = anywhere.warehouse.undeclared("groups")
    assert columns.keys() == set(stored)
    assert len({name.lower() for name in columns.values()}) == len(columns)
    of_others = {
        *map(column_name, declared("groups")),
        "deleted_at",
        "_rescued_data",
        "xmin",
        "ctid",
        "oid",
        "tableoid",
        "cmax",
    }
    assert of_others.isdisjoint(columns.values())
    assert not [name for name in columns.values() if name.startswith("_dlt_")]
    assert (columns["value"], columns["1st"]) == ("value", "_1st")
    shown = metadata(result, "groups")["undeclared_columns"]
    assert (json.loads(shown) if isinstance(shown, str) else shown) == columns
    [check] = [each for each in result.get_asset_check_evaluations() if each.check_name == "undeclared_columns"]
    assert not check.passed

    # In another order they stay where they are, and so they do when they come anew.
    rows = [row(n, **{name: f"[{n}]"}) for n, name in enumerate(reversed(names), 1)]
    anywhere.sync({"groups": rows}, tables)
    assert anywhere.warehouse.undeclared("groups") == columns


def test_a_field_that_is_called_like_an_alias_of_a_merge_is_no_part_of_it(anywhere: Scene) -> None:
    tables: dict[str, Table] = {}
    for listed in ((1, 2), (2,)):
        rows = [row(n, updated=f'"2024-05-0{3 - len(listed)}"', d=f'{{"id":{n}}}', s="1") for n in listed]
        anywhere.sync({"groups": rows}, tables)


def test_columns_of_undeclared_fields_do_not_depend_on_the_order_of_rows(duck: Scene) -> None:
    rows = [row(n, **{name: str(n)}) for n, name in enumerate(UNDECLARED, 1) if name not in declared("groups")]
    duck.sync({"groups": rows}, {})
    columns = duck.warehouse.undeclared("groups")
    duck.sync({"groups": rows[::-1]}, {}, mode="rebuild")
    assert duck.warehouse.undeclared("groups") == columns


def test_a_field_that_is_always_null_has_no_column(duck: Scene) -> None:
    duck.sync({"groups": [row(1, nothing="null", something="false")]}, {})
    assert duck.warehouse.undeclared("groups") == {"something": "something"}
    assert "nothing" not in duck.warehouse.columns("groups")


@pytest.mark.parametrize("fields", [201, 1_700])
def test_fields_beyond_two_hundred_are_rescued(duck: Scene, fields: int) -> None:
    names = [f"field{n}" for n in range(fields)]
    rows = [row(n, **{name: f'"{name}"' for name in names[n:]}) for n in range(3)]
    serve_rows(duck.api, "groups", rows)
    duck.project.sync("groups")
    assert len(duck.warehouse.undeclared("groups")) == 200
    for number, found in duck.warehouse.table("groups").items():
        rescued = json.loads(found.pop(RESCUED))
        del found["id"]
        assert len(found) == 200 - sum(name not in found for name in duck.warehouse.undeclared("groups"))
        assert found.keys().isdisjoint(rescued)
        kept = {name: json.loads(cell) for name, cell in found.items()} | rescued
        assert kept == {name: name for name in names[int(number) :]}


def test_a_field_keeps_its_column_when_others_of_its_name_come(empty_api: FakeApi, project: Project) -> None:
    empty_api.rows["organizations"] = [{"id": 1, "fooBar": 1}]
    first = metadata(project.sync("organizations"), "organizations")["undeclared_columns"]
    assert first == {"fooBar": "foo_bar"}
    empty_api.rows["organizations"] = [{"id": 1, "foo_bar": 2, "FOO_BAR": 3, "fooBar": 4}]
    second = metadata(project.sync("organizations"), "organizations")["undeclared_columns"]
    assert second.pop("fooBar") == "foo_bar"
    assert set(second) == {"foo_bar", "FOO_BAR"}
    other, shouted = second["foo_bar"], second["FOO_BAR"]
    found = project.query(f"SELECT foo_bar, {other}, {shouted} FROM analytics.organizations")
    assert found == [("4", "2", "3")]


def test_a_field_that_is_declared_where_another_has_its_column_takes_it(empty_api: FakeApi, project: Project) -> None:
    empty_api.rows["groups"] = [{"id": 1, "brandNew": 1}]
    project.sync("groups")
    groups = BY_NAME["groups"]
    declared = replace(groups, columns=(*groups.columns, Column("BrandNew", "json", "Declared")))
    project.declare(declared)
    empty_api.rows["groups"] = [{"id": 1, "brandNew": 2, "BrandNew": 3}]
    undeclared = metadata(project.sync("groups"), "groups")["undeclared_columns"]
    assert undeclared.keys() == {"brandNew"}
    assert project.query(f"SELECT brand_new, {undeclared['brandNew']} FROM analytics.groups") == [("3", "2")]


def test_a_field_gets_its_type_when_it_is_declared_and_the_table_rebuilt(empty_api: FakeApi, project: Project) -> None:
    empty_api.rows["groups"] = [{"id": 1, "price": 10}, {"id": 2, "price": "9"}]
    project.sync("groups")
    assert project.query("SELECT price FROM analytics.groups ORDER BY id") == [("10",), ('"9"',)]
    groups = BY_NAME["groups"]
    declared = replace(groups, columns=(*groups.columns, Column("price", "bigint", "Price")))
    project.declare(declared)
    message = failure_message(project.run("groups"))
    assert "'price' is declared as bigint, and the column price is json" in message
    assert project.query("SELECT price FROM analytics.groups ORDER BY id") == [("10",), ('"9"',)]
    result = project.sync("groups", config={"mode": "rebuild"})
    assert project.query("SELECT price FROM analytics.groups ORDER BY id") == [(10,), (9,)]
    assert "undeclared_columns" not in metadata(result, "groups")
