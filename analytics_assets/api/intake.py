"""Takes in the batches of a listing: gives fields their columns, and counts rows and values."""

from collections.abc import Collection
from datetime import UTC, datetime
from math import ceil

import pyarrow as pa
import pyarrow.compute as pc

from analytics_assets.api.http.errors import PayloadError, shortened
from analytics_assets.api.listing import Listing
from analytics_assets.api.prefetch import Batch
from analytics_assets.api.stats import Misfits
from analytics_assets.api.values.arrow import misfits, spread
from analytics_assets.api.values.columns import column_name
from analytics_assets.api.values.timestamps import CLOCK_SKEW

TOLERATED = 10
"""Values of a column that may not fit it, however large their share is: in a short listing one is a large share."""

SHOWN_IDS = 5
"""Rows with a misfit that an error names by id."""


class Intake:
    """Turns the batches of a listing into tables with all columns, and counts in the listing's stats.

    Args:
        listing: The listing that the batches come from.
        undeclared: The columns of undeclared fields, by field. New fields are added to it.
        typed: Further columns of the table, whose names no undeclared field may have.
    """

    def __init__(self, listing: Listing, undeclared: dict[str, str], typed: Collection[str] = ()) -> None:
        self.listing = listing
        self.undeclared = undeclared
        self.typed = typed
        self.resource = listing.resource
        self.stats = listing.stats
        self.cursor = column_name(self.resource.cursor) if self.resource.cursor else None
        self._horizon = pa.scalar(datetime.now(UTC) + CLOCK_SKEW)
        self._declared = {column.name for column in self.resource.columns}

    def take(self, batch: Batch) -> "pa.Table":
        """Returns the table of a batch, with a column for each declared and undeclared field.

        Raises:
            PayloadError: The batch is the last of a load, and the misfits of a column exceed `max_rescued_share` (V4).
        """
        table = spread(batch.table, self.resource, self.undeclared, self.typed)
        self.stats.rows_read += table.num_rows
        for column in self.resource.columns:
            self.stats.values[column.name] += table.num_rows - table[column_name(column.name)].null_count
        for key, name, value in misfits(table, self.resource):
            if name in self._declared:
                found = self.stats.misfits.setdefault(name, Misfits())
                found.count += 1
                self.stats.values[name] += 1
                if found.count <= SHOWN_IDS:
                    found.ids.append(key)
                    found.example = found.example or value
            # A field beyond `MOST_COLUMNS` is not counted: it has no column that its value could fit.
            self.stats.values_rescued += name in self._declared or name in self.undeclared
        if self.cursor:
            self.stats.rows_without_cursor += table[self.cursor].null_count
            self.stats.rows_in_future += pc.sum(pc.greater(table[self.cursor], self._horizon)).as_py() or 0
        self.stats.is_read = batch.is_last
        self.listing.watch()
        if batch.is_last:
            self._check_fit()
        return table

    def newest(self, table: "pa.Table") -> datetime | None:
        """Returns the newest cursor value of a table that is not in the future; `None` if there is none."""
        timestamps = table[self.cursor]
        found: datetime | None = pc.max(timestamps.filter(pc.less_equal(timestamps, self._horizon))).as_py()
        return found

    def _check_fit(self) -> None:
        share = self.listing.settings.max_rescued_share
        for column in self.resource.columns:
            found, values = self.stats.misfits.get(column.name, Misfits()), self.stats.values[column.name]
            if found.count <= TOLERATED or found.count <= share * values:
                continue
            example = shortened(found.example) if found.example and not self.resource.is_sensitive else ""
            such_as = f", such as {example}" if example else ""
            rows = f"{self.resource.key_label} {', '.join(map(shortened, found.ids))}"
            setting = self.listing.settings.connector.setting("max_rescued_share")
            # Earlier slices of the same sync are committed already.
            loaded = "Nothing more" if self.listing.is_sliced or self.listing.cuts > self.listing.is_cut else "Nothing"
            raise PayloadError(
                f"{self.resource.name}: {found.count:,} of {values:,} values of {column.name!r} do not fit its type"
                f" {column.type}{such_as}, in the rows with {rows}."
                f" {loaded} was loaded. If the API has changed, declare the type that it sends now in the catalog"
                " (json holds every value) and run with mode: rebuild, in the op's run config. To keep such values in"
                f" _rescued_data instead, raise {setting} (now {share:g}) to"
                f" {ceil(100 * found.count / values) / 100:g} or more in .dlt/config.toml, and run once with"
                " mode: full to load the rows that are behind the cursor."
            )
