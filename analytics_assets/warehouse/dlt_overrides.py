"""Corrects dlt's Postgres, SQLite and MySQL where they would change cells while loading.

This module uses internal parts of dlt: for Postgres the client's `create_load_job` and the job that it makes for a CSV
file, for SQLite and MySQL the types of their columns. `test_warehouses.py` fails if dlt stops calling them.
"""

import csv
import warnings
from typing import TYPE_CHECKING, Any, cast

import sqlalchemy as sa
from dlt.common.destination.capabilities import DataTypeMapper, DestinationCapabilitiesContext
from dlt.common.destination.client import LoadJob
from dlt.common.destination.typing import PreparedTableSchema
from dlt.common.schema.typing import TColumnSchema
from dlt.common.storages import FileStorage
from dlt.destinations.impl.postgres.factory import get_adbc_driver_location, postgres
from dlt.destinations.impl.postgres.postgres import PostgresClient, PostgresCsvCopyJob, PostgresParquetCopyJob
from dlt.destinations.impl.sqlalchemy.dialect import (
    MysqlDialectCapabilities,
    SqliteDialectCapabilities,
    register_dialect_capabilities,
)
from dlt.destinations.impl.sqlalchemy.type_mapper import MysqlVariantTypeMapper, SqlalchemyTypeMapper
from pyarrow import parquet
from sqlalchemy.dialects.mysql import LONGTEXT

if TYPE_CHECKING:
    from adbc_driver_manager.dbapi import Connection


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
    """Copies a Parquet file. ADBC cannot write jsonb, so in a staging table such columns become json.

    The merge makes jsonb of them again. dlt would have json in the tables themselves, which has no equality and no
    index, and would fail with a staging table that was made for CSV files.
    """

    def run(self) -> None:
        """Copies the file, unless it has no rows, as that of an empty table. ADBC's reader fails with it."""
        if parquet.read_metadata(self._file_path).num_rows == 0:
            return
        sql = self._job_client.sql_client
        found = "SELECT column_name FROM information_schema.columns WHERE table_schema = %s AND table_name = %s"
        names = sql.execute_sql(f"{found} AND data_type = 'jsonb'", sql.dataset_name, self.load_table_name)
        if names:
            changes = ", ".join(f"ALTER {sql.escape_column_name(name)} TYPE json" for (name,) in names)
            sql.execute_sql(f"ALTER TABLE {sql.make_qualified_table_name(self.load_table_name)} {changes}")
        super().run()

    def _connect(self) -> "Connection":
        """A connection of ADBC. libpq takes neither blanks in a URL nor plus signs for them, as SQLAlchemy writes."""
        from adbc_driver_manager import dbapi  # noqa: PLC0415 - optional

        credentials: Any = self._job_client.config.credentials
        address, _, query = credentials.to_native_representation().partition("?")
        uri = f"{address.replace(' ', '%20')}?{query.replace('+', '%20')}"
        return dbapi.connect(driver=get_adbc_driver_location(), db_kwargs={"uri": uri})


class Client(PostgresClient):
    """Loads CSV files by `Copy`, and Parquet files by `CopyParquet`."""

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
            return CopyParquet(file_path)
        return Copy(file_path) if isinstance(job, PostgresCsvCopyJob) else job

    def _get_column_def_sql(self, c: TColumnSchema, table: PreparedTableSchema | None = None) -> str:
        """A column, as it is without Parquet, for which dlt has json in place of jsonb: see `CopyParquet`."""
        return super()._get_column_def_sql(c, cast("PreparedTableSchema", {**(table or {}), "file_format": None}))


class Postgres(postgres):
    """dlt's Postgres with `Client`. It keeps dlt's name, which the state of earlier pipelines holds."""

    destination_type = "dlt.destinations.postgres"

    @property
    def client_class(self) -> type[Client]:
        """The client that loads by `Copy`."""
        return Client


