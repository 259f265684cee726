"""What becomes of a value: the tables against the oracle, and the words of what is refused."""

import json
import tempfile
from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from analytics_assets.api.catalog import Column
from analytics_assets_tests.support.checkout import CHECKOUT
from analytics_assets_tests.support.edits import columns_with, edited
from analytics_assets_tests.support.odd_rows import Listings, histories
from analytics_assets_tests.support.oracle import RESCUED, Misfit, canonical, expect, parse, read_cell
from analytics_assets_tests.support.project import metadata
from analytics_assets_tests.support.wire import (
    Scene,
    Table,
    Warehouse,
    declared,
    row,
    scene,
    serve_rows,
)

DOCS = CHECKOUT / "docs" / "values.md"


class Example(NamedTuple):
    """A row of the table in docs/values.md."""

    type: str
    value: str
    cell: str
    rescued: str


def examples() -> list[Example]:
    lines = DOCS.read_text(encoding="utf-8").splitlines()
    start = lines.index("| Declared type | JSON value | Cell | Rescued |") + 2
    rows = [[part.strip().strip("`") for part in line.strip("|").split(" |")] for line in lines[start:]]
    assert len(rows) > 60
    return [Example(*parts) for parts in rows]


FIELDS = {
    "bigint": "deviceCount",
    "bool": "shared",
    "date": "day",
    "decimal": "price",
    "double": "score",
    "text": "name",
    "timestamp": "lastEvaluated",
    "json": "tags",
    "undeclared": "brandNew",
}
"""Of the groups, by the declared type."""


@pytest.fixture
def more_columns() -> Iterator[None]:
    """The groups with columns of the types that no resource has."""
    added = [Column(FIELDS[type_], type_, "Added") for type_ in ("date", "decimal", "double")]
    with edited("groups", columns=columns_with("groups", *added)):
        yield


def documented(example: Example) -> dict[str, Any]:
    """The row without its key that an example of the docs is said to become."""
    field = FIELDS[example.type]
    cell: Any = None
    match example.type:
        case _ if example.cell == "NULL":
            pass
        case "bigint":
            cell = int(example.cell)
        case "bool":
            cell = {"true": True, "false": False}[example.cell]
        case "date":
            cell = date.fromisoformat(example.cell)
        case "decimal":
            cell = Decimal(example.cell)
        case "double":
            cell = float(example.cell)
        case "text":
            cell = example.cell[1:-1]
        case "timestamp":
            cell = datetime.fromisoformat(example.cell).replace(tzinfo=UTC)
        case _:
            cell = canonical(parse(example.cell))
    rescued = canonical({field: parse(example.rescued)}) if example.rescued else None
    return {name: found for name, found in {field: cell, RESCUED: rescued}.items() if found is not None}


@pytest.mark.usefixtures("more_columns")
def test_the_oracle_says_what_the_docs_say() -> None:
    for example in examples():
        [found] = expect(declared("groups"), [row(1, **{FIELDS[example.type]: example.value})]).values()
        assert found == {"id": 1, **documented(example)}, example


@pytest.mark.usefixtures("more_columns")
def test_the_table_has_what_the_docs_say(anywhere: Scene) -> None:
    rows = [row(n, **{FIELDS[each.type]: each.value}) for n, each in enumerate(examples())]
    anywhere.sync({"groups": rows}, {})
    table = anywhere.warehouse.table("groups")
    for number, example in enumerate(examples()):
        assert table[number] == {"id": number, **documented(example)}, example


@pytest.mark.usefixtures("more_columns")
def test_a_decimal_keeps_all_its_digits_where_there_are_decimals(anywhere: Scene) -> None:
    price = "-12345678901234567890123456789.123456789"
    serve_rows(anywhere.api, "groups", [row(1, price=price, score="0.1", day='"2024-05-01"'), row(2, price="0.1")])
    anywhere.project.sync("groups")
    cells = anywhere.warehouse.table("groups")
    assert cells[1]["price"] == (Decimal(repr(float(price))) if anywhere.warehouse.kind == "sqlite" else Decimal(price))
    serve_rows(anywhere.api, "groups", [row(1, price='"0.3"', day='"2024-05-02"'), row(2, price="0.1")])
    assert metadata(anywhere.project.sync("groups"), "groups")["rows_loaded"] == 1
    assert anywhere.warehouse.table("groups")[1] == {"id": 1, "price": Decimal("0.3"), "day": date(2024, 5, 2)}


