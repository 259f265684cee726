"""Writes Arrow tables to Parquet files, which dlt imports into its load package unchanged."""

import base64
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dlt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from dlt.common.schema.utils import has_table_seen_data
from dlt.extract.source import DltSource

from analytics_assets.api.incremental import is_end
from analytics_assets.api.listing import Listing
from analytics_assets.api.source import Position
from analytics_assets.api.values.arrow import ARROW_TYPES, undeclared_hints
from analytics_assets.api.values.columns import column_name, key_columns

LOAD_ID = "_dlt_load_id"
ROW_ID = "_dlt_id"

DEDUPLICATED = "x-stage-data-deduplicated"
"""dlt's table hint that no key is twice among the rows to merge. dlt then skips its search for repeated keys, a window
over whole rows: 200 rows of 1 MB do not fit into it with 400 MB of memory."""

ROW_GROUP = 4_000
"""Rows after which a row group is written, about. Larger groups load a little faster and take more memory."""

ROW_GROUP_BYTES = 8_000_000
"""Most bytes of a row group, unless one row is larger. DuckDB holds a whole group in memory two or three times."""

Once = Callable[[int], bool]
"""Whether each of so many files of a load is loaded just once, as `loads_once` says."""

MayAppend = Callable[[pa.Table], bool]
"""Whether rows may be appended to a table instead of merged, given their keys, of which none is there twice."""


def write_parquet(
    source: DltSource,
    listing: Listing,
    directory: str,
    *,
    once: Once = lambda _: False,
    may_append: MayAppend | None = None,
) -> None:
    """Appends a `ParquetStep` to the steps of a resource.

    Args:
        source: Has the resource.
        listing: Whose tables to write. It is cut when a load is large enough.
        directory: Where to write the files.
        once: Whether files are loaded just once. If so, and no key is in the files twice, dlt need not look for
            repeated keys.
        may_append: Tells, given all keys, whether such a file may be appended instead of merged; by default none may.
    """
    resource = listing.resource
    built = source.resources[resource.name]
    built.apply_hints(
        columns={
            LOAD_ID: {"name": LOAD_ID, "data_type": "text", "nullable": False},
            ROW_ID: {"name": ROW_ID, "data_type": "text", "nullable": False, "unique": True, "row_key": True},
        },
        # dlt would keep the hint of the previous load.
        additional_table_hints={DEDUPLICATED: False},
    )
    built.add_step(ParquetStep(listing, directory, once=once, may_append=may_append), insert_at=Position.WRITER)


