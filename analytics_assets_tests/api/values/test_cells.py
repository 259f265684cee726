"""What becomes of a value: the tables against the oracle, and the words of what is refused."""

import json
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import dagster as dg
import pytest
from hypothesis import HealthCheck, Phase, given, settings

from analytics_assets.api.catalog import BY_NAME, Column, ColumnType
from analytics_assets_tests.servers.fake_api import PATHS, Answer
from analytics_assets_tests.support.checkout import CHECKOUT
from analytics_assets_tests.support.odd_rows import UNDECLARED, Listings, histories
from analytics_assets_tests.support.oracle import RESCUED, Misfit, canonical, expect, parse, read_cell
from analytics_assets_tests.support.project import failure_message, materialized, metadata
from analytics_assets_tests.support.wire import (
    Kind,
    Scene,
    Table,
    Warehouse,
    body_of,
    column_name,
    declared,
    differences,
    row,
    scene,
    serve_body,
    serve_rows,
)

DOCS = CHECKOUT / "docs" / "values.md"

INTEGER_TABLES = ["organizations", "policies", "activities", "automation_scripts", "groups", "locations", "roles"]


@pytest.fixture
def duck(tmp_path: Path) -> Iterator[Scene]:
    with scene(Warehouse("duckdb", str(tmp_path / "values.duckdb"))) as found:
        yield found


@pytest.fixture(params=["duckdb", "postgres", "sqlite"])
def anywhere(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Scene]:
    """A scene with each kind of destination."""
    kind: Kind = request.param
    where = request.getfixturevalue("postgres") if kind == "postgres" else str(tmp_path / f"values.{kind}")
    with scene(Warehouse(kind, where)) as found:
        yield found


# The oracle by itself, against what docs/values.md says.


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
    "text": "name",
    "timestamp": "lastEvaluated",
    "json": "tags",
    "undeclared": "brandNew",
}
"""Of the groups, by the declared type."""


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
        case "text":
            cell = example.cell[1:-1]
        case "timestamp":
            cell = datetime.fromisoformat(example.cell).replace(tzinfo=UTC)
        case _:
            cell = canonical(parse(example.cell))
    rescued = canonical({field: parse(example.rescued)}) if example.rescued else None
    return {name: found for name, found in {field: cell, RESCUED: rescued}.items() if found is not None}


def test_the_oracle_says_what_the_docs_say() -> None:
    for example in examples():
        [found] = expect(declared("groups"), [row(1, **{FIELDS[example.type]: example.value})]).values()
        assert found == {"id": 1, **documented(example)}, example


def test_the_table_has_what_the_docs_say(anywhere: Scene) -> None:
    rows = [row(n, **{FIELDS[each.type]: each.value}) for n, each in enumerate(examples())]
    anywhere.sync({"groups": rows}, {})
    table = anywhere.warehouse.table("groups")
    for number, example in enumerate(examples()):
        assert table[number] == {"id": number, **documented(example)}, example


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


# Rows at random.


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


# What was found, in every kind of destination.

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


def test_what_was_found_is_right_everywhere(anywhere: Scene) -> None:
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


def test_an_edit_in_spelling_alone_is_an_edit(duck: Scene) -> None:
    tables: dict[str, Table] = {}
    for name, tags, count in (("1.10", "[1]", "5"), ("1.1", "[true]", '"5x"'), ("1.1", '["true"]', '"5y"')):
        duck.sync({"groups": [row(1, name=name, tags=tags, deviceCount=count)]}, tables)


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


# Fields that nobody has declared.


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


def test_a_field_has_the_same_column_whichever_comes_first(duck: Scene) -> None:
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


# A changed API.


def misfits(wrong: int, right: int, *, value: str = '"many"') -> list[str]:
    """Groups, first those whose number of devices does not fit."""
    return [row(n, deviceCount=value if n <= wrong else "5") for n in range(1, wrong + right + 1)]


