"""Learns the order of a listing from its tables, as they come."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pyarrow.compute as pc

from analytics_assets.api.catalog import Resource
from analytics_assets.api.order import MOST_DISORDER, DisorderError, Order
from analytics_assets.api.values.arrow import ARROW_TYPES, key_texts
from analytics_assets.api.values.columns import column_name, key_columns, key_text
from analytics_assets.api.witnesses import Witnesses

MICROSECOND = timedelta(microseconds=1)

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

AT, INDEX = ":at", ":index"
"""Columns of a candidate beside its key: its cursor value in microseconds since `EPOCH`, and how many rows came before
it. dlt gives no field these names."""

MOST_CANDIDATES = 100_000
"""Rows that are kept as possible anchors, to bound memory."""


@dataclass(slots=True)
class _Direction:
    """What is known of the rows so far, if they are to ascend or to descend. Points in time are in microseconds."""

    descending: bool
    extreme: int | None = None
    """The greatest point in time so far; the smallest one if the rows are to descend."""
    disorder: int = 0
    """The most by which a row is older than one before it; newer if the rows are to descend."""
    candidates: list[pa.Table] = field(default_factory=list)
    """Possible anchors: rows that none before them exceeds."""
    is_full: bool = False
    """Whether no further candidate is needed."""


class OrderTracker:
    """Follows the rows of one listing, over all loads in which it comes.

    Args:
        resource: The resource, which has a cursor.
        lag: How far before the cursor a sync reads.
        known: The order by which the listing is read; `None` if it is read whole.
        before: The order that was learned before; `None` if there is none.
        recent: Keys, as text, of rows that the new part of the listing had. A reading by the order has to meet them.
    """

    def __init__(
        self,
        resource: Resource,
        lag: timedelta,
        known: Order | None,
        before: Order | None = None,
        recent: Iterable[str] = (),
    ) -> None:
        self._key = key_columns(resource)
        self._cursor = column_name(resource.cursor or "")
        self._lag = lag // MICROSECOND
        self._known = known
        self._missed = set(recent) if known else set()
        self._most = (known.bound(lag) if known else MOST_DISORDER) // MICROSECOND
        self._rows = 0
        self._before = before
        self._proof: dict[str, int] | None = {} if resource.append_only else None
        is_known = known or resource.append_only or (before and before.witnesses is None)
        self._witnesses = None if is_known else Witnesses((before.witnesses if before else None) or {})
        self._anchor_index: int | None = None
        self._directions = [_Direction(descending) for descending in ([known.descending] if known else [False, True])]

    def take(self, table: "pa.Table", newest: datetime | None) -> None:
        """Follows the rows of a table, which has some.

        Args:
            table: The rows.
            newest: The newest cursor value of the listing so far that is not in the future.

        Raises:
            DisorderError: The rows are not in the order by which the listing is read.
        """
        if table[self._cursor].null_count:
            self._directions = []
        if self._known and (self._missed or self._anchor_index is None):
            keys = key_texts(table, self._key).to_pylist()
            self._missed.difference_update(keys)
            if self._known.anchor in keys:
                self._anchor_index = self._rows + keys.index(self._known.anchor)
        if self._directions:
            index = pa.array(range(self._rows, self._rows + len(table)), pa.int64())
            at = table[self._cursor].cast(pa.int64())
            rows = table.select(self._key).append_column(AT, at).append_column(INDEX, index)
            bound = self._most + self._lag * (self._known is None)
            oldest = None if newest is None else _microseconds(newest) - self._lag - bound
            for direction in self._directions:
                _follow(direction, rows, oldest)
            if self._witnesses:
                self._witnesses.take(key_texts(table, self._key), at)
            self._directions = [each for each in self._directions if each.disorder <= self._most]
        self._rows += len(table)
        if self._known and not self._directions:
            raise DisorderError("a row has no cursor value, or is out of the order that was learned")

    def learn(self, newest: datetime | None, moved: int, place: int | None) -> Order | None:
        """Returns the order, with an anchor for the next reading; `None` if there is no order, or no row is so old.

        Args:
            newest: The newest cursor value of the listing that is not in the future.
            moved: Rows by which the listing has moved forward while it was read.
            place: The place of the known anchor; `None` if the listing was read whole.

        Raises:
            DisorderError: The listing was read by its order, and lacks a row of its new part that it had before.
        """
        if self._missed:
            raise DisorderError("a row that was known is not where it has to be")
        if newest is None or not self._rows or not self._directions:
            return None
        best = min(self._directions, key=lambda each: each.disorder)
        bound = self._most if self._known else best.disorder + self._lag
        found = self._choose(best, _microseconds(newest) - self._lag - bound)
        if found is None:
            return replace(self._known, place=place) if self._known and place is not None else None
        key, at, index = found
        if place is not None and self._anchor_index is not None:
            away = index - self._anchor_index
            place += -away if best.descending else away - moved
        else:
            place = (self._rows - 1 - index if best.descending else index) - moved
        disorder = self._known.disorder if self._known else best.disorder / 1e6
        return Order(best.descending, disorder, key, EPOCH + at * MICROSECOND, place, self._remember(best))

    def _remember(self, direction: _Direction) -> dict[str, int] | None:
        """Returns the rows that may show that an edit moves them; `None` once one has."""
        before, witnesses = self._before, self._witnesses
        if witnesses is None:
            return self._proof
        is_same = before is not None and before.descending == direction.descending
        if before and is_same and witnesses.has_moved(round(before.disorder * 1e6), direction.disorder):
            return None
        return witnesses.remember()

    def _choose(self, direction: _Direction, before: int) -> tuple[str, int, int] | None:
        """Returns key, point in time and index of the candidate older than `before` that is next to those that are not.

        All rows on its other side are older than `before`, too.
        """
        candidates = pa.concat_tables(direction.candidates)
        old = candidates.filter(pc.less(candidates[AT], before))
        if not len(old):
            return None
        [row] = old.slice(0 if direction.descending else len(old) - 1, 1).to_pylist()
        key: Sequence[object] = [row[name] for name in self._key]
        return key_text(key[0] if len(key) == 1 else tuple(key)), row[AT], row[INDEX]


def _microseconds(moment: datetime) -> int:
    value: int = pa.scalar(moment, ARROW_TYPES["timestamp"]).value
    return value


def _follow(direction: _Direction, rows: "pa.Table", oldest: int | None) -> None:
    """Follows rows in one direction.

    Args:
        direction: What is known so far.
        rows: The rows, with the columns of a candidate.
        oldest: Of candidates older than this one is enough, the one next to the others.
    """
    descending = direction.descending
    extremes = (pc.cumulative_min if descending else pc.cumulative_max)(rows[AT], start=direction.extreme)
    out_of_order = pc.subtract(rows[AT], extremes) if descending else pc.subtract(extremes, rows[AT])
    direction.extreme = extremes[-1].as_py()
    direction.disorder = max(direction.disorder, pc.max(out_of_order).as_py())
    if direction.is_full:
        return
    direction.candidates.append(rows.filter(pc.equal(out_of_order, 0)))
    count = sum(map(len, direction.candidates))
    if descending:
        has_old = oldest is not None and direction.extreme is not None and direction.extreme < oldest
        direction.is_full = has_old or count > MOST_CANDIDATES
        return
    kept = pa.concat_tables(direction.candidates)
    old = pc.sum(pc.less(kept[AT], oldest)).as_py() or 0 if oldest is not None else 0
    direction.candidates = [kept.slice(max(0, old - 1, len(kept) - MOST_CANDIDATES))]
