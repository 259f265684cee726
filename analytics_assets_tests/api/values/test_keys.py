"""Which values are keys, and what is said of those that are none."""

import pytest

from analytics_assets_tests.servers.fake_api import PATHS
from analytics_assets_tests.support.oracle import parse
from analytics_assets_tests.support.project import failure_message
from analytics_assets_tests.support.wire import (
    Scene,
    Table,
    row,
    serve_rows,
)

INTEGER_TABLES = ["organizations", "policies", "activities", "automation_scripts", "groups", "locations", "roles"]


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


def test_rows_have_the_same_key_however_it_is_spelled(anywhere: Scene) -> None:
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
def test_a_wrong_integer_key_is_an_error_with_page_and_row(duck: Scene, start: int) -> None:
    keys = dict(zip(INTEGER_TABLES, NO_INTEGER_KEYS[start:], strict=False))
    check_keys(duck, keys)


@pytest.mark.parametrize("key", NO_TEXT_KEYS)
def test_a_wrong_text_key_is_an_error_with_page_and_row(duck: Scene, key: str | None) -> None:
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
