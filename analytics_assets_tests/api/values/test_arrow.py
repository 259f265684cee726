"""Columns that are read at once against the same values one by one, and batches with different columns."""

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Raw

from analytics_assets.api.catalog import Column
from analytics_assets.api.values.arrow import to_table
from analytics_assets_tests.servers.fake_api import FakeApi
from analytics_assets_tests.support.edits import columns_with
from analytics_assets_tests.support.eight import BY_NAME
from analytics_assets_tests.support.project import Project, metadata
from analytics_assets_tests.support.reading import read_resource

Row = dict[str, Any]

GROUPS = replace(
    BY_NAME["groups"],
    columns=columns_with(
        "groups", Column("score", "double", ""), Column("price", "decimal", ""), Column("day", "date", "")
    ),
)

numbers = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.decimals(allow_nan=False, allow_infinity=False, places=9, min_value=-(10**29), max_value=10**29).map(str),
    st.builds("{}e{}".format, st.integers(-(10**40), 10**40), st.integers(-400, 400)),
    st.sampled_from(["-0", "-0.0", "0e50", "1" + "0" * 29, "0." + "0" * 60 + "1", "1." + "0" * 310, "-86143e-78"]),
)
number_texts = numbers.map(json.dumps)
days = st.dates().map(lambda day: json.dumps(day.isoformat()))
epochs = st.builds("{}.{}".format, st.integers(-(10**10), 10**11), st.from_regex("[0-9]{1,9}", fullmatch=True))
instants = st.datetimes().map(lambda moment: json.dumps(f"{moment.isoformat()}Z"))
without_offset = st.datetimes().map(lambda moment: json.dumps(moment.isoformat(" ")))
odd = st.sampled_from(
    [
        '"0000-01-01"',
        '"1_0"',
        '"1e400"',
        "1e-400",
        '""',
        "true",
        "1.5",
        "1e400",
        "1704067200123",
        '"n/a"',
        '"20240101"',
        "[1]",
        '{"a":1e400}',
        '"12"',
    ]
)
tokens = st.one_of(
    st.just("null"),
    st.integers(-(2**65), 2**65).map(str),
    st.booleans().map(json.dumps),
    st.text(st.characters(codec="utf-8", exclude_characters="\0")).map(json.dumps),
    epochs,
    instants,
    without_offset,
    numbers,
    number_texts,
    days,
    odd,
)


@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(data=st.data())
def test_a_value_becomes_the_same_cell_beside_any_other(data: st.DataObject) -> None:
    resource = GROUPS
    # Whole columns are of one kind, now and then of several.
    kinds = {
        column.name: data.draw(st.sampled_from([tokens, epochs, instants, without_offset, numbers, number_texts, days]))
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


def test_a_resource_alone_is_an_iterator_of_tables(api: FakeApi) -> None:
    [table, end] = read_resource("roles")
    assert table["id"].to_pylist() == [row["id"] for row in api.rows["roles"]]
    assert end.num_rows == 0
