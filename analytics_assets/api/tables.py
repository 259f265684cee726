"""Pages as Arrow tables of the declared columns: what dlt's normaliser would make of them, without its walk.

dlt looks at every value of every row in Python. Where all columns are declared nothing is to be found out, so that a
page becomes a table, column by column. A page that holds more than the declaration says (an unknown field, a value of
another type) does not: it stays as it is, and dlt's normaliser makes a new column of it, or the contract's error.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from dlt.common.json import json

from analytics_assets.api.catalog import Column, Resource
from analytics_assets.api.instants import CLOCK_SKEW, parse_instant

Row = dict[str, Any]

NOTHING = type(None)

PYTHON_TYPES: dict[str, set[type]] = {
    "bigint": {int, NOTHING},
    "bool": {bool, NOTHING},
    "json": {dict, list, NOTHING},
    "timestamp": {str, int, float, NOTHING},
}
"""What JSON holds for a dlt data type other than text. Arrow alone would cut 1.5 to 1 for an integer column."""

ARROW_TYPES = {
    "bigint": pa.int64(),
    "bool": pa.bool_(),
    "json": pa.string(),
    "text": pa.string(),
    "timestamp": pa.timestamp("us", tz="UTC"),
}
"""By dlt data type, as dlt's own Parquet writer has them."""


def to_table(rows: Sequence[Row], resource: Resource) -> "pa.Table | None":
    """The rows as a table with the API's names for its columns, or `None` if they are not just what is declared.

    A cursor value in the future is left to who looks at rows one by one, too.
    """
    values = _transpose(rows, resource)
    if values is None:
        return None
    try:
        arrays = [_to_array(values[column.name], column) for column in resource.columns]
    except (pa.ArrowException, OverflowError, ValueError):
        return None
    table = pa.Table.from_arrays(arrays, names=[column.name for column in resource.columns])
    newest = pc.max(table[resource.cursor]).as_py() if resource.cursor else None
    return None if newest and newest > datetime.now(UTC) + CLOCK_SKEW else table


def to_values(row: Row, resource: Resource) -> Row:
    """A row with the values that it has in a table, and undeclared fields as they are."""
    values = {**row}
    for column in resource.columns:
        value = row.get(column.name)
        if value is not None and column.type == "json":
            value = json.dumps(value)
        elif value is not None and column.type == "timestamp":
            value = parse_instant(value)
        values[column.name] = value
    return values


def _transpose(rows: Sequence[Row], resource: Resource) -> dict[str, Sequence[Any]] | None:
    declared = {column.name for column in resource.columns}
    fields = list(rows[0])
    if fields and declared.issuperset(fields) and all(list(row) == fields for row in rows):
        found: dict[str, Sequence[Any]] = dict(zip(fields, zip(*map(dict.values, rows), strict=True), strict=True))
        return {name: found.get(name) or (None,) * len(rows) for name in declared}
    if not all(row.keys() <= declared for row in rows):
        return None
    return {name: [row.get(name) for row in rows] for name in declared}


def _to_array(values: Sequence[Any], column: Column) -> "pa.Array":
    if column.type == "text":
        # Arrow takes nothing else for text, and looks at it faster than Python.
        texts = pa.array(values, pa.string())
        if texts.null_count and not column.nullable:
            raise ValueError
        return texts
    types = set(map(type, values))
    if not types <= PYTHON_TYPES[column.type] or (NOTHING in types and not column.nullable):
        raise ValueError
    if types == {NOTHING}:
        return pa.nulls(len(values), ARROW_TYPES[column.type])
    if column.type == "json":
        values = [None if value is None else json.dumps(value) for value in values]
    elif column.type == "timestamp":
        if types <= {str, NOTHING}:
            try:
                return pa.array(values, pa.string()).cast(ARROW_TYPES["timestamp"])
            except pa.ArrowInvalid:
                # No offset, say, or more digits than microseconds have.
                pass
        values = [None if value is None else parse_instant(value) for value in values]
    return pa.array(values, ARROW_TYPES[column.type])