@pytest.mark.parametrize(
    ("type_", "value", "cell"),
    [
        ("timestamp", '"2024-W18-3"', "2024-05-01T00:00:00"),
        ("timestamp", '"2024W183T0000Z"', "2024-05-01T00:00:00"),
        ("timestamp", '"2024-122"', "2024-05-01T00:00:00"),
        ("timestamp", '"2024122T00Z"', "2024-05-01T00:00:00"),
        ("timestamp", '"2024122"', "1970-01-24T10:15:22"),
        ("timestamp", '"20241301"', "1970-08-23T06:35:01"),
        ("timestamp", '"20240501T003000,5+0030"', "2024-05-01T00:00:00.500000"),
        ("timestamp", '"00000131"', "1970-01-01T00:02:11"),
        ("timestamp", '"9999-12-31T24:00:00+01:00"', "9999-12-31T23:00:00"),
        ("timestamp", '"9999-12-31T24:00:00Z"', None),
        ("timestamp", '"2024-05-01T24:00:01Z"', None),
        ("timestamp", '"2024-05"', None),
        ("timestamp", '"1e9"', None),
        ("timestamp", "1e9", "2001-09-09T01:46:40"),
        ("timestamp", "1714521600.1234569", "2024-05-01T00:00:00.123456"),
        ("timestamp", "-0.0000001", "1969-12-31T23:59:59.999999"),
        ("timestamp", "-100000000000", None),
        ("timestamp", '"\u0662\u0660\u0662\u0664-05-01"', None),
        ("bigint", "-9223372036854775808", -(2**63)),
        ("bigint", '"-9223372036854775809"', None),
        ("bigint", '"+5"', None),
        ("bigint", '"٣"', None),
        ("bool", '"true "', None),
        ("bool", "1e0", True),
        ("text", "9" * 300, "9" * 300),
        ("text", "9" * 301, None),
        ("text", r'"\\u0000"', r"\u0000"),
        ("text", r'"\\\u0000"', "\\\ufffd"),
        ("json", "[" * 500 + "]" * 500, "[" * 500 + "]" * 500),
        ("json", "[" * 501 + "]" * 501, None),
        ("json", "[1.0, 1e2, 0.5, true]", "[1, 100, 0.5, true]"),
    ],
)
def test_the_oracle_at_the_edges(type_: str, value: str, cell: Any) -> None:
    try:
        found = read_cell(type_, parse(value))
    except Misfit:
        found = None
    if type_ == "timestamp" and cell:
        cell = datetime.fromisoformat(cell).replace(tzinfo=UTC)
    assert (type(found), found) == (type(cell), cell)


