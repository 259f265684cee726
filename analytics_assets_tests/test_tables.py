"""The way through Arrow and Parquet against dlt's own normaliser: the same pages give the same tables, cell by cell."""

import copy
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Any

import dlt
import duckdb
import pytest
from dlt.common.schema.exceptions import DataValidationError
from dlt.pipeline.exceptions import PipelineStepFailed
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from analytics_assets.api.catalog import BY_NAME, RESOURCES, Column, Resource
from analytics_assets.api.listing import open_listings
from analytics_assets.api.settings import read_settings
from analytics_assets.api.source import read_listings
from analytics_assets.api.tables import to_table
from analytics_assets.warehouse.parquet import write_parquet
from analytics_assets.warehouse.pipeline import pipeline_name
from analytics_assets_tests.fake_api import FakeApi, serve

Row = dict[str, Any]
Table = tuple[list[tuple[Any, ...]], list[tuple[Any, ...]]]

LARGEST = 2**63 - 1

# Surrogates are no JSON, and NUL is no text for many a database.
text = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12)
nested = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=6,
)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "bigint": st.integers(-LARGEST - 1, LARGEST) | st.sampled_from([0, LARGEST, -LARGEST - 1]),
    "bool": st.booleans(),
    "json": st.lists(nested, max_size=3) | st.dictionaries(text, nested, max_size=3),
    "text": text | st.sampled_from(["", " ", "ünï…", "2024-05-01T00:00:00Z", "12", "true", "{}", "\\N", "'\"`;--"]),
    "timestamp": st.sampled_from(
        [
            "2024-05-01T00:00:00Z",
            "2024-05-01T00:00:00.123456Z",
            "2024-05-01T00:00:00.1Z",
            "2024-05-01T00:00:00.123456789Z",
            "2024-05-01T02:00:00+05:30",
            "2024-05-01 00:00:00",
            "2024-05-01",
            1714521600,
            1714521600.25,
        ]
    ),
}
ABSENT = object()


def rows_of(resource: Resource) -> st.SearchStrategy[list[Row]]:
    """Rows of what is declared, in which all but the key may be null or absent."""

    def value(column: Column) -> st.SearchStrategy[Any]:
        return VALUES[column.type] | st.none() | st.just(ABSENT)

    fields = st.fixed_dictionaries({column.name: value(column) for column in resource.columns if column.name != "id"})
    rows = st.lists(fields, min_size=1, max_size=12)
    return rows.map(
        lambda found: [
            {"id": key(resource, number), **{name: value for name, value in row.items() if value is not ABSENT}}
            for number, row in enumerate(found, 1)
        ]
    )


def key(resource: Resource, number: int) -> Any:
    return number if resource.columns[0].type == "bigint" else f"key {number}"


def load(resource: Resource, *, tables: bool) -> Table:
    """The columns and cells of the table that the API's rows become."""
    with tempfile.TemporaryDirectory() as directory, closing(duckdb.connect(f"{directory}/x.duckdb")) as connection:
        name = pipeline_name(resource)
        pipeline = dlt.pipeline(
            name,
            destination=dlt.destinations.duckdb(connection),
            dataset_name="analytics",
            pipelines_dir=directory,
        )
        [listing] = open_listings(read_settings(), [resource], tables=tables).values()
        source = read_listings([listing], name=name)
        if tables:
            write_parquet(source, resource, directory)
        pipeline.run(source, loader_file_format="parquet")
        assert not list(Path(directory).glob("*.parquet"))
        connection.execute("SET TimeZone = 'UTC'")
        columns = connection.execute(f"DESCRIBE analytics.{resource.name}").fetchall()
        hints = pipeline.default_schema.tables[resource.name]["columns"]
        columns = [(*column, sorted(hints[column[0]].items())) for column in columns]
        names = ", ".join(f'"{column[0]}"' for column in columns if not column[0].startswith("_dlt"))
        cells = connection.execute(f"SELECT {names} FROM analytics.{resource.name} ORDER BY id").fetchall()
        [(rows, ids, loads)] = connection.execute(
            f"SELECT count(*), count(DISTINCT _dlt_id), count(DISTINCT _dlt_load_id) FROM analytics.{resource.name}"
        ).fetchall()
        assert (ids, loads) == (rows, 1)
        return columns, cells


def both_ways(resource: Resource, rows: list[Row]) -> tuple[Table, Table]:
    with serve() as api, pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOURCES__ANALYTICS__BASE_URL", api.url)
        patch.setenv("SOURCES__ANALYTICS__API_KEY", "token-7f3a-canary")
        api.rows[resource.name] = rows
        return load(resource, tables=False), load(resource, tables=True)


@settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data())
def test_declared_rows_give_the_same_table_either_way(data: st.DataObject) -> None:
    resource = data.draw(st.sampled_from(RESOURCES))
    rows = data.draw(rows_of(resource))
    assert to_table(copy.deepcopy(rows), resource) is not None
    by_dlt, by_arrow = both_ways(resource, rows)
    assert by_arrow == by_dlt


