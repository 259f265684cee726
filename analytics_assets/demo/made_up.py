"""Made-up rows of any resource, by the types of its columns, so that the demo API serves what the catalog lists.

Like those of `data.py` they are a pure function of the time. Of events one happens every half an hour and is kept for
two weeks. Of other resources with a cursor one row is edited every half an hour, and one more comes a day.
"""

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any

from analytics_assets.api.catalog import Column, Resource
from analytics_assets.api.connector import Connector
from analytics_assets.api.dialects.base import Dialect
from analytics_assets.demo.data import LISTINGS, ORIGIN, read_listing
from analytics_assets.demo.exchange import Row, Rows

EVERY = timedelta(minutes=30)
"""Time from one new or edited row to the next."""

DAY = timedelta(days=1)

FIRST_ROWS = 40
"""Rows with which the demo's world begins."""

KEPT = timedelta(days=14)
"""How long events are kept."""

ABSENT_EVERY = 7
"""One in so many values is null, where null is accepted."""

REFERRED = 5
"""Rows of another resource, from the first on, to which rows refer."""

VALUES: dict[str, Callable[[str, int], Any]] = {
    "bigint": lambda _, number: number % 100,
    "bool": lambda _, number: number % 3 == 0,
    "date": lambda _, number: (ORIGIN - number * DAY).date().isoformat(),
    "decimal": lambda _, number: number / 4,
    "double": lambda _, number: number / 8,
    "json": lambda name, number: {name: [number]},
    "text": lambda name, number: f"{name} {number}",
    "timestamp": lambda _, number: ORIGIN - number * DAY,
}
"""Makes a value of a column, by its type, from the column's name and the number of the row."""


def rows_of(connector: Connector, dialect: Dialect) -> Rows:
    """The rows at the paths of a dialect: those of `data.py`, and made-up ones of the resources that it lacks."""
    made_up = {
        endpoint.path: (resource, endpoint)
        for resource in connector.resources
        if (endpoint := dialect.endpoints.get(resource.name)) and endpoint.path not in LISTINGS
    }

    def read(path: str, now: datetime) -> Sequence[Row] | None:
        if path not in made_up:
            return read_listing(path, now)
        resource, endpoint = made_up[path]
        rows = make_rows(resource, now)
        return sorted(rows, key=lambda row: row[str(resource.cursor)], reverse=True) if endpoint.newest_first else rows

    return read


def make_rows(resource: Resource, now: datetime) -> list[Row]:
    """The rows of a resource as of `now`. Their keys ascend."""
    return [_row(resource, number, min(moment, now)) for number, moment in _numbers(resource, now)]


def _numbers(resource: Resource, now: datetime) -> Iterator[tuple[int, datetime]]:
    """The number of each row, and its cursor value."""
    ticks = max(0, (now - ORIGIN) // EVERY)
    if resource.append_only:
        # The two weeks start at a midnight, so that a listing does not lose its first rows while it is being paged.
        midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
        for number in range(max(1, (midnight - KEPT - ORIGIN) // EVERY), ticks + 1):
            yield number, ORIGIN + number * EVERY
        return
    for number in range(1, FIRST_ROWS + 1):
        yield number, ORIGIN + (ticks - (ticks - number) % FIRST_ROWS) * EVERY
    for day in range(1, ticks * EVERY // DAY + 1 if resource.cursor else 1):
        yield FIRST_ROWS + day, ORIGIN + day * DAY


def _row(resource: Resource, number: int, moment: datetime) -> Row:
    row: Row = {}
    for place, column in enumerate(resource.columns):
        *outer, name = column.name.split(".")
        inner = row
        for key in outer:
            inner = inner.setdefault(key, {})
        inner[name] = moment if column.name == resource.cursor else _value(resource, column, number, place)
    return row


def _value(resource: Resource, column: Column, number: int, place: int) -> Any:  # noqa: ANN401 - as JSON has it
    if column.name in resource.key_names or column.references:
        number = number % REFERRED + 1 if column.references else number
        return number if column.type == "bigint" else f"{column.name}-{number:06}"
    if column.nullable and (number + place) % ABSENT_EVERY == 0:
        return None
    return VALUES[column.type](column.name, number)
