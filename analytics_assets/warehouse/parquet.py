"""Tables to one Parquet file a sync, which dlt imports into its load package as it is."""

import base64
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dlt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from dlt.common.schema.typing import TColumnSchema
from dlt.extract.hints import TResourceHints
from dlt.extract.source import DltSource

from analytics_assets.api.catalog import PRIMARY_KEY, Resource
from analytics_assets.api.source import column_name
from analytics_assets.api.tables import ARROW_TYPES

LOAD_ID = "_dlt_load_id"
ROW_ID = "_dlt_id"

DEDUPLICATED = "x-stage-data-deduplicated"
"""dlt's hint of a table that the rows to merge hold no key twice. It merges them without the window over whole rows in
which it would look for one: 200 rows of 1 MB do not fit into it with 400 MB."""

AT_THE_END = 1_000

ROW_GROUP = 4_000
"""Rows, about: larger groups load a little faster, and cost memory until they are written."""

ROW_GROUP_BYTES = 8_000_000
"""Where rows are large, a group ends here, or with a single row: DuckDB has a whole one in memory, twice and thrice."""


def write_parquet(
    source: DltSource, resource: Resource, directory: str, *, once: bool = False, may_append: bool = False
) -> None:
    """Adds the step that writes the tables of a resource to a file in a directory, after all others.

    Args:
        source: Has the resource.
        resource: Whose tables to write.
        directory: Where to.
        once: Whether dlt need not look for ids that are there twice if the file has none, as `loads_once` has it.
        may_append: Whether dlt may then append the file instead of merging it, as `appends` has it.
    """
    built = source.resources[resource.name]
    built.apply_hints(
        columns={
            LOAD_ID: {"name": LOAD_ID, "data_type": "text", "nullable": False},
            ROW_ID: {"name": ROW_ID, "data_type": "text", "nullable": False, "unique": True, "row_key": True},
        },
        # dlt keeps it from the load before where nothing else is said.
        additional_table_hints={DEDUPLICATED: False},
    )
    # Beyond the last, which is dlt's incremental: without an index the step would come before it.
    built.add_step(ParquetStep(resource, directory, once=once, may_append=may_append), insert_at=AT_THE_END)


class ParquetStep:
    """Last step of a resource: collects its tables in a file, and hands the file to dlt when the empty page comes.

    Whether it holds all rows of the listing and no id twice is found out with `once`. If so, with `may_append`, it is
    appended, and otherwise merged.
    """

    def __init__(self, resource: Resource, directory: str, *, once: bool, may_append: bool) -> None:
        self._directory = directory
        self._once = once
        self._may_append = may_append
        self._cursor = resource.cursor
        self._columns = resource.table_columns
        fields = [
            pa.field(column_name(column.name), ARROW_TYPES[column.type], nullable=column.nullable)
            for column in self._columns
        ]
        own = [pa.field(name, pa.string(), nullable=False) for name in (LOAD_ID, ROW_ID)]
        self._schema = pa.schema([*fields, *own])
        self._path: Path | None = None
        self._writer: pq.ParquetWriter | None = None
        self._pending: list[pa.Table] = []
        self._rows = 0
        self._keys: list[pa.Array] = []

    def __call__(self, page: "pa.Table | list[Any]", _meta: object = None) -> list[Any] | Iterator[Any] | None:
        """What dlt has to do with a page: nothing, normalise its rows, or import the file."""
        if not isinstance(page, pa.Table):
            if page:
                # dlt's normaliser writes these rows to a file of their own.
                self._once = False
            return self._finish() if not page and self._writer else page
        if self._writer is None:
            self._path = Path(self._directory, f"{os.urandom(8).hex()}.parquet")
            # Read once and thrown away: what makes a file small or quick to search costs more than it gives.
            self._writer = pq.ParquetWriter(
                self._path, self._schema, compression="lz4", use_dictionary=False, write_statistics=False
            )
        self._pending.append(self._complete(page))
        self._rows += page.num_rows
        if self._once:
            self._keys += page[PRIMARY_KEY].chunks
        rows = sum(table.num_rows for table in self._pending)
        if rows >= ROW_GROUP or sum(table.nbytes for table in self._pending) >= ROW_GROUP_BYTES:
            self._write()
        return None

    def _write(self) -> None:
        assert self._writer  # noqa: S101 - nothing is pending before there is one
        if self._pending:
            for group in _groups(pa.concat_tables(self._pending)):
                self._writer.write_table(group)
            self._pending = []

    def _finish(self) -> Iterator[Any]:
        assert self._writer  # noqa: S101 - the caller has looked
        assert self._path  # noqa: S101 - set with it
        self._write()
        self._writer.close()
        self._writer = None
        hints: TResourceHints = {}
        if self._once and pc.count_distinct(pa.chunked_array(self._keys)).as_py() == self._rows:
            # dlt warns of a sort order where it does not look for keys.
            columns: dict[str, TColumnSchema] | None = {self._cursor: {"dedup_sort": None}} if self._cursor else None
            hints = dlt.mark.make_hints(
                write_disposition="append" if self._may_append else "merge",
                columns=columns,
                additional_table_hints={DEDUPLICATED: True},
            )
        yield dlt.mark.with_file_import(str(self._path), "parquet", items_count=self._rows, hints=hints)
        # dlt has made a link to it, or a copy.
        self._path.unlink()
        # Arrow would keep what the tables took, some 40 MB for 100,000 rows, while DuckDB needs memory to merge.
        pa.default_memory_pool().release_unused()

    def _complete(self, page: pa.Table) -> pa.Table:
        """The page with the table's other columns: the mark of deleted rows, and dlt's own two."""
        count = page.num_rows
        arrays = [
            page[column.name] if column.name in page.column_names else pa.nulls(count, ARROW_TYPES[column.type])
            for column in self._columns
        ]
        load_id = dlt.current.load_package_state()["load_id"]
        arrays += [pa.repeat(load_id, count), pa.array(_row_ids(count), pa.string())]
        return pa.Table.from_arrays(arrays, schema=self._schema)


def _groups(table: pa.Table) -> Iterator[pa.Table]:
    """The table in parts that are no larger than a row group may be, or single rows."""
    if table.num_rows == 1 or table.nbytes <= ROW_GROUP_BYTES:
        yield table
    else:
        half = table.num_rows // 2
        yield from _groups(table.slice(0, half))
        yield from _groups(table.slice(half))


def _row_ids(count: int) -> list[str]:
    """Random ids, as dlt gives each row one."""
    text = base64.urlsafe_b64encode(os.urandom(12 * count)).decode()
    return [text[start : start + 16] for start in range(0, 16 * count, 16)]
