"""Corrects dlt's SQLite and MySQL where they would change cells while loading.

This module uses internal parts of dlt: the types of their columns. `test_warehouses.py` fails if dlt stops asking for
them.
"""

import warnings
from typing import Any

import sqlalchemy as sa
from dlt.common.destination.capabilities import DataTypeMapper, DestinationCapabilitiesContext
from dlt.common.destination.typing import PreparedTableSchema
from dlt.common.schema.typing import TColumnSchema
from dlt.destinations.impl.sqlalchemy.dialect import (
    MysqlDialectCapabilities,
    SqliteDialectCapabilities,
    register_dialect_capabilities,
)
from dlt.destinations.impl.sqlalchemy.type_mapper import MysqlVariantTypeMapper, SqlalchemyTypeMapper
from sqlalchemy.dialects.mysql import LONGTEXT


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
