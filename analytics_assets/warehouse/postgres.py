"""dlt's Postgres, where it would change cells while loading, or write each row twice.

This module uses internal parts of dlt: the client's `create_load_job`, and the jobs that it makes for files.
`test_warehouses.py` and `test_file_formats.py` fail if dlt stops calling them.
"""

import csv
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any, cast
from uuid import uuid4

import pyarrow as pa
import pyarrow.compute as pc
from dlt.common.destination import DestinationCapabilitiesContext
from dlt.common.destination.client import FollowupJobRequest, LoadJob
from dlt.common.destination.typing import PreparedTableSchema
from dlt.common.schema import Schema
from dlt.common.schema.typing import TColumnSchema
from dlt.common.storages import FileStorage
from dlt.destinations.impl.postgres.configuration import PostgresClientConfiguration
from dlt.destinations.impl.postgres.factory import get_adbc_driver_location, postgres
from dlt.destinations.impl.postgres.postgres import PostgresClient, PostgresCsvCopyJob, PostgresParquetCopyJob
from dlt.destinations.impl.postgres.sql_client import Psycopg2SqlClient
from pyarrow import parquet

from analytics_assets.warehouse.connections import Address, put_back, take
from analytics_assets.warehouse.parquet import DEDUPLICATED, ROW_GROUP

if TYPE_CHECKING:
    from adbc_driver_manager.dbapi import Connection, Cursor
    from psycopg2.extensions import connection

JSONB_VERSION = "\x01"
"""What Postgres wants before the text of a jsonb value in binary form, in which ADBC sends all. ADBC sends a text as it
is, so the text begins with it."""


class Copy(PostgresCsvCopyJob):
    """Copies a CSV file that Arrow wrote. Arrow quotes every text, empty ones too, and leaves a null unquoted.

    dlt's own job makes Postgres read quoted empty texts as nulls as well, because Python writes both alike.
    """

    def run(self) -> None:
        """Copies the file. Its first line names the columns."""
        sql = self._job_client.sql_client
        with FileStorage.open_zipsafe_ro(self._file_path, "rb") as file:
            [names] = csv.reader([file.readline().decode()])
            columns = ", ".join(map(sql.escape_column_name, names))
            table = sql.make_qualified_table_name(self.load_table_name)
            with sql.begin_transaction(), sql.native_connection.cursor() as cursor:
                cursor.copy_expert(f"COPY {table} ({columns}) FROM STDIN (FORMAT csv, ENCODING 'UTF8')", file)


class CopyParquet(PostgresParquetCopyJob):
    """Copies a Parquet file, whose json columns ADBC would send as text that no jsonb column takes."""

    def run(self) -> None:
        """Copies the file."""
        if self._has_rows():
            with self._connect() as connection, connection.cursor() as cursor:
                self._send(cursor, self.load_table_name, db_schema_name=self._job_client.sql_client.dataset_name)
                connection.commit()

    def _has_rows(self) -> bool:
        """Whether the file has rows: that of an empty table has none, with which ADBC fails."""
        return bool(parquet.read_metadata(self._file_path).num_rows)

    def _send(self, cursor: "Cursor", table: str, **where: Any) -> None:  # noqa: ANN401 - as ADBC has it
        """Appends the rows to a table."""
        columns = self._load_table["columns"]
        json_columns = {name for name, column in columns.items() if column.get("data_type") == "json"}
        with parquet.ParquetFile(self._file_path) as file:
            batches = (_as_jsonb(batch, json_columns) for batch in file.iter_batches(ROW_GROUP))
            reader = pa.RecordBatchReader.from_batches(file.schema_arrow, batches)
            cursor.adbc_ingest(table, reader, mode="append", **where)

    def _connect(self) -> "Connection":
        """A connection of ADBC. libpq takes neither blanks in a URL nor plus signs for them, as SQLAlchemy writes."""
        from adbc_driver_manager import dbapi  # noqa: PLC0415 - optional

        credentials: Any = self._job_client.config.credentials
        address, _, query = credentials.to_native_representation().partition("?")
        uri = f"{address.replace(' ', '%20')}?{query.replace('+', '%20')}"
        return dbapi.connect(driver=get_adbc_driver_location(), db_kwargs={"uri": uri})


