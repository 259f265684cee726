"""Turns rows into Arrow tables, a column at a time.

If all values of a column are of the usual kind for its type, the column is read at once, because that is faster. Else
`cells` reads it value by value, with the same outcome. Undeclared fields travel in the column `OTHERS` until `spread`
gives them columns of their own.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from itertools import groupby
from operator import attrgetter, itemgetter
from typing import Any, TypeAlias

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
from dlt.common.schema.typing import TTableSchemaColumns
from msgspec import Raw

from analytics_assets.api.catalog import RESCUED, Column, Resource
from analytics_assets.api.values.cells import PRECISION, SCALE, UnfitError, read_cell
from analytics_assets.api.values.columns import FIELD, MOST_COLUMNS, choose_column, column_name, key_columns, key_text
from analytics_assets.api.values.tokens import DEEPEST, NULL, UNFIT, Row, canonical, find_nested, is_unfit, rescue
from analytics_assets.api.values.usual import TYPES, UsualRow

Rescued: TypeAlias = defaultdict[int, dict[str, Raw]]
"""Tokens of values that do not fit their column, by position of the row and by field."""

OTHERS = ":others"
"""Column of the undeclared fields of a row, as a JSON object. dlt gives no field this name."""

ARROW_TYPES = {
    "bigint": pa.int64(),
    "bool": pa.bool_(),
    "date": pa.date32(),
    "decimal": pa.decimal128(PRECISION, SCALE),
    "double": pa.float64(),
    "json": pa.string(),
    "text": pa.string(),
    "timestamp": pa.timestamp("us", tz="UTC"),
}
"""Arrow type of each dlt data type, as in dlt's own Parquet writer."""

ENDS_OF_TIME = pa.array(
    [datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)], ARROW_TYPES["timestamp"]
)

FIRST_DAY = date(1, 1, 1)

EXTREME = re.compile(rb"[eE][+-]?[0-9]{3}|[\[,][^,]{200}")
"""Matches every number that fits no column, and few others."""

UNUSUAL_DECIMAL = re.compile(rb'["eE]|[\[,][^,]{40}')
"""Matches texts, which msgspec would read by rules of its own, and numbers of which Arrow may lose digits unnoticed."""

LONG_FRACTION = re.compile(rb"\.[0-9]{7}|[eE]")

ODD = r'"\\u0000|[0-9][eE][+-]?[0-9]{3}|[-+.0-9eE]{200}'
"""Matches every JSON value that holds `UNFIT` or a number that no database stores, and few others."""

_INTEGERS = msgspec.json.Decoder(list[int | None])

_FLOATS = msgspec.json.Decoder(list[float | None])

_DECIMALS = msgspec.json.Decoder(list[Decimal | None])

_BOOLS = msgspec.json.Decoder(list[bool | None])

_TEXTS = msgspec.json.Decoder(list[str | None])

_OBJECT = msgspec.json.Decoder(dict[str, Raw])


def to_table(rows: Sequence[Row], resource: Resource) -> "pa.Table":
    """Returns a table of the rows, with the declared columns as dlt names them, `_rescued_data` and `OTHERS`."""
    parts = [_to_part(list(part), resource) for _, part in groupby(rows, type)] or [_to_part([], resource)]
    return parts[0] if len(parts) == 1 else pa.concat_tables(parts, promote_options="default")


def _to_part(rows: Sequence[Row], resource: Resource) -> "pa.Table":
    """Returns the table of rows that are all usual, or all dicts."""
    are_usual = bool(rows) and isinstance(rows[0], UsualRow)
    values, others = (_usual_values if are_usual else _token_values)(rows, resource)
    rescued: Rescued = defaultdict(dict)
    keys, table = set(resource.key_names), {}
    for column in resource.columns:
        cells = values.get(column.name) or [NULL] * len(rows)
        is_read = column.name in keys or (are_usual and column.type in TYPES)
        array = pa.array(cells, ARROW_TYPES[column.type]) if is_read else _to_array(cells, column, rescued)
        table[column_name(column.name)] = array
    table[RESCUED] = _to_objects(rescued, len(rows))
    table[OTHERS] = pa.array(map(msgspec.json.encode, others), pa.binary()) if others else pa.nulls(len(rows))
    return pa.table(table)


def _usual_values(rows: Sequence[Any], resource: Resource) -> tuple[Mapping[str, Sequence[Any]], list[Row]]:
    return {column.name: list(map(attrgetter(column.name), rows)) for column in resource.columns}, []