class ParquetStep:
    """The last step of a resource: collects its tables in files, and hands the files to dlt at the end of the listing.

    A table with a new column begins another file, because all row groups of a file have the same columns. With `once`
    the step counts distinct keys: if no key is there twice, and `may_append` agrees, a single file is appended to the
    table. Every other file is merged.
    """

    def __init__(self, listing: Listing, directory: str, *, once: Once, may_append: MayAppend | None) -> None:
        resource = listing.resource
        self._name = resource.name
        self._directory = directory
        self._listing = listing
        self._rows = self._bytes = 0
        self._once, self._counts_keys = once, once(1)
        self._may_append = may_append
        self._cursor = column_name(resource.cursor) if resource.cursor else None
        self._declared = {column_name(column.name): ARROW_TYPES[column.type] for column in resource.table_columns}
        self._key = key_columns(resource)
        self._undeclared: dict[str, pa.Field] = {}
        self._files: list[tuple[Path, int]] = []
        self._writer: pq.ParquetWriter | None = None
        self._pending: list[pa.Table] = []
        self._pending_rows = self._pending_bytes = 0
        self._keys: list[pa.Table] = []

    def __call__(self, table: pa.Table, _meta: object = None) -> Iterator[Any] | None:
        """Takes one table and returns `None`; for the empty table at the end, returns what dlt has to import."""
        if is_end(table):
            return self._finish()
        new = {column.name: column for column in table.schema if column.metadata}
        if not self._undeclared.keys() >= new.keys():
            self._close()
            self._undeclared |= new
        complete = self._complete(table)
        self._pending.append(complete)
        self._pending_rows += complete.num_rows
        self._pending_bytes += complete.nbytes
        if self._counts_keys:
            self._keys.append(table.select(self._key))
        self._rows += table.num_rows
        self._bytes += table.nbytes
        self._listing.load_has(self._rows, self._bytes)
        if self._pending_rows >= ROW_GROUP or self._pending_bytes >= ROW_GROUP_BYTES:
            self._write()
        return None

    def _write(self) -> None:
        if not self._pending:
            return
        table = pa.concat_tables(self._pending)
        self._pending, self._pending_rows, self._pending_bytes = [], 0, 0
        if self._writer is None:
            path = Path(self._directory, f"{os.urandom(8).hex()}.parquet")
            self._files.append((path, 0))
            # The file is read once and deleted: a dictionary or statistics cost more time than they save.
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
            # A resource without any row gets a table, too.
            yield dlt.mark.materialize_table_schema()
        columns = undeclared_hints(pa.schema(self._undeclared.values()))
        keys = pa.concat_tables(self._keys) if self._keys else None
        once = self._once(len(self._files)) and (keys is None or _are_distinct(keys))
        # dlt appends each file in a transaction of its own: of several files, a crash could leave some.
        append = once and self._may_append and len(self._files) == 1 and keys and self._may_append(keys)
        self._keys, keys = [], None
        if once and self._cursor:
            # dlt warns if a table without a search for repeated keys has an order in which to search.
            columns[self._cursor] = {"dedup_sort": None}
        hints = dlt.mark.make_hints(
            write_disposition="append" if append else "merge",
            # `None` keeps the columns of the schema, an empty dict would delete them.
            columns=columns or None,
            additional_table_hints={DEDUPLICATED: once},
        )
        for path, rows in self._files:
            yield dlt.mark.with_file_import(str(path), "parquet", items_count=rows, hints=hints)
            # By now dlt has its own link to the file, or a copy.
            path.unlink()
        # Arrow would keep the memory of the tables, 40 MB for 100,000 rows, while DuckDB needs it to merge.
        pa.default_memory_pool().release_unused()

    def _complete(self, table: pa.Table) -> pa.Table:
        """The table with all columns of the file: declared ones, the undeclared ones so far, and dlt's own two."""
        count = table.num_rows
        load_id = dlt.current.load_package_state()["load_id"]
        present = set(table.column_names)
        columns = {
            name: table[name] if name in present else pa.nulls(count, type_) for name, type_ in self._declared.items()
        }
        columns |= {name: table[name] if name in present else pa.nulls(count, pa.string()) for name in self._undeclared}
        fields = [pa.field(name, column.type, nullable=name not in self._key) for name, column in columns.items()]
        own = [pa.field(name, pa.string(), nullable=False) for name in (LOAD_ID, ROW_ID)]
        arrays = [*columns.values(), pa.repeat(load_id, count), pa.array(_row_ids(count), pa.string())]
        return pa.Table.from_arrays(arrays, schema=pa.schema([*fields, *own]))


def _are_distinct(table: pa.Table) -> bool:
    """Whether no two rows of a table, whose columns are those of the key, are equal."""
    if table.num_columns == 1:
        return bool(pc.count_distinct(table[0]).as_py() == table.num_rows)
    return bool(table.group_by(table.column_names).aggregate([]).num_rows == table.num_rows)


def _groups(table: pa.Table) -> Iterator[pa.Table]:
    """Halves a table until each part fits into a row group or is a single row."""
    if table.num_rows == 1 or table.nbytes <= ROW_GROUP_BYTES:
        yield table
    else:
        half = table.num_rows // 2
        yield from _groups(table.slice(0, half))
        yield from _groups(table.slice(half))


def _row_ids(count: int) -> list[str]:
    """Random ids of 16 characters, such as dlt gives to rows."""
    text = base64.urlsafe_b64encode(os.urandom(12 * count)).decode()
    return [text[start : start + 16] for start in range(0, 16 * count, 16)]
