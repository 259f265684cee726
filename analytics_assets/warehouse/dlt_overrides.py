"""dlt's Postgres and SQLite, but for what would not load all cells as they are.

What is used of dlt here is internal to it: of Postgres the client's `create_load_job`, and the job that it makes for a
CSV file; of SQLite the types of its columns. `test_warehouses.py` sees that dlt still asks here.
"""

import csv
import warnings

import sqlalchemy as sa
from dlt.common.destination.capabilities import DataTypeMapper
from dlt.common.destination.client import LoadJob
from dlt.common.destination.typing import PreparedTableSchema
from dlt.common.schema.typing import TColumnSchema
from dlt.common.storages import FileStorage
from dlt.destinations.impl.postgres.factory import postgres
from dlt.destinations.impl.postgres.postgres import PostgresClient, PostgresCsvCopyJob
from dlt.destinations.impl.sqlalchemy.dialect import SqliteDialectCapabilities, register_dialect_capabilities
from dlt.destinations.impl.sqlalchemy.type_mapper import SqlalchemyTypeMapper


class Copy(PostgresCsvCopyJob):
    """Copies a file that Arrow has written: texts are quoted, also empty ones, and only what is null is not.

    dlt has Postgres read quoted empty texts as null, too, for the sake of CSV files that Python has written.
    """

    def run(self) -> None:
        """Copies the file, whose first line names the columns."""
        sql = self._job_client.sql_client
        with FileStorage.open_zipsafe_ro(self._file_path, "rb") as file:
            [names] = csv.reader([file.readline().decode()])
            columns = ", ".join(map(sql.escape_column_name, names))
            table = sql.make_qualified_table_name(self.load_table_name)
            with sql.begin_transaction(), sql.native_connection.cursor() as cursor:
                cursor.copy_expert(f"COPY {table} ({columns}) FROM STDIN (FORMAT csv, ENCODING 'UTF8')", file)


class Client(PostgresClient):
    """Loads CSV files by `Copy`."""

    def create_load_job(
        self,
        table: PreparedTableSchema,
        file_path: str,
        load_id: str,
        restore: bool = False,  # noqa: FBT001, FBT002 - as dlt has it
    ) -> LoadJob:
        """The job that loads a file."""
        job = super().create_load_job(table, file_path, load_id, restore)
        return Copy(file_path) if isinstance(job, PostgresCsvCopyJob) else job


class Postgres(postgres):
    """dlt's own by name, as pipelines that ran before have it in their state."""

    destination_type = "dlt.destinations.postgres"

    @property
    def client_class(self) -> type[Client]:
        """The client."""
        return Client


class Types(SqlalchemyTypeMapper):
    """dlt's types of columns but for JSON, which is text here.

    dlt's own would make JSON of a text that is JSON already, and its column numbers of digits, cut to 64 bits.
    """

    def db_type_from_json_type(self, column: TColumnSchema, table: PreparedTableSchema) -> sa.Text:  # noqa: ARG002
        """A column of texts."""
        return sa.Text()


class Capabilities(SqliteDialectCapabilities):
    """dlt's own but for `Types`."""

    def type_mapper_class(self) -> type[DataTypeMapper]:
        """The types."""
        return Types


def prepare_sqlite() -> None:
    """Has dlt use all this for SQLite, by the hook that it has for that."""
    register_dialect_capabilities("sqlite", Capabilities)
    # Of each merge into a table whose rows have no cursor to sort their versions by. It is harmless, and dlt's own.
    warnings.filterwarnings("ignore", "implicitly coercing SELECT object to scalar subquery", sa.exc.SAWarning)
