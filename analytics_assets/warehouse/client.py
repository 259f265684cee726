"""What the product asks of a warehouse, and the little that it writes there beside what dlt loads.

One interface, and two ways to have it: a database that speaks SQL (`SqlClient`), and tables of files that Arrow reads
(`tables_client.TablesClient`). All questions are SQL: those of the second are answered by a DuckDB in memory.
"""

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Mapping
from types import TracebackType
from typing import Any, Self

from dlt.common.destination import DestinationCapabilitiesContext
from dlt.common.destination.client import (
    DestinationClientConfiguration,
    StorageSchemaInfo,
    WithStagingDataset,
    WithStateSync,
)
from dlt.common.schema import Schema
from dlt.common.schema.typing import TTableSchemaColumns
from dlt.destinations.job_client_impl import SqlJobClientBase
from dlt.destinations.sql_client import SqlClientBase
from dlt.pipeline.state_sync import load_pipeline_state_from_destination

from analytics_assets.api.catalog import Resource
from analytics_assets.warehouse.replace_table import CLICKHOUSE, create_as, replace_table


class Client(ABC):
    """Asks a warehouse. It connects in `with client:`, as often as needed."""

    schema: Schema
    """dlt's schema without tables, which names dlt's own."""
    config: DestinationClientConfiguration
    """dlt's configuration of the destination."""
    capabilities: DestinationCapabilitiesContext
    """What dlt knows of the destination."""

    @property
    @abstractmethod
    def sql_client(self) -> SqlClientBase[Any]:
        """Executes SQL, and names tables and columns in it."""

    @property
    @abstractmethod
    def _state_sync(self) -> WithStateSync:
        """Reads what dlt keeps of pipelines."""

    @abstractmethod
    def __enter__(self) -> Self: ...

    @abstractmethod
    def __exit__(
        self, type_: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...

    @abstractmethod
    def is_storage_initialized(self) -> bool:
        """Whether the dataset exists."""

    @abstractmethod
    def columns_of(self, names: Iterable[str]) -> dict[str, TTableSchemaColumns]:
        """The columns of those of the tables that exist, by table."""

    @abstractmethod
    def update(
        self, resource: Resource, changes: Mapping[str, object], where: str, arguments: Iterable[object]
    ) -> None:
        """Sets columns of a table in the rows that meet a condition. Readers see all of it, or nothing.

        Args:
            resource: Whose table.
            changes: Values by column.
            where: The condition in SQL, with `%s` for each argument.
            arguments: Values in the condition.
        """

    @abstractmethod
    def forget_loads(self, schema: str, since: str) -> None:
        """Makes dlt forget the loads of a schema after one, given by its id, with the state that they have left."""

    @abstractmethod
    def forget(self, tables: Collection[str], schema: str) -> None:
        """Drops tables with their staging tables, and what dlt keeps of a schema: its versions, loads and state."""

    @abstractmethod
    def replace_table(self, schema: str, name: str, query: str) -> str:
        """Makes a table of a SELECT, in place of a former one. Readers see all of the old rows, or of the new ones.

        Args:
            schema: Schema of the table. It is created if it is missing.
            name: Name of the table.
            query: The SELECT, as the warehouse spells it.

        Returns:
            The table as SQL names it, for as long as the client is connected.
        """

    @abstractmethod
    def prepare_drop(self) -> None:
        """Does what dlt needs before it can drop a table."""

    def has_table(self, name: str) -> bool:
        """Whether a table exists."""
        return bool(self.columns_of([name]))

    def stored_schema(self, name: str) -> StorageSchemaInfo | None:
        """The newest version of a schema that dlt keeps."""
        return self._state_sync.get_stored_schema(name)

    def stored_state(self, pipeline: str) -> dict[str, Any]:
        """The state that the last complete load of a pipeline has left."""
        return dict(load_pipeline_state_from_destination(pipeline, self._state_sync) or {})


class SqlClient(Client):
    """A database that speaks SQL."""

    def __init__(self, client: SqlJobClientBase) -> None:
        self.dlt = client
        self.schema, self.config, self.capabilities = client.schema, client.config, client.capabilities
        self._found: set[tuple[str, str]] = set()

    @property
    def sql_client(self) -> SqlClientBase[Any]:
        """Dlt's client of the database."""
        return self.dlt.sql_client

    @property
    def _state_sync(self) -> WithStateSync:
        return self.dlt

    def beside(self) -> "SqlClient":
        """A client of the same database with a connection of its own. In dlt's pipe no pipeline could make it."""
        dlt = self.dlt
        return SqlClient(type(dlt)(dlt.schema, dlt.config, dlt.capabilities))  # type: ignore[arg-type] # each has its own

    def __enter__(self) -> Self:
        self.dlt.__enter__()
        return self

    def __exit__(
        self, type_: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        # dlt declares that there is always an error.
        self.dlt.__exit__(type_, error, traceback)  # type: ignore[arg-type]

    def is_storage_initialized(self) -> bool:
        """Whether the schema exists."""
        return self.dlt.is_storage_initialized()

    def columns_of(self, names: Iterable[str]) -> dict[str, TTableSchemaColumns]:
        """The columns as the database has them."""
        return {name: columns for name, columns in self.dlt.get_storage_tables(sorted(names)) if columns}

    def has_table(self, name: str) -> bool:
        """Whether a table exists. Those that dlt keeps for all pipelines are made once, and stay."""
        own = {self.schema.version_table_name, self.schema.loads_table_name, self.schema.state_table_name}
        known = self.sql_client.dataset_name, name
        if known not in self._found and not super().has_table(name):
            return False
        if name in own:
            self._found.add(known)
        return True

    def update(
        self, resource: Resource, changes: Mapping[str, object], where: str, arguments: Iterable[object]
    ) -> None:
        """One statement."""
        sql = self.sql_client
        values = ", ".join(f"{sql.escape_column_name(name)} = %s" for name in changes)
        table = sql.make_qualified_table_name(resource.name)
        update, ends = f"UPDATE {table} SET", ""
        if self.capabilities.sqlglot_dialect == CLICKHOUSE:
            update, ends = f"ALTER TABLE {table} UPDATE", " SETTINGS mutations_sync = 1"
        sql.execute_sql(f"{update} {values} WHERE {where}{ends}", *changes.values(), *arguments)

    def forget_loads(self, schema: str, since: str) -> None:
        """The state is not restored without its load."""
        sql = self.sql_client
        loads, load_id = sql.make_qualified_table_name(self.schema.loads_table_name), sql.escape_column_name("load_id")
        sql.execute_sql(f"DELETE FROM {loads} WHERE schema_name = %s AND {load_id} > %s", schema, since)

    def forget(self, tables: Collection[str], schema: str) -> None:
        """One transaction, where the database has them for tables."""
        versions = {self.schema.version_table_name: "schema_name"}
        with self.sql_client.begin_transaction():
            if isinstance(self.dlt, WithStagingDataset):
                with self.dlt.with_staging_dataset():
                    self._drop(tables, schema, versions)
            # The schema is last: by it, a leftover is found again if a database without transactions fails halfway.
            kept = {self.schema.state_table_name: "pipeline_name", self.schema.loads_table_name: "schema_name"}
            self._drop(tables, schema, {**kept, **versions})

    def _drop(self, names: Iterable[str], schema: str, kept: Mapping[str, str]) -> None:
        """Drops tables of one dataset, and a schema's rows in tables of dlt, given with the column that names it."""
        sql = self.sql_client
        for name in names:
            if self.has_table(name):
                sql.execute_sql(f"DROP TABLE {sql.make_qualified_table_name(name)}")
        for table, column in kept.items():
            if self.has_table(table):
                where = f"{sql.escape_column_name(column)} = %s"
                sql.execute_sql(f"DELETE FROM {sql.make_qualified_table_name(table)} WHERE {where}", schema)

    def replace_table(self, schema: str, name: str, query: str) -> str:
        """One statement, or one step after the new table was built beside the old one."""
        with self.sql_client.with_alternative_dataset_name(schema) as sql:
            if not sql.has_dataset():
                sql.create_dataset()
            replace_table(sql, self.capabilities.sqlglot_dialect or "", name, query)
            return sql.make_qualified_table_name(name)

    def prepare_drop(self) -> None:
        """Adds an empty version table to the staging dataset if it lacks one.

        When dlt drops a table, it also drops the staging table and deletes the schema from the version table of the
        staging dataset. That table does not exist until a load is merged, and dlt fails (dlt#1801). The dataset itself
        may exist earlier: dlt creates it after any load, and dbt may use the same name.
        """
        client, versions = self.dlt, self.schema.version_table_name
        if not isinstance(client, WithStagingDataset) or not self.has_table(versions):
            return
        sql = self.sql_client
        original = sql.make_qualified_table_name(versions)
        with client.with_staging_dataset():
            if self.is_storage_initialized() and not self.has_table(versions):
                copy = sql.make_qualified_table_name(versions)
                dialect = self.capabilities.sqlglot_dialect or ""
                sql.execute_sql(create_as(dialect, copy, f"SELECT * FROM {original} WHERE 1 = 0"))