@pytest.mark.parametrize(
    ("wrong", "right", "loaded"),
    [(10, 0, True), (10, 10, True), (11, 99, True), (11, 98, False), (11, 9, False), (11, 0, False)],
)
def test_too_many_values_that_do_not_fit_are_an_error(duck: Scene, wrong: int, right: int, *, loaded: bool) -> None:
    tables: dict[str, Table] = {}
    result = duck.sync({"groups": misfits(wrong, right)}, tables)
    assert result.success is loaded
    assert bool(tables) is loaded


@pytest.mark.parametrize("page_size", ["7", "1000"])
def test_the_whole_listing_is_judged_not_its_pages(
    duck: Scene, monkeypatch: pytest.MonkeyPatch, page_size: str
) -> None:
    monkeypatch.setenv("SOURCES__ANALYTICS__PAGE_SIZE", page_size)
    rows = [row(n, organizationId='"many"' if n <= 11 else "5") for n in range(1, 111)]
    tables: dict[str, Table] = {}
    assert duck.sync({"locations": rows}, tables).success
    rows[50] = row(51, organizationId='"many"')
    assert not duck.sync({"locations": rows}, tables).success
    # Values that are missing are none that fit.
    rows[51] = row(52)
    assert not duck.sync({"locations": rows}, tables).success


def test_what_has_changed_is_said_and_nothing_of_it_is_loaded(duck: Scene) -> None:
    tables: dict[str, Table] = {}
    duck.sync({"groups": misfits(0, 20)}, tables)
    result = duck.sync({"groups": misfits(11, 9)}, tables)
    message = failure_message(result)
    for part in ("groups", "bigint", '"many"', "max_rescued_share", "rebuild"):
        assert part in message
    assert "deviceCount" in message or "device_count" in message
    assert "1, 2, 3, 4, 5" in message
    assert "5, 6" not in message


