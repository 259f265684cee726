"""Rows to Parquet: what dlt's normaliser would make of the declared columns, written once and loaded as it is.

dlt walks through every value of every row in Python. Where all columns are declared nothing is to be found out, so that
a page can become an Arrow table, and a file that dlt imports into its load package without reading it. dlt keeps the
schema, the contract, the state and the merge. A page that holds more than the declaration says (an unknown field, a
value of another type) goes through dlt's normaliser instead, which makes a new column or raises the contract's error.
"""

import base64
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dlt
import pyarrow as pa
import pyarrow.parquet as pq
from dlt.common.json import json
from dlt.extract.source import DltSource

from analytics_assets.api.catalog import Resource
from analytics_assets.api.source import column_name

Row = dict[str, Any]

ARROW_TYPES = {
    "bigint": pa.int64(),
    "bool": pa.bool_(),
    "json": pa.string(),
    "text": pa.string(),
    "timestamp": pa.timestamp("us", tz="UTC"),
}
"""By dlt data type, as dlt's own Parquet writer has them."""

AT_THE_END = 1_000

LOAD_ID = "_dlt_load_id"
ROW_ID = "_dlt_id"


def write_parquet(source: DltSource, resource: Resource) -> None:
    """Adds the step that writes a resource's rows to Parquet, after all others."""
    built = source.resources[resource.name]
    built.apply_hints(
        columns={
            LOAD_ID: {"name": LOAD_ID, "data_type": "text", "nullable": False},
            ROW_ID: {"name": ROW_ID, "data_type": "text", "nullable": False, "unique": True, "row_key": True},
        }
    )
    # Beyond the last, which is dlt's incremental: without an index the step would come before it.
    built.add_step(ParquetStep(resource), insert_at=AT_THE_END)


class ParquetStep:
    """Last step of a resource: collects its pages in a file, and hands the file to dlt when the empty page comes."""

    def __init__(self, resource: Resource) -> None:
        self._columns = resource.table_columns
        self._names = {column.name for column in self._columns}
        fields = [
            pa.field(column_name(column.name), ARROW_TYPES[column.type], nullable=column.nullable)
            for column in self._columns
        ]
        own = [pa.field(name, pa.string(), nullable=False) for name in (LOAD_ID, ROW_ID)]
        self._schema = pa.schema([*fields, *own])
        self._path: Path | None = None
        self._writer: pq.ParquetWriter | None = None
        self._rows = 0

    def __call__(self, page: list[Row], _meta: object = None) -> list[Row] | Iterator[Any] | None:
        """What dlt has to do with a page: nothing, normalise it, or import the file."""
        if not page:
            return self._finish() if self._writer else page
        table = self._to_table(page)
        if table is None:
            return page
        if self._writer is None:
            self._path = Path(dlt.current.pipeline().working_dir, f"{os.urandom(8).hex()}.parquet")
            self._writer = pq.ParquetWriter(self._path, self._schema)
        self._writer.write_table(table)
        self._rows += len(page)
        return None

    def _finish(self) -> Iterator[Any]:
        assert self._writer  # noqa: S101 - the caller has looked
        assert self._path  # noqa: S101 - set with it
        self._writer.close()
        self._writer = None
        yield dlt.mark.with_file_import(str(self._path), "parquet", items_count=self._rows, hints={})
        # dlt has made a link to it, or a copy.
        self._path.unlink()

    def _to_table(self, page: list[Row]) -> "pa.Table | None":
        names = self._names
        if not all(row.keys() <= names for row in page):
            return None
        try:
            arrays = [
                _array([row.get(column.name) for row in page], column.type, nullable=column.nullable)
                for column in self._columns
            ]
        except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError, _UndeclaredValueError):
            return None
        arrays += [pa.repeat(dlt.current.load_package_state()["load_id"], len(page)), pa.array(_row_ids(len(page)))]
        return pa.Table.from_arrays(arrays, schema=self._schema)


class _UndeclaredValueError(ValueError):
    """A value of another kind than its column; Arrow would take it, or not see it."""


def _array(values: list[Any], type_: str, *, nullable: bool) -> "pa.Array":
    if type_ == "json":
        if not all(value is None or type(value) is dict or type(value) is list for value in values):
            raise _UndeclaredValueError
        values = [value if value is None else json.dumps(value) for value in values]
    array = pa.array(values, ARROW_TYPES[type_])
    if array.null_count and not nullable:
        raise _UndeclaredValueError
    return array


def _row_ids(count: int) -> list[str]:
    """Random ids, as dlt gives each row one."""
    text = base64.urlsafe_b64encode(os.urandom(12 * count)).decode()
    return [text[start : start + 16] for start in range(0, 16 * count, 16)]
