"""Finds the type that all values of an undeclared field fit, for somebody who wants to declare it."""

import json
import re
from collections.abc import Mapping

import msgspec
import pyarrow as pa
from msgspec import Raw

from analytics_assets.api.catalog import Column, ColumnType, Resource
from analytics_assets.api.values.arrow import OTHERS
from analytics_assets.api.values.cells import UnfitError, read_cell
from analytics_assets.api.values.columns import MOST_COLUMNS, choose_column, column_name

SPELLED: dict[ColumnType, re.Pattern[bytes]] = {
    "bool": re.compile(rb"true|false"),
    "bigint": re.compile(rb"-?[0-9].*"),
    "double": re.compile(rb"-?[0-9]{1,15}([.eE].*)?"),
    "date": re.compile(rb'".*'),
    "timestamp": re.compile(rb'"[0-9]{4}-.*', re.DOTALL),
    "text": re.compile(rb".*", re.DOTALL),
}
"""The types from the strictest on, and how a value that suggests one is spelled. Digits in a text are no number, as
they may be a code; more than 15 digits before the point are no double, which would not keep them all; a number is no
point in time, because it may count anything. A decimal is never suggested: whether a number is an amount of money, its
values do not tell. Every value fits json."""

_OBJECT = msgspec.json.Decoder(dict[str, Raw])

Fits = dict[str, tuple[ColumnType, ...] | None]
"""The types that all values of a field fit so far, by field; `None` while it had none but null."""


def narrow(fits: Fits, table: pa.Table) -> None:
    """Narrows the types of undeclared fields by their values in a table that `to_table` has made."""
    for token in table[OTHERS].to_pylist():
        for field, value in (_OBJECT.decode(token) if token else {}).items():
            if field in fits or len(fits) < MOST_COLUMNS:
                fits[field] = _narrowed(fits.get(field), bytes(value))


def _narrowed(types: tuple[ColumnType, ...] | None, token: bytes) -> tuple[ColumnType, ...] | None:
    if token == b"null":
        return types
    types = tuple(SPELLED) if types is None else types
    is_blank = token[:1] == b'"' and not json.loads(token).strip()
    return types if is_blank else tuple(type_ for type_ in types if _fits(token, type_))


def _fits(token: bytes, type_: ColumnType) -> bool:
    try:
        return SPELLED[type_].fullmatch(token) is not None and read_cell(token, type_) is not None
    except UnfitError:
        return False


def suggest_columns(fits: Fits, undeclared: Mapping[str, str], resource: Resource) -> list[Column]:
    """Returns columns that could be declared, without a description.

    Args:
        fits: What `narrow` has found.
        undeclared: The columns that the undeclared fields have, by field.
        resource: The resource of the rows.
    """
    taken = {column_name(column.name) for column in resource.table_columns}
    suggested = []
    for field, types in fits.items():
        # A field whose column has a suffix cannot be declared: its name is reserved, or another field's.
        if column_name(field) == undeclared.get(field, choose_column(field, {*taken, *undeclared.values()})):
            # All types are left if every value was a blank text.
            only_blank = types is not None and len(types) == len(SPELLED)
            suggested.append(Column(field, "text" if only_blank else types[0] if types else "json", "..."))
    return suggested
