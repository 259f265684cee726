"""Tables to Parquet files, which dlt imports into its load package as they are."""

import base64
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dlt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from dlt.common.schema.utils import has_table_seen_data
from dlt.extract.source import DltSource

from analytics_assets.api.catalog import PRIMARY_KEY, Resource
from analytics_assets.api.incremental import is_end
from analytics_assets.api.source import Position
from analytics_assets.api.values.arrow import ARROW_TYPES, undeclared_hints
from analytics_assets.api.values.columns import column_name

LOAD_ID = "_dlt_load_id"
ROW_ID = "_dlt_id"

DEDUPLICATED = "x-stage-data-deduplicated"
"""dlt's hint of a table that the rows to merge hold no key twice. It merges them without the window over whole rows in
which it would look for one: 200 rows of 1 MB do not fit into it with 400 MB."""

ROW_GROUP = 4_000
"""Rows, about: larger groups load a little faster, and cost memory until they are written."""

ROW_GROUP_BYTES = 8_000_000
"""Where rows are large, a group ends here, or with a single row: DuckDB has a whole one in memory, twice and thrice."""


def write_parquet(
    source: DltSource, resource: Resource, directory: str, *, once: bool = False, may_append: bool = False
) -> None:
    """Adds the step that writes the tables of a resource to files in a directory, after all others.

    Args:
        source: Has the resource.
        resource: Whose tables to write.
        directory: Where to.
        once: Whether dlt need not look for ids that are there twice if the files have none, as `loads_once` has it.
        may_append: Whether dlt may then append a file instead of merging it, as `appends` has it.
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
    built.add_step(ParquetStep(resource, directory, once=once, may_append=may_append), insert_at=Position.WRITER)


class ParquetStep:
    """Last step of a resource: collects its tables in files, and hands these to dlt at the end of the listing.

    There is one file, unless a column comes that none of the rows before had. With `once`, it is found out whether no
    id is there twice. If so, and with `may_append`, a single file is appended.
    """

    def __init__(self, resource: Resource, directory: str, *, once: bool, may_append: bool) -> None:
        self._name = resource.name
        self._directory = directory
        self._once = once
        self._may_append = may_append
        self._cursor = column_name(resource.cursor) if resource.cursor else None
        self._declared = {column_name(column.name): ARROW_TYPES[column.type] for column in resource.table_columns}
        self._key_type = ARROW_TYPES[resource.key_type]
        self._undeclared: dict[str, pa.Field] = {}
        self._files: list[tuple[Path, int]] = []
        self._writer: pq.ParquetWriter | None = None
        self._pending: list[pa.Table] = []
        self._keys: list[pa.Array] = []

    def __call__(self, table: pa.Table, _meta: object = None) -> Iterator[Any] | None:
        """What dlt has to do: nothing as long as tables come, and to import the files in the end."""
        if is_end(table):
            return self._finish()
        new = {column.name: column for column in table.schema if column.metadata}
        if not self._undeclared.keys() >= new.keys():
            self._close()
            self._undeclared |= new
        self._pending.append(self._complete(table))
        if self._once:
            self._keys += table[PRIMARY_KEY].chunks
        rows = sum(table.num_rows for table in self._pending)
        if rows >= ROW_GROUP or sum(table.nbytes for table in self._pending) >= ROW_GROUP_BYTES:
            self._write()
        return None

    def _write(self) -> None:
        if not self._pending:
            return
        table = pa.concat_tables(self._pending)
        self._pending = []
        if self._writer is None:
            path = Path(self._directory, f"{os.urandom(8).hex()}.parquet")
            self._files.append((path, 0))
            # Read once and thrown away: what makes a file small or quick to search costs more than it gives.
            self._writer = pq.ParquetWriter(
                path, table.schema, compression="lz4", use_dictionary=False, write_statistics=False
            )
        for group in _groups(table):
            self._writer.write_table(group)
        path, rows = self._files[-1]
        self._files[-1] = path, rows + table.num_rows

    def _close(self) -> None:
        self._write()
        if self._writer:
            self._writer.close()
            self._writer = None

    def _finish(self) -> Iterator[Any]:
        self._close()
        if not self._files and not has_table_seen_data(dlt.current.source_schema().tables.get(self._name, {})):
            # An endpoint without any row has a table, too.
            yield dlt.mark.materialize_table_schema()
        columns = undeclared_hints(pa.schema(self._undeclared.values()))
        keys = pa.chunked_array(self._keys, self._key_type)
        once = self._once and pc.count_distinct(keys).as_py() == len(keys)
        if once and self._cursor:
            # dlt warns of a sort order where it does not look for keys.
            columns[self._cursor] = {"dedup_sort": None}
        hints = dlt.mark.make_hints(
            # Several files would be appended in several transactions.
            write_disposition="append" if once and self._may_append and len(self._files) == 1 else "merge",
            # Without columns those that there are stay; with empty ones they do not.
            columns=columns or None,
            additional_table_hints={DEDUPLICATED: once},
        )
        for path, rows in self._files:
            yield dlt.mark.with_file_import(str(path), "parquet", items_count=rows, hints=hints)
            # dlt has made a link to it, or a copy.
            path.unlink()
        # Arrow would keep what the tables took, some 40 MB for 100,000 rows, while DuckDB needs memory to merge.
        pa.default_memory_pool().release_unused()

    def _complete(self, table: pa.Table) -> pa.Table:
        """The table with the columns that it lacks: of other rows, the mark of deleted ones, and dlt's own two."""
        count = table.num_rows
        load_id = dlt.current.load_package_state()["load_id"]
        there = set(table.column_names)
        columns = {
            name: table[name] if name in there else pa.nulls(count, type_) for name, type_ in self._declared.items()
        }
        columns |= {name: table[name] if name in there else pa.nulls(count, pa.string()) for name in self._undeclared}
        fields = [pa.field(name, column.type, nullable=name != PRIMARY_KEY) for name, column in columns.items()]
        own = [pa.field(name, pa.string(), nullable=False) for name in (LOAD_ID, ROW_ID)]
        arrays = [*columns.values(), pa.repeat(load_id, count), pa.array(_row_ids(count), pa.string())]
        return pa.Table.from_arrays(arrays, schema=pa.schema([*fields, *own]))


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