class MergeParquet(CopyParquet):
    """Merges a Parquet file in which no key is twice, in one transaction and without dlt's staging dataset.

    However often it is tried, each row is there once: a table that has rows, perhaps these, is merged into.
    """

    def run(self) -> None:
        """Puts the rows of the file in place of those with the same keys."""
        if not self._has_rows():
            return
        sql = self._job_client.sql_client
        table = sql.make_qualified_table_name(self.load_table_name)
        [[has_rows]] = sql.execute_sql(f"SELECT EXISTS (SELECT FROM {table})") or ()
        with self._connect() as connection, connection.cursor() as cursor:
            if has_rows:
                self._merge(cursor, table)
            else:
                self._send(cursor, self.load_table_name, db_schema_name=sql.dataset_name)
            connection.commit()

    def _merge(self, cursor: "Cursor", table: str) -> None:
        """Merges through a table that nobody else sees, without the index that dlt has in tables.

        It is no temporary one, which a role may not be allowed to make.
        """
        sql = self._job_client.sql_client
        escape = sql.escape_column_name
        made = f"_loaded_{uuid4().hex}"
        loaded_table = sql.make_qualified_table_name(made)
        types, columns = self._job_client.type_mapper, self._load_table["columns"]
        loaded = {escape(name): columns[name] for name in parquet.read_schema(self._file_path).names}
        # dlt has json in place of jsonb for a table that it loads from Parquet.
        plain: Any = {"name": self.load_table_name}
        definitions = ", ".join(f"{name} {types.to_destination_type(loaded[name], plain)}" for name in loaded)
        key = map(escape, (name for name, column in columns.items() if column.get("primary_key")))
        same = " AND ".join(f"old.{name} = new.{name}" for name in key)
        names = ", ".join(loaded)
        cursor.execute(f"CREATE UNLOGGED TABLE {loaded_table} ({definitions})")
        self._send(cursor, made, db_schema_name=sql.dataset_name)
        # Postgres' own MERGE and ON CONFLICT take half as long again.
        cursor.execute(f"DELETE FROM {table} AS old USING {loaded_table} AS new WHERE {same}")
        cursor.execute(f"INSERT INTO {table} ({names}) SELECT {names} FROM {loaded_table}")
        cursor.execute(f"DROP TABLE {loaded_table}")


def _as_jsonb(batch: pa.RecordBatch, columns: Collection[str]) -> pa.RecordBatch:
    """The batch with the texts of some columns as Postgres wants jsonb."""
    for position, name in enumerate(batch.schema.names):
        if name in columns:
            values = pc.binary_join_element_wise(JSONB_VERSION, batch.column(position), "")
            batch = batch.set_column(position, batch.schema.field(position), values)
    return batch


def _is_merged_at_once(table: PreparedTableSchema) -> bool:
    """Whether a table is loaded by `MergeParquet`."""
    return table["write_disposition"] == "merge" and bool(table.get(DEDUPLICATED))


class SqlClient(Psycopg2SqlClient):
    """dlt's, with connections that are used again while a session is open."""

    _address: Address

    def open_connection(self) -> "connection":
        """Opens a connection, or takes one that is kept."""
        options = f"{self.credentials.get_query().get('options', '')} {self.fully_qualified_dataset_name()}"
        self._address = self.credentials.to_native_representation(), options
        self._conn = take(self._address) or super().open_connection()
        found: connection = self._conn
        return found

    def close_connection(self) -> None:
        """Keeps the connection for others, or closes it."""
        if self._conn:
            put_back(self._address, self._conn)
            self._conn = None


class Client(PostgresClient):
    """Loads CSV files by `Copy`, and Parquet files by `MergeParquet` or, of several for one table, `CopyParquet`."""

    def __init__(
        self, schema: Schema, config: PostgresClientConfiguration, capabilities: DestinationCapabilitiesContext
    ) -> None:
        super().__init__(schema, config, capabilities)
        names = self.create_dataset_names(schema, config)
        self.sql_client = SqlClient(*names, config.credentials, capabilities)

    def create_load_job(
        self,
        table: PreparedTableSchema,
        file_path: str,
        load_id: str,
        restore: bool = False,  # noqa: FBT001, FBT002 - as dlt has it
    ) -> LoadJob:
        """The job that loads a file."""
        job = super().create_load_job(table, file_path, load_id, restore)
        if isinstance(job, PostgresParquetCopyJob):
            return MergeParquet(file_path) if _is_merged_at_once(table) else CopyParquet(file_path)
        return Copy(file_path) if isinstance(job, PostgresCsvCopyJob) else job

    def should_load_data_to_staging_dataset(self, table_name: str) -> bool:
        """Whether files of a table are copied into a staging table first."""
        is_staged = super().should_load_data_to_staging_dataset(table_name)
        return is_staged and not _is_merged_at_once(self.prepare_load_table(table_name))

    def _create_merge_followup_jobs(self, table_chain: Sequence[PreparedTableSchema]) -> list[FollowupJobRequest]:
        return [] if _is_merged_at_once(table_chain[0]) else super()._create_merge_followup_jobs(table_chain)

    def _get_column_def_sql(self, c: TColumnSchema, table: PreparedTableSchema | None = None) -> str:
        """A column, as it is without Parquet, for which dlt has json in place of jsonb."""
        return super()._get_column_def_sql(c, cast("PreparedTableSchema", {**(table or {}), "file_format": None}))


class Postgres(postgres):
    """dlt's Postgres with `Client`. It keeps dlt's name, which the state of earlier pipelines holds."""

    destination_type = "dlt.destinations.postgres"

    @property
    def client_class(self) -> type[Client]:
        """The client that loads by `Copy`."""
        return Client