class SqliteTypes(SqlalchemyTypeMapper):
    """dlt's column types, except that a json column has the type text.

    SQLAlchemy's JSON type would encode a text that is JSON already once more. SQLite would turn digits in a column
    declared as JSON into numbers, cut to 64 bits.
    """

    def db_type_from_json_type(self, column: TColumnSchema, table: PreparedTableSchema) -> sa.Text:  # noqa: ARG002
        """The type of a json column."""
        return sa.Text()


class MysqlTypes(MysqlVariantTypeMapper):
    """dlt's column types, except those of texts and json.

    MySQL's TEXT ends after 64 KB. By its usual collations, keys that differ in case, accents or blanks at the end are
    the same, and a merge would replace one by the other. JSON is text as in SQLite.
    """

    def db_type_from_text_type(self, column: TColumnSchema, table: PreparedTableSchema) -> LONGTEXT:  # noqa: ARG002
        """The type of a text column."""
        is_mariadb = getattr(self.dialect, "is_mariadb", False)
        return LONGTEXT(charset="utf8mb4", collation="utf8mb4_nopad_bin" if is_mariadb else "utf8mb4_0900_bin")

    db_type_from_json_type = db_type_from_text_type


INDEXED = 64
"""Characters of a text in a key that MySQL has in an index: it has 3,072 bytes for all columns of one."""


def _index_key(table: sa.Table, table_schema: PreparedTableSchema) -> sa.Table:
    """Adds an index of the key to a table that is about to be made.

    dlt makes none. Without one in the staging table, a merge compares each row of the table with each of the load.
    """
    names = [name for name, column in table_schema["columns"].items() if column.get("primary_key")]
    if names and not table.indexes:
        texts = {name: INDEXED for name in names if isinstance(table.c[name].type, LONGTEXT)}
        of_texts: dict[str, Any] = {"mysql_length": texts, "mariadb_length": texts} if texts else {}
        sa.Index(f"{table.name}_by_key", *(table.c[name] for name in names), **of_texts)
    return table


class Sqlite(SqliteDialectCapabilities):
    """dlt's capabilities of SQLite, with `SqliteTypes` and an index of the key."""

    def adapt_table(self, table: sa.Table, table_schema: PreparedTableSchema) -> sa.Table:
        """The table with an index."""
        return _index_key(super().adapt_table(table, table_schema), table_schema)

    def adjust_capabilities(self, caps: DestinationCapabilitiesContext, dialect: sa.Dialect) -> None:
        """Python's driver creates tables outside of transactions."""
        super().adjust_capabilities(caps, dialect)
        caps.supports_ddl_transactions = False

    def type_mapper_class(self) -> type[DataTypeMapper]:
        """The mapper from dlt's data types to SQLite's."""
        return SqliteTypes


class Mysql(MysqlDialectCapabilities):
    """dlt's capabilities of MySQL and MariaDB, with `MysqlTypes` and an index of the key."""

    def adapt_table(self, table: sa.Table, table_schema: PreparedTableSchema) -> sa.Table:
        """The table with an index."""
        return _index_key(super().adapt_table(table, table_schema), table_schema)

    def adjust_capabilities(self, caps: DestinationCapabilitiesContext, dialect: sa.Dialect) -> None:
        """A statement that creates a table commits."""
        super().adjust_capabilities(caps, dialect)
        caps.supports_ddl_transactions = False

    def type_mapper_class(self) -> type[DataTypeMapper]:
        """The mapper from dlt's data types to MySQL's."""
        return MysqlTypes


def prepare_sqlalchemy() -> None:
    """Registers `Sqlite` and `Mysql` with dlt, and silences a harmless warning of its merges."""
    register_dialect_capabilities("sqlite", Sqlite)
    for name in ("mysql", "mariadb"):
        register_dialect_capabilities(name, Mysql)
    # SQLAlchemy warns about dlt's own query, in each merge into a table without a cursor.
    warnings.filterwarnings("ignore", "implicitly coercing SELECT object to scalar subquery", sa.exc.SAWarning)
