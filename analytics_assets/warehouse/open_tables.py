"""Delta and Iceberg tables, in which dlt's destination `filesystem` keeps rows: opens, reads and merges them.

dlt merges into them, too, but not exactly: of a key that is listed twice it keeps both rows, a column that the new rows
lack keeps its old values in Delta, and Iceberg gets a commit for each thousand rows, which readers see one by one. So
`Filesystem` is dlt's destination with a job of ours.
"""

import warnings
from collections.abc import Sequence
from functools import reduce
from typing import Any, Literal

import duckdb
import pyarrow as pa
import pyarrow.dataset as ds
from dlt.common.destination.exceptions import DestinationUndefinedEntity
from dlt.common.destination.typing import PreparedTableSchema
from dlt.common.schema.typing import TTableSchema
from dlt.common.schema.utils import get_columns_names_with_prop, get_dedup_sort_tuple
from dlt.destinations.impl.filesystem.factory import filesystem
from dlt.destinations.impl.filesystem.filesystem import (
    FilesystemClient,
    ReferenceFollowupJob,
    TableFormatLoadFilesystemJob,
)

from analytics_assets.warehouse.duckdb_options import duckdb_options
from analytics_assets.warehouse.parquet import DEDUPLICATED

TableFormat = Literal["delta", "iceberg", "hive", "native"]
"""dlt's names of formats. Those here are the first two."""

DELTA: TableFormat = "delta"
ICEBERG: TableFormat = "iceberg"

BATCH = 20_000
"""Rows in memory at a time while they are merged into Delta."""


def open_table(client: FilesystemClient, table_format: TableFormat, name: str) -> Any:  # noqa: ANN401 - of either library
    """The table, as its newest commit has it; `None` if there is none."""
    location = client.get_open_table_location(table_format, name)
    if table_format == DELTA:
        from deltalake import DeltaTable  # noqa: PLC0415 - either library is an extra

        options = _delta_options(client)
        return DeltaTable(location, storage_options=options) if DeltaTable.is_deltatable(location, options) else None
    from dlt.common.libs.pyiceberg import evolve_table  # noqa: PLC0415 - either library is an extra
    from pyiceberg.exceptions import NoSuchTableError  # noqa: PLC0415 - either library is an extra

    try:
        catalog = client.get_open_table_catalog(ICEBERG)
        return evolve_table(catalog, client.fs_client, client.config, f"{client.dataset_name}.{name}", location)
    except (NoSuchTableError, DestinationUndefinedEntity):
        return None


def _create_table(client: FilesystemClient, table_format: TableFormat, name: str, schema: pa.Schema) -> Any:  # noqa: ANN401 - of either library
    location = client.get_open_table_location(table_format, name)
    if table_format == DELTA:
        from deltalake import DeltaTable  # noqa: PLC0415 - either library is an extra

        settings = client.config.deltalake_configuration
        return DeltaTable.create(location, schema, storage_options=_delta_options(client), configuration=settings)
    from dlt.common.libs.pyiceberg import create_table  # noqa: PLC0415 - either library is an extra

    catalog, properties = client.get_open_table_catalog(ICEBERG), client.config.iceberg_table_properties
    create_table(catalog, f"{client.dataset_name}.{name}", location, schema, properties=properties)
    return open_table(client, table_format, name)


def _delta_options(client: FilesystemClient) -> dict[str, str]:
    from dlt.common.libs.deltalake import deltalake_storage_options  # noqa: PLC0415 - either library is an extra

    return deltalake_storage_options(client.config.credentials, client.config.deltalake_storage_options)


def read(client: FilesystemClient, table: Any) -> ds.Dataset | pa.Table:  # noqa: ANN401 - of either library
    """The rows of a table, for DuckDB to read the columns that it needs of the files that it needs."""
    if _is_delta(table):
        return table.to_pyarrow_dataset()
    scan = table.scan()
    files = list(scan.plan_files())
    if any(file.delete_files for file in files):
        # Of others: nothing here writes such files.
        return scan.to_arrow()
    paths = [client.fs_client._strip_protocol(file.file.file_path) for file in files]  # noqa: SLF001 - fsspec has no other
    return ds.dataset(paths, table.schema().as_arrow(), format="parquet", filesystem=client.fs_client)


def schema_of(table: Any) -> pa.Schema:  # noqa: ANN401 - of either library
    """The columns of a table as Arrow has them."""
    return pa.schema(table.schema().to_arrow()) if _is_delta(table) else table.schema().as_arrow()


def _is_delta(table: Any) -> bool:  # noqa: ANN401 - of either library
    return type(table).__module__.startswith("deltalake")


