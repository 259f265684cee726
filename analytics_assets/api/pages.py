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
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from math import ceil
from typing import Any

import dlt
import pyarrow as pa
import pyarrow.compute as pc
from dlt.common.json import json

from analytics_assets.api.catalog import PRIMARY_KEY
from analytics_assets.api.guards import PayloadError, shortened
from analytics_assets.api.listing import Batch, Listing
from analytics_assets.api.report import Gap, Misfits, write_gap
from analytics_assets.api.source import undeclared_columns
from analytics_assets.api.tables import misfits, spread, undeclared_hints
from analytics_assets.api.values import CLOCK_SKEW, column_name

REMEMBERED_ROWS = 2_000
"""Digests kept at most, to bound the state; rows beyond it are loaded again in the next sync, which is harmless."""

TOLERATED = 10
"""Values of a column that may not fit it, whatever share of all they are."""

SHOWN_IDS = 5

END = {b"analytics": b"the listing ends here"}
"""Metadata of the table without rows that follows the last one."""


def is_end(table: "pa.Table") -> bool:
    """Whether no table of the listing follows."""
    return bool(table.schema.metadata == END)


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
        self.report = listing.report
        self.cursor = column_name(self.resource.cursor) if self.resource.cursor else None
        self._horizon = pa.scalar(datetime.now(UTC) + CLOCK_SKEW)
        self._declared = {column.name for column in self.resource.columns}

    def take(self, batch: Batch) -> "pa.Table":
        """The table of a batch, with all its columns.

        Raises:
            PayloadError: It is the last, and so many values of a column do not fit it that the API has changed.
        """
        table = spread(batch.table, self.resource, self.undeclared)
        self.report.rows_read += table.num_rows
        for column in self.resource.columns:
            self.report.values[column.name] += table.num_rows - table[column_name(column.name)].null_count
        for key, name, value in misfits(table):
            if name in self._declared:
                found = self.report.misfits.setdefault(name, Misfits())
                found.count += 1
                self.report.values[name] += 1
                if found.count <= SHOWN_IDS:
                    found.ids.append(key)
                    found.example = found.example or value
            # What has no column at all is there for want of one.
            self.report.values_rescued += name in self._declared or name in self.undeclared
        if self.cursor:
            self.report.rows_without_cursor += table[self.cursor].null_count
            self.report.rows_in_future += pc.sum(pc.greater(table[self.cursor], self._horizon)).as_py() or 0
        self.report.is_read = batch.is_last
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
            found, values = self.report.misfits.get(column.name, Misfits()), self.report.values[column.name]
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


class PageReader:
    """First step of every resource: takes in what comes, and follows the cursor.

    Where the newest rows come first, the listing ends with the page that is older than what is wanted: `lag` before the
    cursor, or `start`.
    """

    def __init__(self, listing: Listing, start: datetime, lag: timedelta, *, stateful: bool) -> None:
        self.listing = listing
        self.report = listing.report
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
            elif self.report.cursor_before is None:
                stands = state["incremental"][self.cursor]["last_value"]
                self.report.cursor_before = self.report.cursor_after = stands
        table = dlt.current.source_schema().tables.get(name, {})
        return Intake(self.listing, undeclared_columns(table.get("columns", {}), self.listing.resource))

    def _follow(self, newest: datetime | None) -> None:
        if newest is None:
            return
        if self.report.cursor_after and newest > self.report.cursor_after:
            self.report.cursor_after = newest
        if self.listing.endpoint.newest_first and newest < self.oldest_wanted():
            self.listing.stop()

    def oldest_wanted(self) -> datetime:
        """The cursor value from which on rows are news."""
        before = self.report.cursor_before
        # A lag beyond the beginning of time stands for everything.
        return self.start if before is None or before - self.start < self.lag else before - self.lag


class PageSettler:
    """Last step of an incremental resource: drops what was loaded before and has not changed since.

    With `reload` it drops nothing; with `keep` it remembers what the sync before has, too, as older rows are read.
    """

    def __init__(self, reader: PageReader, cursor: str, lag: timedelta, *, reload: bool, keep: bool) -> None:
        self.reader = reader
        self.report = reader.report
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
        self.report.rows_unchanged += len(known)
        if known:
            table = table.take(pa.array(sorted(set(range(table.num_rows)) - set(known)), pa.int64()))
        return table if table.num_rows else None

    def _newest(self, table: "pa.Table") -> "pa.Table":
        """The recent rows of a table, of which most are so for a moment only: the horizon moves with each page."""
        assert self.report.cursor_after is not None  # noqa: S101 - the reader has set it
        horizon = pa.scalar(self.report.cursor_after - self.lag)
        recent = pc.fill_null(pc.greater_equal(table[self.cursor], horizon), True)  # noqa: FBT003 - Arrow's
        return table.filter(recent).slice(0, REMEMBERED_ROWS)

    def _finish(self, state: dict[str, Any], loaded: dict[str, str]) -> None:
        """Puts the cursor where the listing has brought it, which may be less far than dlt has."""
        digests = dict(loaded) if self.keep else {}
        if self.report.cursor_after is not None:
            state["incremental"][self.cursor]["last_value"] = self.report.cursor_after
            if self._recent is not None:
                for row in self._newest(self._recent).to_pylist():
                    if len(digests) < REMEMBERED_ROWS:
                        digests[str(row[PRIMARY_KEY])] = _digest(row)
        state["recent"] = digests
        if self.reader.listing.is_sliced:
            left_at = self.report.left_at
            self.report.gap = None if left_at is None else Gap(left_at, self.reader.oldest_wanted())
            write_gap(state, self.report.gap)


def _digest(row: dict[str, Any]) -> str:
    """Of what is in the row: a column that another row has brought does not change it."""
    there = {name: value for name, value in row.items() if value is not None}
    return blake2b(json.dumpb(there, sort_keys=True), digest_size=8).hexdigest()
