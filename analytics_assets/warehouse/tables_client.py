"""Asks Delta and Iceberg tables, by SQL that a DuckDB in memory answers."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import ExitStack, closing
from types import TracebackType
from typing import Any, Self, TypeAlias

import duckdb
import pyarrow as pa
from dlt.common.configuration.specs import CredentialsConfiguration
from dlt.common.destination.client import WithStateSync
from dlt.common.libs.pyarrow import py_arrow_to_table_schema_columns
from dlt.common.schema.typing import TTableSchemaColumns
from dlt.common.storages.fsspec_filesystem import FileItem, glob_files
from dlt.destinations.impl.duckdb.configuration import DuckDbCredentials
from dlt.destinations.impl.filesystem.filesystem import FILENAME_SEPARATOR, FilesystemClient
from dlt.destinations.impl.filesystem.sql_client import FilesystemSqlClient

from analytics_assets.api.catalog import Resource
from analytics_assets.api.values.columns import key_columns
from analytics_assets.warehouse.client import Client
from analytics_assets.warehouse.duckdb_options import duckdb_options
from analytics_assets.warehouse.open_tables import TableFormat, merge, open_table, overwrite, read, schema_of

Rows: TypeAlias = Any
"""A dataset or a table of Arrow, which has no types."""


LISTED = pa.schema(
    {
        **dict.fromkeys(("schema_name", "pipeline_name", "load_id", "_dlt_load_id"), pa.string()),
        "status": pa.int64(),
        "inserted_at": pa.timestamp("us", "UTC"),
    }
)
"""Columns of a table of dlt's own, as far as the names of its files tell."""


