"""Takes in the batches of a listing: gives fields their columns, counts rows and values."""

from datetime import UTC, datetime
from math import ceil

import pyarrow as pa
import pyarrow.compute as pc

from analytics_assets.api.catalog import PRIMARY_KEY
from analytics_assets.api.http.errors import PayloadError, shortened
from analytics_assets.api.listing import Listing
from analytics_assets.api.prefetch import Batch
from analytics_assets.api.stats import Misfits
from analytics_assets.api.values.arrow import misfits, spread
from analytics_assets.api.values.columns import column_name
from analytics_assets.api.values.timestamps import CLOCK_SKEW

TOLERATED = 10
"""Values of a column that may not fit it, whatever share of all they are."""

SHOWN_IDS = 5


class Intake:
    """What comes in: gives fields their columns, and counts rows and values.

    Args:
        listing: What is read; its report is counted in.
        undeclared: The columns that fields have which the catalogue does not know, by field.
    """

    def __init__(self, listing: Listing, undeclared: dict[str, str]) -> None:
        self.listing = listing
        self.undeclared = undeclared
        self.resource = listing.resource
        self.stats = listing.stats
        self.cursor = column_name(self.resource.cursor) if self.resource.cursor else None
        self._horizon = pa.scalar(datetime.now(UTC) + CLOCK_SKEW)
        self._declared = {column.name for column in self.resource.columns}

    def take(self, batch: Batch) -> "pa.Table":
        """The table of a batch, with all its columns.

        Raises:
            PayloadError: It is the last, and so many values of a column do not fit it that the API has changed.
        """
        table = spread(batch.table, self.resource, self.undeclared)
        self.stats.rows_read += table.num_rows
        for column in self.resource.columns:
            self.stats.values[column.name] += table.num_rows - table[column_name(column.name)].null_count
        for key, name, value in misfits(table):
            if name in self._declared:
                found = self.stats.misfits.setdefault(name, Misfits())
                found.count += 1
                self.stats.values[name] += 1
                if found.count <= SHOWN_IDS:
                    found.ids.append(key)
                    found.example = found.example or value
            # What has no column at all is there for want of one.
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
        """The newest cursor value that is not in the future."""
        moments = table[self.cursor]
        found: datetime | None = pc.max(moments.filter(pc.less_equal(moments, self._horizon))).as_py()
        return found

    def _check_fit(self) -> None:
        share = self.listing.settings.max_rescued_share
        for column in self.resource.columns:
            found, values = self.stats.misfits.get(column.name, Misfits()), self.stats.values[column.name]
            if found.count <= TOLERATED or found.count <= share * values:
                continue
            what = f", such as {shortened(found.example)}" if found.example and not self.resource.is_sensitive else ""
            # The slices before are loaded.
            loaded = "Nothing more" if self.listing.is_sliced else "Nothing"
            raise PayloadError(
                f"{self.resource.name}: {found.count:,} of {values:,} values of {column.name!r} do not fit its type"
                f" {column.type}{what}, in the rows with {PRIMARY_KEY} {', '.join(map(shortened, found.ids))}. {loaded}"
                " was loaded. If the API has changed, declare the type that comes now in api/catalog.py (json holds"
                " every value) and run with mode: rebuild, in the op's run config. If such values are to be kept in"
                f" _rescued_data instead, raise sources.analytics.max_rescued_share (now {share:g}) to"
                f" {ceil(100 * found.count / values) / 100:g} or more in .dlt/config.toml; what is behind the cursor"
                " comes with mode: full."
            )
