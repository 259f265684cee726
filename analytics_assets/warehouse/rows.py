"""Hands rows to dlt as objects, for destinations whose json columns would take JSON in Arrow for a text."""

from collections.abc import Iterator
from typing import Any

import dlt
import pyarrow as pa
from dlt.common.schema.utils import has_table_seen_data
from dlt.extract.source import DltSource

from analytics_assets.api.incremental import is_end
from analytics_assets.api.listing import Listing
from analytics_assets.api.source import Position
from analytics_assets.api.values.arrow import undeclared_hints


def write_rows(source: DltSource, listing: Listing) -> None:
    """Appends a `RowsStep` to the steps of a resource. Its listing is cut when a load is large enough."""
    source.resources[listing.resource.name].add_step(RowsStep(listing), insert_at=Position.WRITER)


class RowsStep:
    """The last step of a resource: makes objects of its tables. dlt parses the JSON in them and writes the files."""

    def __init__(self, listing: Listing) -> None:
        self._name = listing.resource.name
        self._listing = listing
        self._rows = self._bytes = 0
        self._undeclared: dict[str, pa.Field] = {}

    def __call__(self, table: pa.Table, _meta: object = None) -> Iterator[Any]:
        """Yields the rows of one table, with hints for columns of undeclared fields that are new."""
        if is_end(table):
            if not has_table_seen_data(dlt.current.source_schema().tables.get(self._name, {})):
                # A resource without any row gets a table, too.
                yield dlt.mark.materialize_table_schema()
            return
        self._rows += table.num_rows
        self._bytes += table.nbytes
        self._listing.load_has(self._rows, self._bytes)
        new = {column.name: column for column in table.schema if column.metadata}
        rows: Any = table.to_pylist()
        if not self._undeclared.keys() >= new.keys():
            self._undeclared |= new
            hints = dlt.mark.make_hints(columns=undeclared_hints(pa.schema(self._undeclared.values())))
            rows = dlt.mark.with_hints(rows, hints)
        yield rows