def merge(table: Any, rows: pa.RecordBatchReader, key: Sequence[str]) -> None:  # noqa: ANN401 - of either library
    """Puts rows in place of those of the same key, and adds the others, in one commit.

    Args:
        table: Where to. It has all columns of the rows.
        rows: Each key once, with all columns of the table.
        key: The columns of the key.

    Raises:
        Exception: Another process has changed the rows meanwhile, as either library says it.
    """
    if _is_delta(table):
        same = " AND ".join(f"target.`{name}` = source.`{name}`" for name in key)
        merger = table.merge(rows, same, source_alias="source", target_alias="target", streamed_exec=True)
        merger.when_matched_update_all().when_not_matched_insert_all().execute()
        return
    from pyiceberg.expressions import And, BooleanExpression, In, Reference  # noqa: PLC0415 - either library is an extra

    new = rows.read_all()
    if not new.num_rows:
        return
    conditions: list[BooleanExpression] = [In(term=Reference(name), values=set(new[name].to_pylist())) for name in key]
    replaced = reduce(And, conditions)
    if len(key) > 1:
        # The condition meets other rows, too, in which each column of a key is that of some new row.
        met = table.scan(row_filter=replaced).to_arrow().cast(new.schema)
        # A join forgets that columns are never null.
        others = met.join(new.select(key), list(key), join_type="left anti").select(new.column_names).cast(new.schema)
        new = pa.concat_tables([new, others])
    table.overwrite(new, overwrite_filter=replaced)


def overwrite(client: FilesystemClient, table_format: TableFormat, name: str, rows: pa.Table) -> None:
    """Puts rows in place of all that a table has, in one commit. A table that is missing is made before.

    A column that is new, or has another type, is one of the table from then on.
    """
    if table_format == DELTA:
        from deltalake import write_deltalake  # noqa: PLC0415 - either library is an extra

        location, options = client.get_open_table_location(table_format, name), _delta_options(client)
        write_deltalake(location, rows, mode="overwrite", schema_mode="overwrite", storage_options=options)
        return
    table = open_table(client, table_format, name)
    if table is None:
        table = _create_table(client, table_format, name, rows.schema)
    _add_columns(table, rows.schema)
    table.overwrite(rows)


class MergeJob(TableFormatLoadFilesystemJob):
    """Merges the files of a load."""

    def run(self) -> None:
        """One commit, and one before it if the table is new or gets a column."""
        client, files = self._job_client, self.arrow_dataset
        load_table: Any = self._load_table
        table_format = load_table["table_format"]
        table = open_table(client, table_format, self.load_table_name)
        if table is None:
            table = _create_table(client, table_format, self.load_table_name, files.schema)
        _add_columns(table, files.schema)
        # With the schema of the table, columns that the files lack are null.
        rows = _rows(load_table, ds.dataset(self.file_paths, schema_of(table)))
        merge(table, rows, get_columns_names_with_prop(load_table, "primary_key"))


def _add_columns(table: Any, schema: pa.Schema) -> None:  # noqa: ANN401 - of either library
    if not set(schema.names) - set(schema_of(table).names):
        return
    if _is_delta(table):
        from dlt.common.libs.deltalake import evolve_delta_table_schema  # noqa: PLC0415 - either library is an extra

        evolve_delta_table_schema(table, schema)
    else:
        with table.update_schema() as update:
            update.union_by_name(schema)


def _rows(load_table: TTableSchema, files: ds.Dataset) -> pa.RecordBatchReader:
    """The rows of a load: of each key the newest, as dlt's own merges have it."""
    if load_table.get(DEDUPLICATED):
        return files.scanner(batch_size=BATCH, batch_readahead=2, fragment_readahead=1).to_reader()
    key = ", ".join(f'"{name}"' for name in get_columns_names_with_prop(load_table, "primary_key"))
    sort = get_dedup_sort_tuple(load_table)
    order = f'ORDER BY "{sort[0]}" {sort[1]} NULLS LAST' if sort else ""
    with duckdb.connect(config=duckdb_options()) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.register("files", files)
        query = f"SELECT * FROM files QUALIFY row_number() OVER (PARTITION BY {key} {order}) = 1"
        return connection.execute(query).to_arrow_table().cast(files.schema).to_reader()


class JobClient(FilesystemClient):
    """dlt's client with `MergeJob`."""

    @staticmethod
    def get_reference_followup_job_class(table: PreparedTableSchema) -> type[ReferenceFollowupJob] | None:
        """The job that loads the files of a table."""
        job = FilesystemClient.get_reference_followup_job_class(table)
        return MergeJob if job and table["write_disposition"] == "merge" else job


class Filesystem(filesystem):
    """dlt's filesystem with `MergeJob`. It keeps dlt's name, which the state of earlier pipelines holds."""

    destination_type = "dlt.destinations.filesystem"

    @property
    def client_class(self) -> type[FilesystemClient]:
        """The client that merges by `MergeJob`."""
        return JobClient


def silence_merges() -> None:
    """Silences a harmless warning of Iceberg's library: most merges replace no row."""
    warnings.filterwarnings("ignore", "Delete operation did not match any records", UserWarning)