def test_a_larger_share_accepts_it(duck: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    tables: dict[str, Table] = {}
    assert not duck.sync({"groups": misfits(11, 9)}, tables).success
    monkeypatch.setenv("SOURCES__ANALYTICS__MAX_RESCUED_SHARE", "0.55")
    assert duck.sync({"groups": misfits(11, 9)}, tables, share=0.55).success
    assert not duck.sync({"groups": misfits(12, 8)}, tables, share=0.55).success


@pytest.mark.parametrize(
    ("value", "type_"), [('"many"', "text"), ("5.5", "text"), ('{"of": 3}', "json"), ("true", "bool")]
)
def test_the_type_that_came_can_be_declared(duck: Scene, value: str, type_: ColumnType) -> None:
    tables: dict[str, Table] = {}
    listing = {"groups": misfits(11, 0, value=value)}
    assert not duck.sync(listing, tables).success
    with declare("groups", "deviceCount", type_):
        assert duck.sync(listing, tables, mode="rebuild").success
        assert not any(RESCUED in cells for cells in duck.warehouse.table("groups").values())


def test_a_field_that_is_declared_later_gets_its_type_by_a_rebuild(duck: Scene) -> None:
    tables: dict[str, Table] = {}
    rows = [row(1, price="10"), row(2, price="9.99"), row(3, price='"n/a"')]
    duck.sync({"groups": rows}, tables)
    with declare("groups", "price", "text"):
        duck.sync({"groups": rows}, tables, mode="rebuild")
        assert [cells["price"] for cells in duck.warehouse.table("groups").values()] == ["10", "9.99", "n/a"]


@contextmanager
def declare(resource: str, field: str, type_: ColumnType) -> Iterator[None]:
    """The catalogue as if somebody had edited it."""
    entry = BY_NAME[resource]
    before = entry.columns
    others = tuple(column for column in before if column.name != field)
    object.__setattr__(entry, "columns", (*others, Column(field, type_, "Edited")))
    try:
        yield
    finally:
        object.__setattr__(entry, "columns", before)


# Keys.

INTEGER_KEYS = ["0", "-1", '"7"', '"-8"', "9223372036854775807", '"-9223372036854775808"', '"9223372036854775806"']
TEXT_KEYS = [
    '"a"',
    '"A"',
    '"a "',
    '" "',
    "12",
    "-3",
    "18446744073709551616",
    '"1.0"',
    '"null"',
    r'"\u0000"',
    '"\u00e9"',
]
NO_INTEGER_KEYS = [
    *(
        None,
        "null",
        "true",
        "1.0",
        "1e0",
        "1.5",
        "NaN",
        "[1]",
        "{}",
        '""',
        '" "',
        '" 3 "',
        '"01"',
        '"+1"',
        '"-0"',
        '"1.0"',
    ),
    *('"0x1F"', '"1_0"', '"\u0663"', '"many"', "9223372036854775808", '"9223372036854775808"', '"1e0"', r'"1\u0000"'),
]
NO_TEXT_KEYS = [None, "null", "true", "1.0", "1.5", "NaN", "[1]", '{"a": 1}', '""']


def test_every_spelling_of_a_key(anywhere: Scene) -> None:
    tables: dict[str, Table] = {}
    listings = {
        "groups": [row(key, name='"x"') for key in INTEGER_KEYS],
        "software_products": [row(key, productName='"x"') for key in TEXT_KEYS],
    }
    anywhere.sync(listings, tables)
    assert set(tables["groups"]) == {0, -1, 7, -8, 2**63 - 1, -(2**63), 2**63 - 2}
    assert set(tables["software_products"]) == {
        *("a", "A", "a ", " ", "12", "-3", "18446744073709551616", "1.0", "null", "\ufffd", "\u00e9"),
    }
    # The other spelling of a key is the same row.
    anywhere.sync({"groups": [row('"0"', name='"y"'), *listings["groups"][1:]]}, tables)
    anywhere.sync({"software_products": [*listings["software_products"][1:], row('"a"', productName='"y"')]}, tables)


def keyless(key: str | None) -> str:
    return '{"name": "x"}' if key is None else row(key, name='"x"')


@pytest.mark.parametrize("start", range(0, len(NO_INTEGER_KEYS), len(INTEGER_TABLES)))
def test_what_is_no_integer_key_is_said_with_page_and_row(duck: Scene, start: int) -> None:
    keys = dict(zip(INTEGER_TABLES, NO_INTEGER_KEYS[start:], strict=False))
    check_keys(duck, keys)


@pytest.mark.parametrize("key", NO_TEXT_KEYS)
def test_what_is_no_text_key_is_said_with_page_and_row(duck: Scene, key: str | None) -> None:
    check_keys(duck, {"software_products": key})


def check_keys(duck: Scene, keys: dict[str, str | None]) -> None:
    good = {"software_products": '"a"'}
    result = duck.sync({name: [row(good.get(name, 1)), keyless(key)] for name, key in keys.items()}, {})
    message = failure_message(result)
    for name, key in keys.items():
        said = next(line for line in message.splitlines() if f"{name}:" in line)
        assert PATHS[name] in said
        assert "row 2" in said
        shown = parse(key) if key else None
        if key and not isinstance(shown, dict | list) and key != "null" and "\\" not in key:
            assert key.strip('"') in said, said
        assert "the row with id None" not in said


@pytest.mark.parametrize(
    ("resource", "one", "other"),
    [
        ("groups", "1", '"1"'),
        ("groups", "-5", "-5"),
        ("software_products", "12", '"12"'),
        ("software_products", r'"a\u0000"', r'"a\ud83d"'),
        ("software_products", r'"a\u0000"', '"a\ufffd"'),
    ],
)
def test_spellings_of_one_key_on_a_page_are_one_row_twice(duck: Scene, resource: str, one: str, other: str) -> None:
    result = duck.sync({resource: [row(one), row(other, name='"x"')]}, {})
    message = failure_message(result)
    assert "twice" in message
    assert PATHS[resource] in message


def test_spellings_of_one_key_on_two_pages_are_one_row(duck: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCES__ANALYTICS__PAGE_SIZE", "2")
    serve_rows(duck.api, "locations", [row(1), row(2), row(3), row(4), row('"2"'), row(5)])
    duck.project.sync("locations")
    assert sorted(duck.warehouse.table("locations")) == [1, 2, 3, 4, 5]


# Cursors.


def test_a_cursor_that_does_not_fit_blocks_no_other(duck: Scene) -> None:
    moments = ['"soon"', '""', "true", '"2024-05-01T00:00:00Z"', "1714521600", '"9999-12-31T23:59:59-05:00"', "NaN"]
    rows = [row(n, updated=moment, name='"x"') for n, moment in enumerate(moments)]
    tables: dict[str, Table] = {}
    result = duck.sync({"groups": rows}, tables)
    assert metadata(result, "groups")["rows_without_cursor"] == 5
    # Those without are compared: only what is edited is loaded, and so is what is new.
    assert metadata(duck.sync({"groups": rows}, tables), "groups")["rows_without_cursor"] == 5
    rows[0] = row(0, updated='"later"', name='"y"')
    rows.append(row(100, updated='"2024-05-02T00:00:00Z"'))
    assert duck.sync({"groups": rows}, tables).success


def test_a_row_is_not_gone_for_being_old(duck: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCES__ANALYTICS__START_DATE", "1500-01-01T00:00:00Z")
    rows = [row(1, updated='"1500-01-01T00:00:00Z"'), row(2, updated='"2024-05-01T00:00:00Z"'), row(3)]
    tables: dict[str, Table] = {}
    duck.sync({"groups": rows}, tables)
    duck.sync({"groups": rows}, tables, mode="full")


# Bodies.

ROWS = [row(1, name='"caf\u00e9"', description=r'"\ud83d\ude00"')]
TEXT_KEYED = [row('"a"', vendorName='"caf\u00e9"')]


def test_what_pythons_json_reads_is_read(duck: Scene) -> None:
    plain = body_of("groups", ROWS)
    bodies = {
        "organizations": b"\xef\xbb\xbf" + plain,
        "policies": plain.decode().encode("utf-16"),
        "automation_scripts": plain.decode().encode("utf-16-be"),
        "groups": plain.decode().encode("utf-32"),
        "locations": b" \r\n\t" + plain + b"\n\n",
        "roles": plain.replace("\u00e9".encode(), b"\xed\xa0\xbd"),
        "software_products": body_of("software_products", [row('"a"', vendorName="NaN", productName="-Infinity")]),
        "activities": body_of("activities", [row(1, data="[" * 5_000 + "]" * 5_000, message=r'"\udfff"')]),
    }
    for resource, body in bodies.items():
        serve_body(duck.api, resource, Answer(body=body))
    result = duck.project.run(*bodies)
    assert set(materialized(result)) == bodies.keys(), failure_message(result)
    for resource in ("organizations", "policies", "automation_scripts", "groups", "locations"):
        assert duck.warehouse.table(resource) == {1: {"id": 1, "name": "caf\u00e9", "description": "\U0001f600"}}
    # Python reads the three bytes of a lone surrogate as one.
    assert duck.warehouse.table("roles")[1]["name"] == "caf\ufffd"
    rescued = canonical({"vendorName": "NaN", "productName": "-Infinity"})
    assert duck.warehouse.table("software_products") == {"a": {"id": "a", RESCUED: rescued}}
    deep = canonical({"data": "[" * 5_000 + "]" * 5_000})
    assert duck.warehouse.table("activities") == {1: {"id": 1, "message": "\ufffd", RESCUED: deep}}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32-le"])
def test_what_no_warehouse_stores_is_replaced_in_every_encoding(duck: Scene, encoding: str) -> None:
    rows = [row(1, name=r'"\u0000NaN"', tags=r'["\u0000", "\ud83d", "\ud83d\ude00"]', deviceCount=r'"\u00005"')]
    products = [row(r'"\u0000a"', vendorName=r'"\\u0000"')]
    for resource, listed in (("groups", rows), ("software_products", products)):
        body = body_of(resource, listed).decode().encode(encoding)
        serve_body(duck.api, resource, Answer(body=body))
    duck.project.sync("groups", "software_products")
    for resource, listed in (("groups", rows), ("software_products", products)):
        assert not differences(duck.warehouse.table(resource), expect(declared(resource), listed))


NOT_JSON = {
    "organizations": body_of("organizations", ROWS).replace("\u00e9".encode(), b"\xff"),
    "policies": b'{"data": [{"id": 1, "name": "a\tb"}]}',
    "automation_scripts": b'{"data": [{"id": 1, "name": "x"}',
    "groups": b"",
    "locations": b'{"data": [{"id": 1, "name": \'x\'}]}',
    "roles": b"\xef\xbb\xbf\xef\xbb\xbf" + body_of("roles", ROWS),
    "software_products": b'{"data": [{"id": 1,}]} trailing',
    "activities": b'{"activities": [{"id": 01}]}',
}


def test_a_body_that_is_no_json_is_refused_by_the_parsers_words(duck: Scene) -> None:
    for resource, body in NOT_JSON.items():
        serve_body(duck.api, resource, Answer(body=body))
    message = failure_message(duck.project.run(*NOT_JSON))
    for resource, body in NOT_JSON.items():
        said = next(line for line in message.splitlines() if f"{resource}:" in line)
        assert "login page" not in said
        if not body:
            assert "empty" in said
            continue
        with pytest.raises(ValueError, match=r".") as caught:
            json.loads(body)
        where = caught.value.start if isinstance(caught.value, UnicodeDecodeError) else caught.value.pos  # type: ignore[attr-defined]
        [shown] = re.findall(r"(?:byte|char|position) ([0-9]+)\b(?!x)", said.split("It begins")[0])
        # Parsers differ in whether the last character that they took, or the next, is the wrong one.
        assert abs(int(shown) - where) <= 1, said


def test_no_content_is_an_error_by_its_name_and_a_login_page_by_what_it_is(duck: Scene) -> None:
    serve_body(duck.api, "groups", Answer(204, b""))
    serve_body(duck.api, "roles", Answer(200, b"<!DOCTYPE html><html>Sign in</html>", {"Content-Type": "text/html"}))
    lines = failure_message(duck.project.run("groups", "roles")).splitlines()
    groups, roles = (next(line for line in lines if f"{name}:" in line) for name in ("groups", "roles"))
    assert "204 No Content" in groups
    assert "login page" not in groups
    assert "login page" in roles


# What is said.


def test_values_fit_names_columns_counts_and_ids(duck: Scene) -> None:
    rows = [row(n, deviceCount='"many"', name=r'"a\u0000"') for n in range(1, 9)]
    result = duck.sync({"groups": [*rows, row(9, deviceCount="1", shared='"?"')]}, {})
    assert metadata(result, "groups")["values_rescued"] == 9
    [check] = [each for each in result.get_asset_check_evaluations() if each.check_name == "values_fit"]
    assert not check.passed
    assert check.severity == dg.AssetCheckSeverity.WARN
    said = f"{check.description} { {name: value.value for name, value in check.metadata.items()} }"
    for part in ("deviceCount", "shared", "8 rows", "name"):
        assert part in said
    assert "many" not in said
    # The next sync has nothing to load, and the table is as it was.
    [check] = [
        each
        for each in duck.sync(
            {"groups": [*rows, row(9, deviceCount="1", shared='"?"')]}, {}
        ).get_asset_check_evaluations()
        if each.check_name == "values_fit"
    ]
    assert not check.passed


def test_no_more_than_sixty_characters_of_a_value_are_said(duck: Scene) -> None:
    secret = "".join(f"{n:03}" for n in range(100))
    serve_rows(duck.api, "groups", misfits(11, 0, value=f'"{secret}"'))
    serve_rows(duck.api, "roles", [row(f'"{secret}"')])
    message = failure_message(duck.project.run("groups", "roles"))
    assert message.count(secret[:30]) >= 1
    assert secret[:61] not in message
    assert secret[60:70] not in message
