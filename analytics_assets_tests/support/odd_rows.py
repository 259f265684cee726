"""Rows at random as JSON text: values that fit and values that do not, fields that nobody has declared, odd names."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime

from hypothesis import strategies as st

from analytics_assets_tests.support.eight import BY_NAME
from analytics_assets_tests.support.oracle import Misfit, parse, read_cell, read_key
from analytics_assets_tests.support.wire import START, declared

GENERATED = ("organizations", "groups", "activities", "software_products")
"""Resources with and without a cursor, with integers and with text as keys, and all types."""


class Listings(dict[str, list[str]]):
    """Rows by resource."""

    def __repr__(self) -> str:
        return f"{sum(map(len, self.values()))} rows"


NUMBERS = [
    *("0", "-0", "1", "1.0", "2", "5.5", "1e3", "1E-2", "1.10", "-1.50e+2", "0.1", "1e16", "-1.5"),
    *("9007199254740993", "9223372036854775807", "9223372036854775808", "-9223372036854775808", "-9223372036854775809"),
    *("9223372036854775807.0", "18446744073709551616", "1e308", "1e309", "1e400", "1e-400", "NaN", "Infinity"),
    *("-Infinity", "9" * 300, "9" * 301, "0." + "3" * 298, "0." + "3" * 299, "123456789012345678901234567890.5"),
    *(
        "1714521600",
        "1714521600.123457",
        "1714521600123",
        "99999999999.9999999",
        "1e11",
        "-62135596800",
        "253402300800",
    ),
]
TEXTS = [
    *(
        "",
        " ",
        "\t",
        "\u00a0",
        "\u3000",
        "0",
        "1",
        "-5",
        "007",
        "-0",
        "+1",
        " 3 ",
        "1_0",
        "0x1F",
        "\u0663",
        "1.0",
        "1e3",
    ),
    *(
        "true",
        "FALSE",
        "True ",
        "yes",
        "null",
        "NaN",
        "Infinity",
        "n/a",
        "5,5",
        "many",
        "\\N",
        "{}",
        "[1]",
        '"',
        "\\u0000",
    ),
    *("9223372036854775807", "9223372036854775808", "1" * 400, "0" * 30 + "1", "20240101", "20241301", "1714521600"),
    *("-1714521600.5", "1714521600123", "10:00", "P1D", "2024-05-01T00:00:00Z", "2024-02-30", "2024-05-01T25:00:00Z"),
    *("0001-01-01T00:00:00+02:00", "9999-12-31T23:59:59-05:00", "0000-01-01T00:00:00Z", "9999-12-31T24:00:00Z"),
]
RAW = ["null", "true", "false", '"\\ud83d"', '"\\ude00\\ud83d"', '"a\\u0000b"', '"\\ud83d\\ude00"']
LETTERS = "\0\t\x1f \u00a0\ud83d\ude00'\"\\`;%{}$A1-\u00e9\u65e5\u202e\ufeff\u2028"

UNDECLARED = [
    *("ID", "Id", "Name", "NAME", "name ", "user_data", "UserData", "device_count", "deviceCOUNT", "activity_time"),
    *(
        "Updated",
        "deletedAt",
        "deleted_at",
        "_rescued_data",
        "_rescuedData",
        "_dlt_id",
        "_dltId",
        "_dlt_load_id",
        "cmax",
    ),
    *("xmin", "ctid", "oid", "tableoid", "rowid", "rowId", "ROWID", "_rowid_", "select", "order", "group", "true"),
    *("d", "s", "D", "child", "parent"),
    *(
        "brandNew",
        "brand_new",
        "BrandNew",
        "brand__new",
        "brand-new",
        "brand.new",
        "x",
        "X",
        "x\0",
        "x\ud83d",
        "x\ufffd",
    ),
    *(
        "\u65e5\u672c",
        "\u540d\u524d",
        "\u00e9",
        "e\u0301",
        "\u00df",
        "\u0130",
        "\U0001f600",
        "\0",
        "x\ny",
        "1st",
        "$ref",
    ),
    *("", " ", "_", "__", "___", "a.b", "a__b", "a[0]", 'a"b', "a'b", "a`b", "%s", "{x}", ":x", "--", "constructor"),
    *(
        "a" * 300,
        "a" * 300 + "b",
        "B" * 63,
        "b" * 64,
        "value",
        "false",
        "null",
        "user",
        "excluded",
        "current_date",
        "all",
        "id_",
    ),
]

letters = st.characters(exclude_categories=()) | st.sampled_from(LETTERS)
texts = st.builds(
    lambda text, ascii_: json.dumps(text, ensure_ascii=ascii_), st.text(letters, max_size=8), st.booleans()
)
numbers = st.builds(
    lambda sign, whole, fraction, exponent: f"{sign}{whole}{fraction}{exponent}",
    st.sampled_from(["", "-"]),
    st.integers(0, 2**70),
    st.sampled_from(["", "", ".0", ".5", ".10", ".123456789"]),
    st.sampled_from(["", "", "e1", "E+2", "e-3"]),
)
scalars = st.sampled_from(RAW) | st.sampled_from(NUMBERS) | st.sampled_from(TEXTS).map(json.dumps) | numbers | texts


def as_object(pairs: Sequence[tuple[str, str]]) -> str:
    return "{" + ", ".join(f"{name}: {value}" for name, value in pairs) + "}"


def as_list(values: Sequence[str]) -> str:
    return f"[{', '.join(values)}]"


nested = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3).map(as_list) | st.lists(st.tuples(texts, inner), max_size=3).map(as_object)
    ),
    max_leaves=5,
)
deep = st.sampled_from([499, 500, 501, 520]).map(lambda depth: "[" * depth + "]" * depth)
anything = scalars | nested | deep


def as_moment(moment: datetime, offset: int, form: int) -> str:
    """A spelling of a point in time."""
    zone = f"{'-' if offset < 0 else '+'}{abs(offset) // 60:02}:{abs(offset) % 60:02}" if offset else "Z"
    day, time = f"{moment.year:04}-{moment:%m-%d}", f"{moment:%H:%M:%S}"
    seconds = int(moment.timestamp())
    spellings = [
        f"{day}T{time}{zone}",
        f"{day}T{time}.{moment.microsecond:06}{moment.second:02}9{zone}",
        f"{day}T{time}Z".replace("-", "").replace(":", ""),
        f"{day}t{moment:%H:%M}z",
        f"{day} {time},5",
        f"{day}T24:00:00{zone}",
        f"{day}T{moment:%H:%M}:60{zone}",
        day,
        day.replace("-", ""),
        str(seconds),
    ]
    return [*map(json.dumps, spellings), f"{seconds}.{moment.microsecond:06}", str(seconds * 1000)][form]


moments = st.builds(
    as_moment,
    st.datetimes(timezones=st.just(UTC))
    | st.sampled_from(["0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "1969-12-31T23:59:59.5Z"]).map(
        datetime.fromisoformat
    ),
    st.sampled_from([0, 0, 330, -300, 840, -720]),
    st.integers(0, 11),
)
VALUES: dict[str, st.SearchStrategy[str]] = {
    "bigint": st.integers(-(2**63), 2**63 - 1).map(str) | st.integers().map(lambda number: f'"{number}"') | numbers,
    "bool": st.sampled_from(["true", "false", "0", "1", "0.0", '"true"', '"FALSE"', '"tRuE"']),
    "text": texts | numbers | st.sampled_from(TEXTS).map(json.dumps),
    "timestamp": moments,
    "json": nested | deep,
}

integer_keys = st.integers(-50, 50).flatmap(lambda key: st.sampled_from([str(key), f'"{key}"']))
text_keys = (
    texts | st.integers(0, 2**70).map(str) | st.sampled_from(["a", "A", "a ", " a", "null", "1.0"]).map(json.dumps)
)


@st.composite
def rows_of(draw: st.DrawFn, resource: str, keys: Sequence[str]) -> list[str]:
    """Rows with these keys."""
    columns = {field: type_ for field, type_ in declared(resource).items() if field != "id"}

    def value_of(field: str) -> str:
        value: str = draw(VALUES[columns[field]] if draw(st.integers(0, 3)) else anything)
        return "null" if is_before_start(resource, field, value) else value

    rows = []
    for key in keys:
        fields = draw(st.lists(st.sampled_from(sorted(columns)), max_size=8))
        others = draw(st.lists(st.sampled_from(UNDECLARED) | st.text(letters, max_size=5), max_size=3))
        pairs = [('"id"', key), *((json.dumps(field), value_of(field)) for field in fields)]
        pairs += [(json.dumps(field), draw(anything)) for field in others if field not in {"id", *columns}]
        rows.append(as_object(pairs))
    return rows


def is_before_start(resource: str, field: str, value: str) -> bool:
    """Whether a row with this value is not read, as its cursor is before the start date."""
    if field != BY_NAME[resource].cursor or value == "null":
        return False
    try:
        cell = read_cell("timestamp", parse(value))
    except Misfit:
        return False
    return cell is not None and bool(cell < datetime.fromisoformat(START))


@st.composite
def keys_of(draw: st.DrawFn, resource: str) -> list[str]:
    """Keys of which no two are the same."""
    type_ = declared(resource)["id"]
    keys = (integer_keys if type_ == "bigint" else text_keys).filter(lambda key: parse(key) != "")
    found = st.lists(keys, min_size=1, max_size=8, unique_by=lambda key: read_key(type_, {"id": parse(key)}))
    return draw(found)


@st.composite
def histories(draw: st.DrawFn) -> list[Listings]:
    """Listings of some resources: perhaps of one row alone, then of all, then of the same with some edited."""
    first, then = Listings(), Listings()
    for resource in GENERATED:
        keys = draw(keys_of(resource))
        first[resource] = draw(rows_of(resource, keys))
        edited = draw(rows_of(resource, keys))
        then[resource] = [draw(st.sampled_from(pair)) for pair in zip(first[resource], edited, strict=True)]
    alone = Listings({resource: rows[:1] for resource, rows in first.items()})
    return [*([alone] if draw(st.booleans()) else []), first, then]
