"""Which column a field has."""

import re
from collections.abc import Collection, Mapping
from hashlib import blake2b
from typing import Any

from dlt.common.normalizers.naming.snake_case import NamingConvention
from dlt.common.schema.typing import TColumnSchema, TTableSchemaColumns

from analytics_assets.api.catalog import DELETED_AT, PRIMARY_KEY, RESCUED, Resource

MOST_COLUMNS = 200
"""Columns of a table for fields that the catalogue does not know. The fields beyond stand in `_rescued_data`."""

LONGEST_NAME = 63
"""Characters of a column's name, as Postgres has it: the shortest limit of the common destinations."""

FIELD = "x-field"
"""Hint in dlt's schema of a column that the catalogue does not know: how the API spells its field."""

RESERVED = frozenset(
    {
        *(DELETED_AT, RESCUED),
        *("tableoid", "xmin", "cmin", "xmax", "cmax", "ctid", "oid", "rowid", "rownum", "_rowid_"),
        *("true", "false", "nothing", "returning"),
    }
)
"""Names of our own columns, of those that databases have in every table, and words that SQLAlchemy does not quote."""


def column_name(field: str) -> str:
    """The name of a field as dlt spells it: `activityTime` becomes `activity_time`; blank text folds to nothing."""
    return _NAMING.normalize_identifier(field) if field.strip() else ""


_NAMING = NamingConvention()


def choose_column(field: str, taken: Collection[str]) -> str:
    """The column of a field that the catalogue does not know.

    It is called as dlt spells the field, if that is a name, and free. Else it has a suffix that is made of the field's
    spelling alone, so that it is the same in every run.

    Args:
        field: As the API spells it.
        taken: Names of the table's other columns.
    """
    name = column_name(field)
    is_name = re.search("[a-zA-Z0-9]", field) is not None and not name.startswith("_dlt") and name not in RESERVED
    if is_name and name not in taken and len(name) <= LONGEST_NAME:
        return name
    stem = "field" if name.startswith("_dlt") or not name else name
    # Four bytes, unless somebody calls another field just like that.
    for size in range(4, 30):
        suffix = blake2b(field.encode(), digest_size=size).hexdigest()
        name = f"{stem[: LONGEST_NAME - 1 - len(suffix)].rstrip('_')}_{suffix}"
        if name not in taken:
            break
    return name


def undeclared_columns(columns: TTableSchemaColumns, resource: Resource) -> dict[str, str]:
    """The columns of a table in dlt's schema that are for fields which the catalogue does not know, by field."""
    # dlt keeps hints that begin with x-, and does not type them.
    untyped: Mapping[str, Mapping[str, Any]] = columns
    declared = {column_name(column.name) for column in resource.columns}
    return {hints[FIELD]: name for name, hints in untyped.items() if FIELD in hints and name not in declared}


def column_hints(resource: Resource) -> TTableSchemaColumns:
    """The columns of a resource's table by name, as dlt wants them.

    Only the key must not be null: no row is kept out for want of a value. A check tells of columns declared otherwise.

    Raises:
        ValueError: Two fields, or a field and a column of ours, dlt's or a database's, have one name.
    """
    hints: dict[str, TColumnSchema] = {}
    for column in resource.table_columns:
        name = column_name(column.name)
        if name in hints or name.startswith("_dlt") or (name in RESERVED and column in resource.columns):
            raise ValueError(f"{resource.name}: {column.name!r} cannot be declared, as {name} is another column.")
        hints[name] = {
            "name": name,
            "data_type": column.type,
            "nullable": column.name != PRIMARY_KEY,
            "description": column.description,
        }
    if resource.cursor:
        # Of two versions of a row in one listing, the newer one is merged.
        hints[column_name(resource.cursor)]["dedup_sort"] = "desc"
    return hints
