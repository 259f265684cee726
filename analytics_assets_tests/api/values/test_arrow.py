"""Columns that are read at once against the same values one by one, and batches with different columns."""

import json
import tempfile
from dataclasses import replace
from typing import Any

import dlt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Raw

from analytics_assets.api.catalog import BY_NAME, RESOURCES, Column
from analytics_assets.api.listing import open_listings
from analytics_assets.api.settings_reader import read_settings
from analytics_assets.api.source import read_listing
from analytics_assets.api.values.arrow import to_table
from analytics_assets.warehouse.parquet import write_parquet
from analytics_assets_tests.servers.fake_api import FakeApi
from analytics_assets_tests.support.project import Project, failure_message, metadata
from analytics_assets_tests.support.reading import read_resource

Row = dict[str, Any]

epochs = st.builds("{}.{}".format, st.integers(-(10**10), 10**11), st.from_regex("[0-9]{1,9}", fullmatch=True))
instants = st.datetimes().map(lambda moment: json.dumps(f"{moment.isoformat()}Z"))
without_offset = st.datetimes().map(lambda moment: json.dumps(moment.isoformat(" ")))
odd = st.sampled_from(
    ['""', "true", "1.5", "1e400", "1704067200123", '"n/a"', '"20240101"', "[1]", '{"a":1e400}', '"12"']
)
tokens = st.one_of(
    st.just("null"),
    st.integers(-(2**65), 2**65).map(str),
    st.booleans().map(json.dumps),
    st.text(st.characters(codec="utf-8", exclude_characters="\0")).map(json.dumps),
    epochs,
    instants,
    without_offset,
    odd,
)


@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(data=st.data())
def test_a_value_becomes_the_same_cell_beside_any_other(data: st.DataObject) -> None:
    resource = BY_NAME["groups"]
    # Whole columns are of one kind, now and then of several.
    kinds = {
        column.name: data.draw(st.sampled_from([tokens, epochs, instants, without_offset]))
        for column in resource.columns
    }
    rows = [
        {"id": number, **{name: Raw(data.draw(kind).encode()) for name, kind in kinds.items() if name != "id"}}
        for number in range(data.draw(st.integers(1, 4)))
    ]
    together = to_table(rows, resource).to_pylist()
    assert together == [row for each in rows for row in to_table([each], resource).to_pylist()]


def test_rows_with_fields_of_their_own_are_one_table(
    empty_api: FakeApi, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("analytics_assets.api.prefetch.BATCH_ROWS", 20)
    rows: list[Row] = [{"id": n, "name": f"Organization {n}"} for n in range(1, 101)]
    rows[50]["brandNew"] = "x"
    rows[90] |= {"other": 1, "brandNew": None}
    empty_api.rows["organizations"] = rows
    result = project.sync("organizations")
    assert metadata(result, "organizations")["undeclared_columns"] == {"brandNew": "brand_new", "other": "other"}
    found = project.query("SELECT id, name, brand_new, other FROM analytics.organizations ORDER BY id")
    assert [row[:2] for row in found] == [(n, f"Organization {n}") for n in range(1, 101)]
    assert {row[0]: row[2:] for row in found if row[2:] != (None, None)} == {51: ('"x"', None), 91: (None, "1")}


def test_a_field_keeps_its_column_whichever_comes_first(empty_api: FakeApi, project: Project) -> None:
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


def test_a_field_that_is_declared_where_another_has_its_column_takes_it(
    empty_api: FakeApi, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    empty_api.rows["groups"] = [{"id": 1, "brandNew": 1}]
    project.sync("groups")
    groups = BY_NAME["groups"]
    declared = replace(groups, columns=(*groups.columns, Column("BrandNew", "json", "Declared")))
    resources = tuple(declared if resource is groups else resource for resource in RESOURCES)
    monkeypatch.setattr("analytics_assets.defs.assets.assets.RESOURCES", resources)
    empty_api.rows["groups"] = [{"id": 1, "brandNew": 2, "BrandNew": 3}]
    undeclared = metadata(project.sync("groups"), "groups")["undeclared_columns"]
    assert undeclared.keys() == {"brandNew"}
    assert project.query(f"SELECT brand_new, {undeclared['brandNew']} FROM analytics.groups") == [("3", "2")]


def test_a_field_gets_its_type_when_it_is_declared_and_the_table_rebuilt(
    empty_api: FakeApi, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    empty_api.rows["groups"] = [{"id": 1, "price": 10}, {"id": 2, "price": "9"}]
    project.sync("groups")
    assert project.query("SELECT price FROM analytics.groups ORDER BY id") == [("10",), ('"9"',)]
    groups = BY_NAME["groups"]
    declared = replace(groups, columns=(*groups.columns, Column("price", "bigint", "Price")))
    resources = tuple(declared if resource is groups else resource for resource in RESOURCES)
    monkeypatch.setattr("analytics_assets.defs.assets.assets.RESOURCES", resources)
    message = failure_message(project.run("groups"))
    assert "The column 'price' of the table has another type than api/catalog.py gives it now" in message
    assert project.query("SELECT price FROM analytics.groups ORDER BY id") == [("10",), ('"9"',)]
    result = project.sync("groups", config={"mode": "rebuild"})
    assert project.query("SELECT price FROM analytics.groups ORDER BY id") == [(10,), (9,)]
    assert metadata(result, "groups")["undeclared_columns"] == {}


@pytest.mark.parametrize("lag", ["0", "60"])
def test_the_cursor_is_the_newest_of_all_batches(empty_api: FakeApi, monkeypatch: pytest.MonkeyPatch, lag: str) -> None:
    monkeypatch.setattr("analytics_assets.api.prefetch.BATCH_ROWS", 20)
    monkeypatch.setenv("SOURCES__ANALYTICS__LAG_SECONDS", lag)
    rows: list[Row] = [{"id": n, "activityTime": f"2024-05-01T00:{59 - n // 2:02}:00Z"} for n in range(1, 101)]
    rows[99]["brandNew"] = "x"
    empty_api.rows["activities"] = rows
    resource = BY_NAME["activities"]
    [listing] = open_listings(read_settings(), [resource]).values()
    source = read_listing(listing)
    with tempfile.TemporaryDirectory() as directory:
        write_parquet(source, resource, directory)
        pipeline = dlt.pipeline("both", destination="duckdb", pipelines_dir=directory)
        pipeline.extract(source)
        state = pipeline.state["sources"]["analytics"]["resources"]["activities"]["incremental"]["activity_time"]
    assert state["last_value"].isoformat() == "2024-05-01T00:59:00+00:00"


def test_a_resource_alone_is_an_iterator_of_tables(api: FakeApi) -> None:
    [table, end] = read_resource("roles")
    assert table["id"].to_pylist() == [row["id"] for row in api.rows["roles"]]
    assert end.num_rows == 0
