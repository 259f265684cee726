"""The two steps around dlt's `incremental`: they find out which rows are new or changed, and keep the cursor right.

dlt's `incremental` compares cursor values, and drops rows that an earlier sync has loaded. It has three shortcomings:

- A cursor value in the future would move the cursor past all rows to come. So at the end `ChangeFilter` sets the cursor
  to the newest value that is not in the future.
- A row without a cursor value would be loaded by every sync, because nothing tells whether it has changed.
- The rows of the lag would be loaded by every sync.

For the last two, `ChangeFilter` keeps a digest of each of these rows in the resource's state, and drops rows whose
digest is the same. dlt commits the state together with the rows.
"""

from collections.abc import Iterator
from datetime import datetime, timedelta
from hashlib import blake2b
from typing import Any

import dlt
import pyarrow as pa
import pyarrow.compute as pc
from dlt.common.json import json

from analytics_assets.api.intake import Intake
from analytics_assets.api.listing import Listing
from analytics_assets.api.order import DisorderError, has_order, read_order, write_order
from analytics_assets.api.order_tracker import OrderTracker
from analytics_assets.api.prefetch import Batch
from analytics_assets.api.reading import Gap, usual_lag, write_gap
from analytics_assets.api.values.arrow import key_texts, undeclared_hints
from analytics_assets.api.values.columns import column_name, key_columns, typed_columns, undeclared_columns

RECENT = "recent"
"""Key of the digests in the state of a resource."""

REMEMBERED_DIGESTS = 2_000
"""Most digests in the state, to bound its size. The next sync loads further rows again, which is harmless."""

END = {b"analytics": b"the listing ends here"}
"""Metadata of the empty table that marks the end of a listing."""


def is_end(table: "pa.Table") -> bool:
    """Whether a table is the mark of the end of a listing."""
    return bool(table.schema.metadata == END)


def with_undeclared_hints(table: "pa.Table") -> Any:  # noqa: ANN401 - dlt's own
    """The table, with what dlt has to know of columns of undeclared fields."""
    hints = undeclared_hints(table.schema)
    return dlt.mark.with_hints(table, dlt.mark.make_hints(columns=hints)) if hints else table


