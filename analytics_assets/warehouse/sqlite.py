"""SQLite by way of dlt's `sqlalchemy` destination: JSON is kept as the text that it is.

dlt's own type for it would make JSON of a text that is JSON already, and its column numbers of digits, cut to 64 bits.
"""

import warnings

import sqlalchemy as sa
from dlt.common.destination.capabilities import DataTypeMapper
from dlt.common.destination.typing import PreparedTableSchema
from dlt.common.schema.typing import TColumnSchema
from dlt.destinations.impl.sqlalchemy.dialect import SqliteDialectCapabilities, register_dialect_capabilities
from dlt.destinations.impl.sqlalchemy.type_mapper import SqlalchemyTypeMapper


class Types(SqlalchemyTypeMapper):
    """dlt's types of columns but JSON."""

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
