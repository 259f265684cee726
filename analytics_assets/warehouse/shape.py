"""The shape of a table: its key and its declared columns. A catalog that changes is compared with it.

Which columns are filled in every row is noted in the state of the resource, which dlt commits with the rows. dlt's own
schema does not tell: dlt stores it before it loads the rows, so a run that dies in between leaves a column without
values. So a table without a note counts as one whose columns are not filled.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, TypedDict

import dlt
from dlt.common.schema.typing import TTableSchemaColumns
from dlt.extract.source import DltSource

from analytics_assets.api.catalog import Column, Resource
from analytics_assets.api.listing import Listing
from analytics_assets.api.source import Position
from analytics_assets.api.values.columns import FIELD, column_name, key_columns
from analytics_assets.warehouse.errors import CatalogChangeError

SHAPE = "shape"
"""Key of the shape in the state of a resource."""


class Shape(TypedDict):
    """The key of a table, and the declared columns that every row has the value of."""

    key: list[str]
    columns: dict[str, str]
    """Types by name."""
    fields: dict[str, str]
    """The fields that the values are of, by name of the column: two fields may have one."""


def declared_shape(resource: Resource, unfilled: Collection[str] = ()) -> Shape:
    """The shape that the catalog gives to a table, without the fields that rows may lack."""
    filled = {column_name(column.name): column for column in resource.columns if column.name not in unfilled}
    return {
        "key": key_columns(resource),
        "columns": {name: column.type for name, column in filled.items()},
        "fields": {name: column.name for name, column in filled.items()},
    }


def note_shape(source: DltSource, listing: Listing, unfilled: Collection[str], *, from_empty: bool) -> None:
    """Adds a step that notes the shape in the resource's state as soon as the listing has ended.

    Args:
        source: The source of the resource.
        listing: The listing. Where it is cut, older rows of the table are still to be filled.
        unfilled: Fields that rows lack after the reading, too, because it is one of a window.
        from_empty: Whether the table had no rows before the listing.
    """
    from analytics_assets.api.incremental import is_end  # noqa: PLC0415 - definitions need no Arrow

    resource = listing.resource
    shape = declared_shape(resource, unfilled)

    def note(table: Any, _meta: object = None) -> Any:  # noqa: ANN401 - Arrow is imported late
        if is_end(table) and (from_empty or not listing.is_cut):
            dlt.current.resource_state(resource.name)[SHAPE] = shape
        return table

    source.resources[resource.name].add_step(note, insert_at=Position.WRITER)


def find_unfilled(resource: Resource, noted: Shape | None, stored: TTableSchemaColumns) -> tuple[str, ...]:
    """The declared fields that rows of the table may lack, because they were loaded before the field was declared.

    Args:
        resource: The resource as it is declared.
        noted: The shape in the state; without one, no column counts as filled.
        stored: The columns in dlt's schema of the table.

    Raises:
        CatalogChangeError: The table has another key, or another type of a column. No load can change either.
    """
    # dlt keeps hints that begin with x-, but its types do not declare them.
    columns: Mapping[str, Mapping[str, Any]] = stored
    found, unfilled = _other_key(resource, columns), []
    for column in resource.columns:
        name = column_name(column.name)
        hints = columns.get(name, {})
        type_ = hints.get("data_type", column.type)
        if type_ != column.type:
            found.append(f"{column.name!r} is declared as {column.type}, and the column {name} is {type_}")
        elif _field_of(column, noted, hints) != column.name and column.name not in resource.key_names:
            unfilled.append(column.name)
    if found:
        raise CatalogChangeError(
            f"{resource.name}: the table does not fit the catalog any more: {'; '.join(found)}. No request was made,"
            " and the table stays as it is. Run with mode: rebuild, in the op's run config, which drops the table and"
            " loads it anew; rows that the API no longer lists are gone then. Or undo the change in the catalog."
        )
    return tuple(unfilled)


def _field_of(column: Column, noted: Shape | None, hints: Mapping[str, Any]) -> str | None:
    """The field that all values of a declared column are of; `None` if rows may lack them."""
    name = column_name(column.name)
    if noted and name in noted["fields"]:
        return noted["fields"][name]
    # A json column of a field holds all of its values, even if the field was not declared.
    field: str | None = hints.get(FIELD)
    return field


def _other_key(resource: Resource, columns: Mapping[str, Mapping[str, Any]]) -> list[str]:
    declared = key_columns(resource)
    stored = [name for name, hints in columns.items() if hints.get("primary_key")]
    if not stored or set(stored) == set(declared):
        return []
    return [f"the key is declared as {_listed(declared)}, and rows are merged on {_listed(stored)}"]


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names)
