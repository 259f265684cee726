"""From the rows of a page to the rows that are loaded: points in time, cursors, and what the lag reads again.

dlt's `incremental` stands between the two steps below. It compares the cursor values, which `PageReader` has made UTC
instants, and filters what an earlier sync has loaded. Three things it leaves open:

- A cursor value in the future would move the cursor past everything to come. It is taken aside, so that dlt sees a row
  without a cursor, and put back.
- A row without a cursor value is loaded in every sync, as nothing tells whether it changed.
- With a lag, the rows of the last stretch are read and loaded in every sync.

For the last two, `PageSettler` remembers a digest of these few rows in the resource's state, which dlt commits together
with the data, and drops those that have not changed.
"""

from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from typing import Any

import dlt
import pyarrow as pa
import pyarrow.compute as pc
from dlt.common.json import json

from analytics_assets.api.catalog import PRIMARY_KEY
from analytics_assets.api.guards import PayloadError
from analytics_assets.api.instants import CLOCK_SKEW, parse_instant
from analytics_assets.api.listing import Listing
from analytics_assets.api.slices import Gap, write_gap
from analytics_assets.api.tables import to_values

Row = dict[str, Any]
Page = list[Row]

REMEMBERED_ROWS = 2_000
"""Digests kept at most, to bound the state; rows beyond it are loaded again in the next sync, which is harmless."""

ASIDE = "\0future"


