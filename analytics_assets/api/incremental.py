"""From the batches of a listing to the rows that are loaded: columns, cursors, and what the lag reads again.

dlt's `incremental` stands between the two steps below. It compares the cursor values and filters what an earlier sync
has loaded. Three things it leaves open:

- A cursor value in the future would move the cursor past everything to come. So the cursor is put in the end where the
  rows have brought it that are not in the future.
- A row without a cursor value is loaded in every sync, as nothing tells whether it changed.
- With a lag, the rows of the last stretch are read and loaded in every sync.

For the last two, `PageSettler` remembers a digest of these few rows in the resource's state, which dlt commits together
with the data, and drops those that have not changed.
"""

from collections.abc import Iterator
from datetime import datetime, timedelta
from hashlib import blake2b
from typing import Any

import dlt
import pyarrow as pa
import pyarrow.compute as pc
from dlt.common.json import json

from analytics_assets.api.catalog import PRIMARY_KEY
from analytics_assets.api.intake import Intake
from analytics_assets.api.listing import Listing
from analytics_assets.api.prefetch import Batch
from analytics_assets.api.reading import Gap, write_gap
from analytics_assets.api.values.arrow import undeclared_hints
from analytics_assets.api.values.columns import column_name, undeclared_columns

REMEMBERED_DIGESTS = 2_000
"""Digests kept at most, to bound the state; rows beyond it are loaded again in the next sync, which is harmless."""

END = {b"analytics": b"the listing ends here"}
"""Metadata of the table without rows that follows the last one."""


def is_end(table: "pa.Table") -> bool:
    """Whether no table of the listing follows."""
    return bool(table.schema.metadata == END)


class BatchReader:
    """First step of every resource: takes in what comes, and follows the cursor.

    Where the newest rows come first, the listing ends with the page that is older than what is wanted: `lag` before the
    cursor, or `start`.
    """

    def __init__(self, listing: Listing, start: datetime, lag: timedelta, *, stateful: bool) -> None:
        self.listing = listing
        self.stats = listing.stats
        self.start = start
        self.lag = lag
        self.stateful = stateful
        self.cursor = column_name(listing.resource.cursor) if listing.resource.cursor else None
        self._intake: Intake | None = None

    def __call__(self, page: list[Batch], _meta: object = None) -> Iterator[Any]:
        """Yields the table of a batch, and after the last one the mark of the end.

        Raises:
            PayloadError: As `Intake.take` does.
        """
        [batch] = page
        self._intake = self._intake or self._begin()
        table = self._intake.take(batch)
        if table.num_rows:
            if self.cursor:
                self._follow(self._intake.newest(table))
            hints = undeclared_hints(table.schema)
            yield dlt.mark.with_hints(table, dlt.mark.make_hints(columns=hints)) if hints else table
        if batch.is_last:
            declared = [column.name for column in table.schema if not column.metadata]
            yield table.select(declared).slice(0, 0).replace_schema_metadata(END)

    def _begin(self) -> Intake:
        name = self.listing.resource.name
        if self.cursor:
            state = dlt.current.resource_state(name)
            if not self.stateful:
                # A window may load other versions of the rows that the digests stand for.
                state.pop("recent", None)
            elif self.stats.cursor_before is None:
                stands = state["incremental"][self.cursor]["last_value"]
                self.stats.cursor_before = self.stats.cursor_after = stands
        table = dlt.current.source_schema().tables.get(name, {})
        return Intake(self.listing, undeclared_columns(table.get("columns", {}), self.listing.resource))

    def _follow(self, newest: datetime | None) -> None:
        if newest is None:
            return
        if self.stats.cursor_after and newest > self.stats.cursor_after:
            self.stats.cursor_after = newest
        if self.listing.endpoint.newest_first and newest < self.oldest_wanted():
            self.listing.stop()

    def oldest_wanted(self) -> datetime:
        """The cursor value from which on rows are news."""
        before = self.stats.cursor_before
        # A lag beyond the beginning of time stands for everything.
        return self.start if before is None or before - self.start < self.lag else before - self.lag


class ChangeFilter:
    """Last step of an incremental resource: drops what was loaded before and has not changed since.

    With `reload` it drops nothing; with `keep` it remembers what the sync before has, too, as older rows are read.
    """

    def __init__(self, reader: BatchReader, cursor: str, lag: timedelta, *, reload: bool, keep: bool) -> None:
        self.reader = reader
        self.stats = reader.stats
        self.cursor = cursor
        self.lag = lag
        self.reload = reload
        self.keep = keep
        self._loaded: dict[str, str] | None = None
        self._recent: pa.Table | None = None

    def __call__(self, table: "pa.Table", _meta: object = None) -> "pa.Table | None":
        """Returns the rows of the table that are new or changed."""
        state = dlt.current.resource_state(self.reader.listing.resource.name)
        if self._loaded is None:
            self._loaded = {} if self.reload else state.get("recent", {})
        if is_end(table):
            self._finish(state, self._loaded)
            return table
        # Recent rows wait for the end of the listing, when it is known which are.
        known = table if self._recent is None else pa.concat_tables([self._recent, table], promote_options="default")
        self._recent = self._newest(known)
        return self._drop_known(table, self._loaded) if self._loaded else table

    def _drop_known(self, table: "pa.Table", loaded: dict[str, str]) -> "pa.Table | None":
        """Looks at those rows only that were loaded by the last sync."""
        positions = pc.indices_nonzero(
            pc.is_in(pc.cast(table[PRIMARY_KEY], pa.string()), pa.array(loaded, pa.string()))
        )
        rows = table.take(positions).to_pylist()
        known = [
            position
            for position, row in zip(positions.to_pylist(), rows, strict=True)
            if _digest(row) == loaded[str(row[PRIMARY_KEY])]
        ]
        self.stats.rows_unchanged += len(known)
        if known:
            table = table.take(pa.array(sorted(set(range(table.num_rows)) - set(known)), pa.int64()))
        return table if table.num_rows else None

    def _newest(self, table: "pa.Table") -> "pa.Table":
        """The recent rows of a table, of which most are so for a moment only: the horizon moves with each page."""
        assert self.stats.cursor_after is not None  # noqa: S101 - the reader has set it
        horizon = pa.scalar(self.stats.cursor_after - self.lag)
        recent = pc.fill_null(pc.greater_equal(table[self.cursor], horizon), True)  # noqa: FBT003 - Arrow's
        return table.filter(recent).slice(0, REMEMBERED_DIGESTS)

    def _finish(self, state: dict[str, Any], loaded: dict[str, str]) -> None:
        """Puts the cursor where the listing has brought it, which may be less far than dlt has."""
        digests = dict(loaded) if self.keep else {}
        if self.stats.cursor_after is not None:
            state["incremental"][self.cursor]["last_value"] = self.stats.cursor_after
            if self._recent is not None:
                for row in self._newest(self._recent).to_pylist():
                    if len(digests) < REMEMBERED_DIGESTS:
                        digests[str(row[PRIMARY_KEY])] = _digest(row)
        state["recent"] = digests
        if self.reader.listing.is_sliced:
            left_at = self.stats.left_at
            self.stats.gap = None if left_at is None else Gap(left_at, self.reader.oldest_wanted())
            write_gap(state, self.stats.gap)


def _digest(row: dict[str, Any]) -> str:
    """Of what is in the row: a column that another row has brought does not change it."""
    there = {name: value for name, value in row.items() if value is not None}
    return blake2b(json.dumpb(there, sort_keys=True), digest_size=8).hexdigest()
