"""Chooses the column of a field, and lists a table's columns for dlt."""

import re
from collections.abc import Collection, Mapping
from hashlib import blake2b
from typing import Any

from dlt.common.json import json
from dlt.common.normalizers.naming.snake_case import NamingConvention
from dlt.common.schema.typing import TColumnSchema, TTableSchemaColumns

from analytics_assets.api.catalog import DELETED_AT, RESCUED, Resource

MOST_COLUMNS = 200
"""Most columns of a table for undeclared fields. The values of further fields go to `_rescued_data`."""

LONGEST_NAME = 63
"""Most characters of a column's name. Postgres has this limit, the shortest of the common destinations."""

FIELD = "x-field"
"""Hint in dlt's schema, and key of the metadata in Arrow: how the API spells the undeclared field of a column."""

RESERVED = frozenset(
    {
        *(DELETED_AT, RESCUED),
        *("tableoid", "xmin", "cmin", "xmax", "cmax", "ctid", "oid", "rowid", "rownum", "_rowid_"),
        *("true", "false", "nothing", "returning"),
        *("d", "s"),
    }
)
"""Names that the column of a field must not have: our own columns, system columns of databases, words that SQLAlchemy
does not quote, and the aliases in dlt's merges, as DuckDB reads `d.id` as the value `id` in a JSON column `d`."""


def column_name(field: str) -> str:
    """Returns a field's name as dlt spells it: `activityTime` becomes `activity_time`, a blank name an empty one."""
    return _NAMING.normalize_identifier(field) if field.strip() else ""


_NAMING = NamingConvention()


def key_columns(resource: Resource) -> list[str]:
    """Returns the columns of the primary key."""
    return [column_name(name) for name in resource.key_names]


def key_text(key: object) -> str:
    """Returns the key of a row as text, by which the state knows it; several values as a list in JSON."""
    return json.dumps(list(key)) if isinstance(key, tuple) else str(key)


def choose_column(field: str, taken: Collection[str]) -> str:
    """Returns the column name of an undeclared field.

    The column is called as dlt spells the field, if that is a valid name and not taken. Else it gets a suffix, which is
    a hash of the field's spelling, so that the name is the same in every run.

    Args:
        field: The field as the API spells it.
        taken: Names of the table's other columns.
    """
    name = column_name(field)
    is_name = re.search("[a-zA-Z0-9]", field) is not None and not name.startswith("_dlt") and name not in RESERVED
    if is_name and name not in taken and len(name) <= LONGEST_NAME:
        return name
    stem = "field" if name.startswith("_dlt") or not name else name
    # Four bytes of hash are enough, unless another field has exactly that name.
    for size in range(4, 30):
        suffix = blake2b(field.encode(), digest_size=size).hexdigest()
        name = f"{stem[: LONGEST_NAME - 1 - len(suffix)].rstrip('_')}_{suffix}"
        if name not in taken:
            break
    return name


def undeclared_columns(columns: TTableSchemaColumns, resource: Resource) -> dict[str, str]:
    """Returns the columns of undeclared fields in dlt's schema of a table, by field."""
    # dlt keeps hints that begin with x-, but its types do not declare them.
    untyped: Mapping[str, Mapping[str, Any]] = columns
    declared = {column_name(column.name) for column in resource.columns}
    # A field that was undeclared for a time may have a json column beside its own.
    fields = {column.name for column in resource.columns}
    return {
        hints[FIELD]: name
        for name, hints in untyped.items()
        if FIELD in hints and name not in declared and hints[FIELD] not in fields
    }


def typed_columns(columns: TTableSchemaColumns) -> set[str]:
    """Returns the columns in dlt's schema of a table that cannot be those of undeclared fields, as they have a type.

    A field that is removed from the catalog leaves one. Its values go to a json column with another name from then on.
    """
    return {name for name, hints in columns.items() if hints.get("data_type", "json") != "json"}


def column_hints(resource: Resource) -> TTableSchemaColumns:
    """Returns dlt's hints for the columns of a resource's table, by name.

    Only the key is not nullable, so no row is refused because a value is missing. A check reports nulls in other
    columns that the catalog declares as not null.
    """
    hints: dict[str, TColumnSchema] = {}
    for column in resource.table_columns:
        name = column_name(column.name)
        hints[name] = {
            "name": name,
            "data_type": column.type,
            "nullable": column.name not in resource.key_names,
            "description": column.description,
        }
    if resource.cursor:
        # If a listing has two versions of a row, dlt merges the newer one.
        hints[column_name(resource.cursor)]["dedup_sort"] = "desc"
    return hints