def _token_values(rows: Sequence[Row], resource: Resource) -> tuple[Mapping[str, Sequence[Any]], list[Row]]:
    """Returns the values of the declared columns, and the undeclared fields of each row; none if no row has any."""
    declared = {column.name for column in resource.columns}
    if paths := [name for name in declared if "." in name]:
        # A field of the row that is spelled like a path wins.
        rows = [{path: find_nested(row, path) for path in paths} | row for row in rows]
    fields = list(rows[0]) if rows else []
    values: Mapping[str, Sequence[Any]]
    if all(list(row) == fields for row in rows):
        values = dict(zip(fields, zip(*map(dict.values, rows), strict=True), strict=True))
        has_others = not declared.issuperset(fields)
    else:
        values = {name: [row.get(name, NULL) for row in rows] for name in declared}
        has_others = not all(declared.issuperset(row) for row in rows)
    return values, [{name: row[name] for name in row if name not in declared} for row in rows] if has_others else []


def spread(table: "pa.Table", resource: Resource, columns: dict[str, str], typed: Collection[str] = ()) -> "pa.Table":
    """Returns the table with a json column for each undeclared field instead of `OTHERS`.

    Args:
        table: A table that `to_table` has made.
        resource: The resource of the rows.
        columns: The columns of undeclared fields, by field. New fields are added to it, up to `MOST_COLUMNS`; the
            values of further fields go to `_rescued_data`.
        typed: Further names that no undeclared field may have, as `typed_columns` finds them.
    """
    others = table[OTHERS]
    table = table.drop_columns([OTHERS])
    if others.null_count == len(others):
        return table
    taken = {column_name(column.name) for column in resource.table_columns}.union(columns.values(), typed)
    rescued: Rescued = defaultdict(dict)
    for position, token in enumerate(table[RESCUED]):
        if token.is_valid:
            rescued[position] = _OBJECT.decode(token.as_py())
    objects = [_OBJECT.decode(token) if token else {} for token in others.to_pylist()]
    new = {field for each in objects for field, value in each.items() if value != NULL and field not in columns}
    # Sorted, so that names do not depend on the order of the rows. A field that is spelled like its column comes first
    # and gets that name.
    for field in sorted(new, key=lambda field: (column_name(field) != field, field))[: MOST_COLUMNS - len(columns)]:
        columns[field] = choose_column(field, taken)
        taken.add(columns[field])
    found: dict[str, list[Raw]] = {}
    for position, each in enumerate(objects):
        for field, value in each.items():
            if field in columns:
                found.setdefault(field, [NULL] * len(others))[position] = value
            elif value != NULL:
                rescued[position][field] = Raw(rescue(bytes(value)))
    for field, values in found.items():
        named = pa.field(columns[field], pa.string(), metadata={FIELD: field})
        table = table.append_column(named, _to_json(values, field, rescued))
    return table.set_column(table.column_names.index(RESCUED), RESCUED, _to_objects(rescued, len(others)))


def key_texts(table: "pa.Table", key: Sequence[str]) -> "pa.ChunkedArray":
    """Returns the key of each row as text, by which the state knows it; several values as a list in JSON."""
    if len(key) == 1:
        return pc.cast(table[key[0]], pa.string())
    values = zip(*(table[name].to_pylist() for name in key), strict=True)
    return pa.chunked_array([[key_text(each) for each in values]], pa.string())


def undeclared_hints(schema: "pa.Schema") -> TTableSchemaColumns:
    """Returns dlt's hints of the columns that `spread` has made."""
    return {  # dlt keeps hints that begin with x-, but its types do not declare them
        column.name: {"name": column.name, "data_type": "json", "nullable": True, FIELD: _spelling(column)}  # type: ignore[misc]
        for column in schema
        if column.metadata
    }


def _spelling(column: "pa.Field") -> str:
    field: bytes = column.metadata[FIELD.encode()]
    return field.decode()


def misfits(table: "pa.Table", resource: Resource) -> Iterator[tuple[Any, str, Raw]]:
    """Yields the values in `_rescued_data`: the key of the row, the field, and the value as a token."""
    if table[RESCUED].null_count == len(table):
        return
    key = key_columns(resource)
    kept = table.select([*key, RESCUED]).filter(pc.is_valid(table[RESCUED]))
    key_of = itemgetter(*key)
    for row in kept.to_pylist():
        for field, token in _OBJECT.decode(row[RESCUED]).items():
            yield key_of(row), field, token


