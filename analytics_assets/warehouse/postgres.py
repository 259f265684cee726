"""dlt's Postgres destination, but for the COPY of a file: an empty text stays one.

What is used of dlt here is internal to it: the client's `create_load_job`, and the job that it makes for a CSV file.
`test_warehouses.py` sees that dlt still asks here.
"""

import csv

from dlt.common.destination.client import LoadJob
from dlt.common.destination.typing import PreparedTableSchema
from dlt.common.storages import FileStorage
from dlt.destinations.impl.postgres.factory import postgres
from dlt.destinations.impl.postgres.postgres import PostgresClient, PostgresCsvCopyJob


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