class PageReader:
    """First step of every resource: reads points in time, counts rows, follows the cursor.

    Where the newest rows come first, the listing ends with the page that is older than what is wanted: `lag` before the
    cursor, or `start`.
    """

    def __init__(self, listing: Listing, start: datetime, lag: timedelta, *, stateful: bool) -> None:
        self.listing = listing
        self.resource = listing.resource
        self.report = listing.report
        self.start = start
        self.lag = lag
        self.stateful = stateful
        self.instants = [column.name for column in listing.resource.columns if column.type == "timestamp"]
        self.horizon = datetime.now(UTC) + CLOCK_SKEW

    def __call__(self, page: "Page | list[pa.Table]", _meta: object = None) -> "Page | pa.Table":
        """Returns the page's table, or its rows, changed in place.

        Raises:
            PayloadError: A declared timestamp is not a point in time.
        """
        if not page and not self.report.rows_read:
            # An endpoint without any row has a table, too.
            return dlt.mark.materialize_table_schema()
        self._begin()
        if page and isinstance(page[0], pa.Table):
            return self._read_table(page[0])
        return self._read_rows(page)

    def _read_table(self, table: "pa.Table") -> "pa.Table":
        self.report.rows_read += table.num_rows
        if self.resource.cursor:
            moments = table[self.resource.cursor]
            self.report.rows_without_cursor += moments.null_count
            self._follow_newest(pc.max(moments).as_py())
        return table

    def _read_rows(self, page: Page) -> Page:
        self.report.rows_read += len(page)
        for row in page:
            for name in self.instants:
                if row.get(name) is not None:
                    row[name] = self._instant(row, name)
        if self.resource.cursor:
            self._follow(page, self.resource.cursor)
        return page

    def _instant(self, row: Row, name: str) -> datetime:
        try:
            return parse_instant(row[name])
        except ValueError as error:
            raise PayloadError(
                f"{self.resource.name}: the row with {PRIMARY_KEY} {row[PRIMARY_KEY]!r} has {name} = {row[name]!r:.60},"
                " which is neither an ISO 8601 date-time nor epoch seconds."
            ) from error

    def _begin(self) -> None:
        if not self.resource.cursor:
            return
        state = dlt.current.resource_state(self.resource.name)
        if not self.stateful:
            # A window may load other versions of the rows that the digests stand for.
            state.pop("recent", None)
        elif self.report.cursor_before is None:
            stands = state["incremental"][self.resource.cursor]["last_value"]
            self.report.cursor_before = self.report.cursor_after = stands

    def _follow(self, page: Page, cursor: str) -> None:
        newest = None
        for row in page:
            moment = row.get(cursor)
            if moment is None:
                self.report.rows_without_cursor += 1
            elif moment > self.horizon:
                self.report.rows_in_future += 1
                if self.stateful:
                    row[ASIDE] = moment
                    row[cursor] = None
            elif newest is None or moment > newest:
                newest = moment
        self._follow_newest(newest)

    def _follow_newest(self, newest: datetime | None) -> None:
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
        self._digests: dict[str, str] = {}
        self._moments: dict[str, datetime | None] = {}
        self._recent: pa.Table | None = None

    def __call__(self, page: "Page | pa.Table", _meta: object = None) -> "Page | pa.Table | None":
        """Returns the rows of the page that are new or changed."""
        state = dlt.current.resource_state(self.reader.resource.name)
        if not isinstance(page, pa.Table) and not page:
            self._finish(state)
            return page
        if self._loaded is None:
            self._loaded = {} if self.reload else state.get("recent", {})
            if self.keep:
                self._digests.update(self._loaded)
            state["recent"] = self._digests
        assert self.report.cursor_after is not None  # noqa: S101 - the reader has set it
        horizon = self.report.cursor_after - self.lag
        self._forget(horizon)
        if isinstance(page, pa.Table):
            return self._settle_table(page, horizon, self._loaded)
        return [row for row in page if self._is_news_row(row, horizon, self._loaded)]

    def _settle_table(self, table: "pa.Table", horizon: datetime, loaded: dict[str, str]) -> "pa.Table | None":
        """Looks at those rows only that were loaded by the last sync; recent ones wait for the end of the listing."""
        self._recent = self._newest(table if self._recent is None else pa.concat_tables([self._recent, table]), horizon)
        if not loaded:
            return table
        positions = pc.indices_nonzero(
            pc.is_in(pc.cast(table[PRIMARY_KEY], pa.string()), pa.array(loaded, pa.string()))
        )
        rows = table.take(positions).to_pylist()
        known = [
            position
            for position, row in zip(positions.to_pylist(), rows, strict=True)
            if self._digest(row) == loaded[str(row[PRIMARY_KEY])]
        ]
        self.report.rows_unchanged += len(known)
        if known:
            table = table.take(pa.array(sorted(set(range(table.num_rows)) - set(known)), pa.int64()))
        return table if table.num_rows else None

    def _newest(self, table: "pa.Table", horizon: datetime) -> "pa.Table":
        """The recent rows of a table, of which most are so for a moment only: the horizon moves with each page."""
        recent = pc.fill_null(pc.greater_equal(table[self.cursor], pa.scalar(horizon)), True)  # noqa: FBT003 - Arrow's
        return table.filter(recent).slice(0, REMEMBERED_ROWS)

    def _is_news_row(self, row: Row, horizon: datetime, loaded: dict[str, str]) -> bool:
        moment = row.get(self.cursor)
        if ASIDE in row:
            row[self.cursor] = row.pop(ASIDE)
        recent = moment is None or moment >= horizon
        key = str(row[PRIMARY_KEY])
        if not recent and key not in loaded:
            return True
        digest = self._digest(to_values(row, self.reader.resource))
        if recent and len(self._digests) < REMEMBERED_ROWS:
            self._digests[key] = digest
            self._moments[key] = moment
        if loaded.get(key) == digest:
            self.report.rows_unchanged += 1
            return False
        return True

    def _digest(self, row: Row) -> str:
        return blake2b(json.dumpb(row, sort_keys=True), digest_size=8).hexdigest()

    def _forget(self, horizon: datetime) -> None:
        gone = [key for key, moment in self._moments.items() if moment is not None and moment < horizon]
        for key in gone:
            del self._digests[key], self._moments[key]

    def _finish(self, state: dict[str, Any]) -> None:
        """Puts the cursor where the listing has brought it.

        dlt follows it for rows and for tables apart; without a lag the one that came last would win.
        """
        if self.report.cursor_after is not None:
            state["incremental"][self.cursor]["last_value"] = self.report.cursor_after
            if self._recent is not None:
                for row in self._newest(self._recent, self.report.cursor_after - self.lag).to_pylist():
                    if len(self._digests) < REMEMBERED_ROWS:
                        self._digests[str(row[PRIMARY_KEY])] = self._digest(row)
        if self.reader.listing.is_sliced:
            left_at = self.report.left_at
            self.report.gap = None if left_at is None else Gap(left_at, self.reader.oldest_wanted())
            write_gap(state, self.report.gap)
