"""The catalog as if somebody had edited it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from analytics_assets.api.catalog import Column
from analytics_assets_tests.support.eight import BY_NAME


@contextmanager
def edited(name: str, **fields: Any) -> Iterator[None]:
    """Sets fields of a resource's entry."""
    entry = BY_NAME[name]
    before = {field: getattr(entry, field) for field in fields}
    for field, value in fields.items():
        object.__setattr__(entry, field, value)
    try:
        yield
    finally:
        for field, value in before.items():
            object.__setattr__(entry, field, value)


def columns_with(name: str, *columns: Column) -> tuple[Column, ...]:
    """The declared columns of a resource, with these added or in place of those of the same name."""
    names = {column.name for column in columns}
    return (*(column for column in BY_NAME[name].columns if column.name not in names), *columns)