class BatchReader:
    """First step of every resource: turns batches into tables, and follows the cursor.

    If the API lists the newest rows first, the step stops the listing at the first table whose rows are all too old.

    Args:
        listing: The listing that the batches come from.
        start: Oldest cursor value to read if there is no cursor yet.
        lag: How far before the cursor to read.
        stateful: Whether the reading uses and moves the cursor; false for a window.
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
        """Yields the table of a batch, if it has rows, and after the last batch the mark of the end.

        Raises:
            PayloadError: Too many values of a column do not fit its type (rule V4).
            DisorderError: The listing is read by its order, and the rows are not in it.
        """
        [batch] = page
        self._intake = self._intake or self._begin()
        table = self._intake.take(batch)
        if table.num_rows:
            if self.cursor:
                self._follow(self._intake.newest(table))
            self._track(table)
            yield with_undeclared_hints(table)
        if batch.is_last:
            self._track(None)
            declared = [column.name for column in table.schema if not column.metadata]
            yield table.select(declared).slice(0, 0).replace_schema_metadata(END)

    def _track(self, table: "pa.Table | None") -> None:
        """Follows the order of the rows; without a table, their end."""
        tracker = self.listing.tracker
        if tracker is None:
            return
        try:
            if table is not None:
                tracker.take(table, self.stats.cursor_after)
            elif not self.listing.is_cut:
                self.stats.order = tracker.learn(self.stats.cursor_after, self.stats.moved, self.stats.place)
        except DisorderError as error:
            self.listing.doubt = str(error)
            raise

    def _begin(self) -> Intake:
        resource, settings = self.listing.resource, self.listing.settings
        name = resource.name
        if self.stateful and has_order(resource, settings):
            self.listing.tracker = self.listing.tracker or OrderTracker(
                resource,
                usual_lag(resource, settings),
                self.listing.order,
                read_order(dlt.current.resource_state(name)),
                dlt.current.resource_state(name).get(RECENT, ()),
            )
        if self.cursor:
            state = dlt.current.resource_state(name)
            if not self.stateful:
                # A window may load other versions of the rows whose digests are kept, so the digests become stale. Of
                # events there is one version, and their windows leave the state as it is.
                if not resource.append_only:
                    state.pop(RECENT, None)
            elif self.stats.cursor_before is None:
                cursor = state["incremental"][self.cursor]
                self.stats.start_before = cursor["start_value"]
                self.stats.cursor_before = self.stats.cursor_after = cursor["last_value"]
        columns = dlt.current.source_schema().tables.get(name, {}).get("columns", {})
        return Intake(self.listing, undeclared_columns(columns, resource), typed_columns(columns))

    def _follow(self, newest: datetime | None) -> None:
        if newest is None:
            return
        if self.stats.cursor_after and newest > self.stats.cursor_after:
            self.stats.cursor_after = newest
        if self.listing.endpoint.newest_first and newest < self.oldest_wanted():
            self.listing.stop()

    def oldest_wanted(self) -> datetime:
        """Returns the oldest cursor value that this sync has to read."""
        before = self.stats.cursor_before
        # Compares durations, because `before - lag` may lie before year 1, which Python cannot represent.
        return self.start if before is None or before - self.start < self.lag else before - self.lag


class ChangeFilter:
    """Step after dlt's incremental: drops rows of the lag that have not changed, and sets the cursor at the end.

    Args:
        reader: The first step of the same resource.
        cursor: Column of the cursor.
        lag: How far before the cursor the next sync starts; digests of these rows are kept.
        reload: Whether to drop nothing.
        keep: Whether to carry the digests of the previous sync over, because this sync reads older rows only.
    """

    def __init__(self, reader: BatchReader, cursor: str, lag: timedelta, *, reload: bool, keep: bool) -> None:
        self.reader = reader
        self.stats = reader.stats
        self.cursor = cursor
        self.lag = lag
        self.reload = reload
        self.keep = keep
        self._key = key_columns(reader.listing.resource)
        self._loaded: dict[str, str] | None = None
        self._recent: pa.Table | None = None
        if reader.listing.carried:
            (self._loaded, self._recent), reader.listing.carried = reader.listing.carried, None

    def __call__(self, table: "pa.Table", _meta: object = None) -> "pa.Table | None":
        """Returns the rows of a table that are new or changed; `None` if there are none."""
        state = dlt.current.resource_state(self.reader.listing.resource.name)
        if self._loaded is None:
            self._loaded = {} if self.reload else state.get(RECENT, {})
        if is_end(table):
            self._finish(state, self._loaded)
            return table
        # Which rows lie in the lag is only known at the end of the listing, so candidates are collected.
        known = table if self._recent is None else pa.concat_tables([self._recent, table], promote_options="default")
        self._recent = self._newest(known)
        return self._drop_known(table, self._loaded) if self._loaded else table

    def _drop_known(self, table: "pa.Table", loaded: dict[str, str]) -> "pa.Table | None":
        """Drops rows whose digest is as in `loaded`. Computes digests of rows with a key in `loaded` only."""
        keys = key_texts(table, self._key)
        positions = pc.indices_nonzero(pc.is_in(keys, pa.array(loaded, pa.string())))
        rows = zip(
            positions.to_pylist(), keys.take(positions).to_pylist(), table.take(positions).to_pylist(), strict=True
        )
        known = [position for position, key, row in rows if _digest(row) == loaded[key]]
        self.stats.rows_unchanged += len(known)
        if known:
            table = table.take(pa.array(sorted(set(range(table.num_rows)) - set(known)), pa.int64()))
        return table if table.num_rows else None

    def _newest(self, table: "pa.Table") -> "pa.Table":
        """Returns the rows in the lag before the newest cursor value so far, and those without a cursor value."""
        assert self.stats.cursor_after is not None  # noqa: S101 - the reader has set it
        horizon = pa.scalar(self.stats.cursor_after - self.lag)
        recent = pc.fill_null(pc.greater_equal(table[self.cursor], horizon), True)  # noqa: FBT003 - Arrow's
        return table.filter(recent).slice(0, REMEMBERED_DIGESTS)

    def _finish(self, state: dict[str, Any], loaded: dict[str, str]) -> None:
        """Writes cursor, digests and gap to the state. If dlt has moved the cursor into the future, this undoes it.

        The cursor moves at the end of the listing only: where it is cut, rows that are older may be still to come.
        """
        if self.reader.listing.is_cut:
            if self.stats.cursor_before is None or self.stats.cursor_before <= self.reader.start:
                # The place to begin is no cursor: another reading may have a better one.
                state.pop("incremental")
            else:
                state["incremental"][self.cursor]["last_value"] = self.stats.cursor_before
            # A run that dies now leaves rows that are newer than these digests.
            state.pop(RECENT, None)
            self.reader.listing.carried = loaded, self._recent
            return
        digests = dict(loaded) if self.keep else {}
        if self.stats.parents_gone:
            # The rows of a parent that comes back may be older than those of the others.
            self.stats.cursor_after = self.stats.cursor_before
        if self.stats.cursor_after is not None:
            state["incremental"][self.cursor]["last_value"] = self.stats.cursor_after
            if self.stats.cursor_after == self.stats.cursor_before:
                # dlt moves it although nothing is new, because the mark of the end passes. A state that is as it was
                # needs no load.
                state["incremental"][self.cursor]["start_value"] = self.stats.start_before
            if self._recent is not None:
                for key, digest in self._digests(self._newest(self._recent)).items():
                    if len(digests) < REMEMBERED_DIGESTS:
                        digests[key] = digest
        state[RECENT] = digests
        write_order(state, self.stats.order)
        if self.reader.listing.is_sliced:
            left_at = self.stats.left_at
            self.stats.gap = None if left_at is None else Gap(left_at, self.reader.oldest_wanted())
            write_gap(state, self.stats.gap)

    def _digests(self, rows: "pa.Table") -> dict[str, str]:
        """Returns the digests of rows by key, without rows that were edited while they were listed.

        The listing has two versions of such a row. If both have one cursor value, a merge may keep either.
        """
        digests: dict[str, str] = {}
        edited = set()
        for key, row in zip(key_texts(rows, self._key).to_pylist(), rows.to_pylist(), strict=True):
            digest = _digest(row)
            if digests.setdefault(key, digest) != digest:
                edited.add(key)
        return {key: digest for key, digest in digests.items() if key not in edited}


def _digest(row: dict[str, Any]) -> str:
    """Hashes the values of a row that are not null, so that a column that only other rows have does not change it."""
    values = {name: value for name, value in row.items() if value is not None}
    return blake2b(json.dumpb(values, sort_keys=True), digest_size=8).hexdigest()