REGULAR = {
    "id": 1,
    "name": "Script",
    "active": True,
    "operatingSystems": ["Linux"],
    "updatedOn": "2024-05-01T00:00:00Z",
}


@pytest.mark.parametrize(
    "odd",
    [
        {"brandNew": "a field that is not declared"},
        {"brandNew": {"nested": [1]}, "another": 1.5},
        {"name": 12},
        {"name": True},
        {"active": "true"},
        {"active": 1},
        {"id": "2"},
    ],
    ids=str,
)
def test_what_is_not_declared_is_left_to_dlt(odd: Row) -> None:
    resource = BY_NAME["automation_scripts"]
    rows = [REGULAR, {**REGULAR, "id": 2, **odd}]
    assert to_table(copy.deepcopy(rows), resource) is None
    by_dlt, by_arrow = both_ways(resource, rows)
    assert sorted(by_arrow[0]) == sorted(by_dlt[0])
    assert by_arrow[1] == by_dlt[1]


@pytest.mark.parametrize(
    ("resource", "odd"),
    [
        ("groups", {"deviceCount": 1.5}),
        ("groups", {"deviceCount": "many"}),
        ("groups", {"shared": "perhaps"}),
        ("groups", {"deviceCount": {"of": 3}}),
        ("groups", {"tags": "text"}),
        ("groups", {"fields": 5}),
    ],
    ids=str,
)
def test_a_value_that_does_not_fit_is_the_contracts_error_either_way(
    empty_api: FakeApi, resource: str, odd: Row
) -> None:
    empty_api.rows[resource] = [{"id": 1, "updated": "2024-05-01T00:00:00Z"}, {"id": 2, "updated": None, **odd}]
    found = []
    for tables in (False, True):
        with pytest.raises(PipelineStepFailed) as caught:
            load(BY_NAME[resource], tables=tables)
        error: BaseException | None = caught.value
        while error and not isinstance(error, DataValidationError):
            error = error.__cause__ or error.__context__
        assert isinstance(error, DataValidationError)
        found.append((error.column_name, error.data_item["id"]))
    assert found[0] == found[1]
    assert found[0][1] == 2


@pytest.mark.parametrize(("resource", "key"), [("software_products", "a"), ("organizations", 1)])
def test_a_key_that_is_null_is_left_to_the_contract(resource: str, key: str | int) -> None:
    assert to_table([{"id": key}], BY_NAME[resource]) is not None
    assert to_table([{"id": key}, {"id": None}], BY_NAME[resource]) is None


def test_an_integer_beyond_64_bits_is_an_error_and_no_other_number(empty_api: FakeApi) -> None:
    empty_api.rows["groups"] = [{"id": 1, "updated": "2024-05-01T00:00:00Z", "deviceCount": 2**64}]
    for tables in (False, True):
        with pytest.raises(PipelineStepFailed):
            load(BY_NAME["groups"], tables=tables)


def test_pages_of_both_kinds_are_one_table(empty_api: FakeApi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("analytics_assets.api.listing.BATCH_ROWS", 20)
    rows: list[Row] = [{"id": n, "name": f"Organization {n}"} for n in range(1, 101)]
    rows[50]["brandNew"] = "x"
    empty_api.rows["organizations"] = rows
    columns, cells = load(BY_NAME["organizations"], tables=True)
    assert [(row[0], row[1]) for row in cells] == [(n, f"Organization {n}") for n in range(1, 101)]
    assert [row[-1] for row in cells] == [None] * 50 + ["x"] + [None] * 49
    assert [column[0] for column in columns][-1] == "brand_new"


@pytest.mark.parametrize("lag", ["0", "60"])
def test_the_cursor_is_the_newest_of_pages_of_both_kinds(
    empty_api: FakeApi, monkeypatch: pytest.MonkeyPatch, lag: str
) -> None:
    monkeypatch.setattr("analytics_assets.api.listing.BATCH_ROWS", 20)
    monkeypatch.setenv("SOURCES__ANALYTICS__LAG_SECONDS", lag)
    rows: list[Row] = [{"id": n, "activityTime": f"2024-05-01T00:{59 - n // 2:02}:00Z"} for n in range(1, 101)]
    rows[99]["brandNew"] = "x"
    empty_api.rows["activities"] = rows
    resource = BY_NAME["activities"]
    [listing] = open_listings(read_settings(), [resource], tables=True).values()
    source = read_listings([listing])
    with tempfile.TemporaryDirectory() as directory:
        write_parquet(source, resource, directory)
        pipeline = dlt.pipeline("both", destination="duckdb", pipelines_dir=directory)
        pipeline.extract(source)
        state = pipeline.state["sources"]["analytics"]["resources"]["activities"]["incremental"]["activityTime"]
    assert state["last_value"].isoformat() == "2024-05-01T00:59:00+00:00"