# Without shrinking, which takes minutes, as each attempt is a few syncs: add Phase.shrink to see fewer rows.
@settings(
    max_examples=8,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
@given(history=histories())
def test_tables_are_what_the_oracle_says(history: list[Listings]) -> None:
    with (
        tempfile.TemporaryDirectory() as directory,
        scene(Warehouse("duckdb", f"{directory}/values.duckdb")) as found,
    ):
        tables: dict[str, Table] = {}
        for listings in history:
            found.sync(listings, tables, mode="full")


Fields = dict[str, str]

FOUND: dict[str, list[tuple[Any, Fields]]] = {
    "organizations": [
        (1, {"name": '""', "description": '""', "userData": '""'}),
        (2, {"name": '"Two"', "ID": "2", "Name": '"other"', "description": r'"a\u0000b"'}),
        (
            3,
            {
                "name": "true",
                "description": "1.10",
                "userData": r'{"t": "\u0000", "Id": 1, "id": 2, "big": 18446744073709551616}',
            },
        ),
        ('"4"', {"name": "18446744073709551616", "price": "10", "nodeApprovalMode": r'"\\N"'}),
        (5, {"name": r'"\ud83d"', "price": "9.99", "userData": "[" * 500 + "]" * 500, "tags": "[" * 501 + "]" * 501}),
        (6, {"name": '{"a": 1}', "price": '"n/a"', "deletedAt": "false", "deleted_at": '"2024-05-01"'}),
        (7, {"name": "1e400", "price": '{"a": 1.0}', "_dlt_id": '"same"', "xmin": "1", "ctid": "2"}),
        (8, {"name": "null", "price": "null", "_dlt_id": '"same"', "__": "1", "userData": '{"x": [NaN]}'}),
        (
            -(2**63),
            {"name": f'"{"x" * 5000}"', "tags": r'["\udfff", {"\u0000": "\ud83d\ude00"}]', "_rescued_data": '"mine"'},
        ),
        (2**63 - 1, {"\u65e5\u672c": "1", "\u540d\u524d": "2", "": "3", " ": "4", "x\0": "5", "a" * 300: "6"}),
    ],
    "groups": [
        (
            1,
            {
                "updated": '"2024-05-01t00:00:00.5z"',
                "deviceCount": '""',
                "shared": '""',
                "created": '"2024-05-01T03.5Z"',
            },
        ),
        (
            2,
            {"updated": '"soon"', "deviceCount": str(2**63), "shared": '"?"', "created": '"0001-01-01T00:00:00+02:00"'},
        ),
        (3, {"updated": '""', "deviceCount": str(-(2**63)), "shared": "1.0", "created": '"9999-12-31T23:59:59-05:00"'}),
        (
            4,
            {
                "updated": "1714521600.123457",
                "deviceCount": '"12"',
                "shared": '"TRUE"',
                "created": '"0000-01-01T00:00:00Z"',
            },
        ),
        (5, {"updated": '"1714521600123"', "deviceCount": "5.0", "shared": "0", "created": '"2024-05-01 24:00"'}),
        (6, {"updated": "1714521600123", "deviceCount": "5.5", "shared": "2", "created": '"2016-12-31T23:59:60Z"'}),
        (
            7,
            {
                "updated": '"9999-12-31T23:59:59Z"',
                "deviceCount": "true",
                "created": '"0001-01-01T00:00:00Z"',
                "tags": '""',
            },
        ),
        (
            8,
            {
                "updated": '"20240501"',
                "deviceCount": "Infinity",
                "shared": "NaN",
                "created": "-1.5",
                "tags": '{"a": 2, "a": 1}',
            },
        ),
        (
            9,
            {
                "deviceCount": "[1]",
                "shared": "{}",
                "created": '"2024-05-01T00:00:00.123456789+05:30"',
                "tags": "[1.5, 1e3]",
            },
        ),
    ],
    "software_products": [
        ('"a"', {"vendorName": r'"b\u0000"', "new": "2147483648"}),
        ('"A"', {"vendorName": '"\u202e\u2028"', "new": r'"x\ud800"'}),
        ("12", {"active": '"true"', "new": "[]"}),
        ("18446744073709551616", {"active": "1", "new": '""'}),
        ('" "', {"active": '" "', "new": "1e400"}),
        (r'"k\u0000"', {"active": '"0"', "new": '"null"'}),
    ],
}
"""What went wrong once, or came near to it: raw keys and values."""


def test_values_that_went_wrong_once_are_right_in_every_destination(anywhere: Scene) -> None:
    listings = {resource: [row(key, **fields) for key, fields in rows] for resource, rows in FOUND.items()}
    tables: dict[str, Table] = {}
    first = anywhere.sync(listings, tables)
    for resource in FOUND:
        rescued = sum(len(json.loads(cells[RESCUED])) for cells in tables[resource].values() if RESCUED in cells)
        assert metadata(first, resource)["values_rescued"] == rescued > 0
    # Each row gets the fields of the next: some come, some go, some change.
    turned = {
        resource: [row(key, **fields) for (key, _), (_, fields) in zip(rows, rows[1:] + rows[:1], strict=True)]
        for resource, rows in FOUND.items()
    }
    anywhere.sync(turned, tables, mode="full")
    anywhere.sync(listings, tables, mode="rebuild")


def test_an_edit_of_the_spelling_alone_is_loaded(duck: Scene) -> None:
    tables: dict[str, Table] = {}
    for name, tags, count in (("1.10", "[1]", "5"), ("1.1", "[true]", '"5x"'), ("1.1", '["true"]', '"5y"')):
        duck.sync({"groups": [row(1, name=name, tags=tags, deviceCount=count)]}, tables)