class TablesClient(Client):
    """Tables of files. Within one `with client:` a table stays as it was when it was first looked at."""

    def __init__(self, client: FilesystemClient, table_format: TableFormat, working_dir: str) -> None:
        """Opens nothing.

        Args:
            client: A client of dlt.
            table_format: `delta` or `iceberg`.
            working_dir: Where DuckDB may write what does not fit into its memory.
        """
        self._client, self._format = client, table_format
        # Pushed down, a condition on texts fails: Arrow cannot compare them with DuckDB's views of strings.
        self._options = {**duckdb_options(), "temp_directory": working_dir, "disabled_optimizers": "filter_pushdown"}
        self.schema, self.config, self.capabilities = (
            self._client.schema,
            self._client.config,
            self._client.capabilities,
        )
        self._views: Views
        self._stack = ExitStack()
        self._tables: dict[str, Any] = {}
        self._rows: dict[str, Rows | None] = {}

    @property
    def sql_client(self) -> "Views":
        """A DuckDB with a view of each table."""
        return self._views

    @property
    def _state_sync(self) -> WithStateSync:
        return self._client

    def __enter__(self) -> Self:
        # A new one, because it remembers which tables of a catalog it has found.
        self._client = self._again()
        self._tables, self._rows = {}, {}
        database = self._stack.enter_context(closing(duckdb.connect(config=self._options)))
        self._views = Views(self._client, DuckDbCredentials(database), self._look_at)
        self._stack.enter_context(self._views)  # type: ignore[arg-type] # dlt has it of another type
        return self

    def __exit__(
        self, type_: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stack.close()

    def is_storage_initialized(self) -> bool:
        """Whether dlt has made the directory of the dataset."""
        return self._client.is_storage_initialized()

    def columns_of(self, names: Iterable[str]) -> dict[str, TTableSchemaColumns]:
        """The columns as the files have them."""
        found = {name: self._look_at(name) for name in names}
        return {name: py_arrow_to_table_schema_columns(rows.schema) for name, rows in found.items() if rows is not None}

    def update(
        self, resource: Resource, changes: Mapping[str, object], where: str, arguments: Iterable[object]
    ) -> None:
        """Merges the changed rows. It fails if another process has changed them since they were read."""
        sql = self.sql_client
        values = ", ".join(f"%s AS {sql.escape_column_name(name)}" for name in changes)
        table = sql.make_qualified_table_name(resource.name)
        query = f"SELECT * REPLACE ({values}) FROM {table} WHERE {where}"
        with sql.execute_query(query, *changes.values(), *arguments) as cursor:
            rows: Any = cursor.native_cursor
            changed = rows.to_arrow_table()
        table = self._tables[resource.name]
        merge(table, changed.cast(schema_of(table)).to_reader(), key_columns(resource))

    def replace_table(self, schema: str, name: str, query: str) -> str:
        """One commit, and one before it if the table is new."""
        with self.sql_client.execute_query(query) as cursor:
            rows: Any = cursor.native_cursor
            made = rows.to_arrow_table()
        client = self._again()
        client.dataset_name = schema
        overwrite(client, self._format, name, made)
        view = f"{schema}__{name}"
        self._rows[view] = made
        return self.sql_client.make_qualified_table_name(view)

    def forget_loads(self, schema: str, since: str) -> None:
        """Deletes files one by one. A state is restored even without its load, so it goes first."""
        for table in (self.schema.state_table_name, self.schema.loads_table_name):
            self._remove(table, schema, since)

    def forget(self, tables: Collection[str], schema: str) -> None:
        """Deletes files one by one. The schema's own are last: by them, a leftover is found again after a kill."""
        self._client.drop_tables(*tables, delete_schema=False)
        for table in (self.schema.state_table_name, self.schema.loads_table_name, self.schema.version_table_name):
            self._remove(table, schema)

    def _remove(self, table: str, schema: str, since: str = "") -> None:
        """Deletes files of a schema in a table of dlt's own, those after a load or all."""
        client = self._client
        for names, file in self._files(table):
            if names[0] == schema and names[1] > since:
                client.fs_client.rm_file(client.pathlib.join(client.get_table_dir(table), file["relative_path"]))
        self._rows.pop(table, None)

    def prepare_drop(self) -> None:
        """Makes a directory that dlt looks into when it drops from its staging dataset, which has nothing else."""
        with self._client.with_staging_dataset() as staging:
            if staging.is_storage_initialized():
                staging.fs_client.makedirs(staging.get_table_dir(self.schema.version_table_name), exist_ok=True)

    def _again(self) -> FilesystemClient:
        """Another client of dlt like the one given."""
        return type(self._client)(self._client.schema, self._client.config, self._client.capabilities)

    def _look_at(self, name: str) -> Rows | None:
        """The rows of a table; `None` if there is none."""
        if name not in self._rows:
            # The schema has no table of states before a pipeline has one.
            schema = self.schema
            own = {schema.version_table_name, schema.loads_table_name, schema.state_table_name}
            self._rows[name] = self._list(name) if name in own else self._open(name)
        return self._rows[name]

    def _open(self, name: str) -> Rows | None:
        table = self._tables[name] = open_table(self._client, self._format, name)
        return None if table is None else read(self._client, table)

    def _list(self, name: str) -> Rows | None:
        """A table of dlt's own, as far as the names of its files tell: their contents would be a request each."""
        rows = [
            {
                **dict.fromkeys(("schema_name", "pipeline_name"), names[0]),
                **dict.fromkeys(("load_id", "_dlt_load_id"), names[1]),
                "status": 0,
                "inserted_at": file["modification_date"],
            }
            for names, file in self._files(name)
        ]
        client = self._client
        # All loads may have been taken back: the table is empty then, and still there.
        exists = rows or client.fs_client.exists(client.get_table_dir(name))
        return pa.Table.from_pylist(rows, LISTED) if exists else None

    def _files(self, table: str) -> Iterator[tuple[list[str], FileItem]]:
        """The files of a table of dlt's own, and the parts of their names: schema, then load or time, then hash."""
        client = self._client
        parts = 1 if table == self.schema.loads_table_name else 2
        for file in glob_files(client.fs_client, client.make_remote_url(client.get_table_dir(table)), "*.jsonl"):
            yield file["file_name"].removesuffix(".jsonl").rsplit(FILENAME_SEPARATOR, parts), file


class Views(FilesystemSqlClient):
    """dlt's DuckDB over a filesystem, with Arrow in place of DuckDB's extensions, which each host would download."""

    def __init__(
        self, client: FilesystemClient, database: DuckDbCredentials, look_at: Callable[[str], Rows | None]
    ) -> None:
        super().__init__(client, client.dataset_name, database)
        self._look_at = look_at

    def create_secret(
        self,
        scope: str,  # noqa: ARG002 - as dlt has it
        credentials: CredentialsConfiguration,  # noqa: ARG002 - as dlt has it
        secret_name: str | None = None,  # noqa: ARG002 - as dlt has it
        persist_secrets: bool = False,  # noqa: ARG002, FBT001, FBT002 - as dlt has it
    ) -> bool:
        """None: Arrow reads the files."""
        return True

    def make_qualified_table_name(self, table_name: str, *_: Any, **__: Any) -> str:  # noqa: ANN401 - as dlt has it
        """The name of the view."""
        return self.escape_column_name(table_name)

    def create_views_for_tables(self, tables: dict[str, str]) -> None:
        """Makes the views that a query names."""
        for name in tables:
            rows = self._look_at(name)
            if rows is not None:
                self.native_connection.register(name, rows)