def _to_array(tokens: Sequence[Any], column: Column, rescued: Rescued) -> "pa.Array":
    if column.type == "json":
        return _to_json(tokens, column.name, rescued)
    listed = b"[%b]" % b",".join(tokens)
    if UNFIT not in listed:
        for read in USUAL[column.type]:
            try:
                return read(listed)
            except (msgspec.DecodeError, pa.ArrowException, OverflowError):
                continue
    cells = []
    for position, token in enumerate(map(bytes, tokens)):
        try:
            cells.append(read_cell(token, column.type))
        except UnfitError:
            cells.append(None)
            rescued[position][column.name] = Raw(rescue(token))
    return pa.array(cells, ARROW_TYPES[column.type])


def _read_doubles(listed: bytes) -> "pa.Array":
    if EXTREME.search(listed):
        raise OverflowError
    # The sum turns -0.0 into 0.0.
    return pc.add(pa.array(_FLOATS.decode(listed), pa.float64()), 0.0)


def _read_decimals(listed: bytes) -> "pa.Array":
    if UNUSUAL_DECIMAL.search(listed):
        raise OverflowError
    return pa.array(_DECIMALS.decode(listed), ARROW_TYPES["decimal"])


def _read_dates(listed: bytes) -> "pa.Array":
    dates = pa.array(_TEXTS.decode(listed), pa.string()).cast(pa.date32())
    # Arrow has a year 0.
    if pc.any(pc.less(dates, FIRST_DAY)).as_py():
        raise OverflowError
    return dates


def _read_timestamps(listed: bytes) -> "pa.Array":
    return _within_time(pa.array(_TEXTS.decode(listed), pa.string()).cast(ARROW_TYPES["timestamp"]))


def _read_timestamps_without_offset(listed: bytes) -> "pa.Array":
    timestamps = pa.array(_TEXTS.decode(listed), pa.string()).cast(pa.timestamp("us"))
    return _within_time(timestamps.cast(ARROW_TYPES["timestamp"]))


def _read_epochs(listed: bytes) -> "pa.Array":
    """Reads epoch seconds up to 2**32 (the year 2106) with at most six decimals: a double keeps these digits.

    Raises:
        OverflowError: A number is larger, or has more digits.
    """
    seconds = pa.array(_FLOATS.decode(listed), pa.float64())
    if LONG_FRACTION.search(listed):
        raise OverflowError
    if pc.any(pc.greater_equal(pc.abs(seconds), 2.0**32)).as_py():
        raise OverflowError
    microseconds = pc.round(pc.multiply(seconds, 1e6))
    return _within_time(microseconds.cast(pa.int64()).cast(ARROW_TYPES["timestamp"]))


def _within_time(timestamps: "pa.Array") -> "pa.Array":
    extremes = pc.min_max(timestamps)
    first, last = ENDS_OF_TIME
    if extremes["min"].is_valid and (extremes["min"].value < first.value or extremes["max"].value > last.value):
        raise OverflowError
    return timestamps


USUAL: dict[str, tuple[Callable[[bytes], "pa.Array"], ...]] = {
    "bigint": (lambda listed: pa.array(_INTEGERS.decode(listed), pa.int64()),),
    "bool": (lambda listed: pa.array(_BOOLS.decode(listed), pa.bool_()),),
    "date": (_read_dates,),
    "decimal": (_read_decimals,),
    "double": (_read_doubles,),
    "text": (lambda listed: pa.array(_TEXTS.decode(listed), pa.string()),),
    "timestamp": (_read_timestamps, _read_epochs, _read_timestamps_without_offset),
}
"""Readers of a whole column, by dlt data type. A reader raises if a value is not of its kind; the next one tries."""


def _to_json(tokens: Sequence[Any], field: str, rescued: Rescued) -> "pa.Array":
    cells = [None if token == NULL else bytes(token) for token in tokens]
    array = pa.array(cells, pa.binary()).cast(pa.string())
    is_odd = pc.or_(pc.match_substring_regex(array, ODD), pc.greater(pc.binary_length(array), 2 * DEEPEST))
    for position in pc.indices_nonzero(is_odd).to_pylist():
        if is_unfit(cell := cells[position]):
            rescued[position][field] = Raw(rescue(cell))
            cells[position] = None
    return pa.array([cell and canonical(cell) for cell in cells], pa.binary()).cast(pa.string())


def _to_objects(found: Rescued, count: int) -> "pa.Array":
    if not found:
        return pa.nulls(count, pa.string())
    tokens = [msgspec.json.encode(found[at]).decode() if found.get(at) else None for at in range(count)]
    return pa.array(tokens, pa.string())
