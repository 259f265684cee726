"""What the product promises of a table, in a few lines: without dlt's state, digests, pages or SQL."""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

from analytics_assets_tests.support.nursery import (
    AFTER,
    DROPPED,
    MERGED,
    PREPARED,
    STEPS,
)
from analytics_assets_tests.support.rows import activity, organization, policy

Mode = Literal["incremental", "full", "rebuild"]


START = 1704067200
"""The default start date, 2024-01-01, in epoch seconds as all points in time here."""


INITIALLY = START + 120 * 86_400


BEFORE_START = START - 1


FUTURE = 32_503_680_000


MAX_DELETED_SHARE = 0.5


class Kind(NamedTuple):
    """What the product promises of a resource; repeated here, as the catalog is under test, too."""

    build: Callable[..., dict[str, Any]]
    content: str
    field: str | None = None
    column: str = "NULL::timestamp"
    lag: int = 0
    marked_in: tuple[Mode, ...] = ()


KINDS = {
    "organizations": Kind(organization, "name", marked_in=("incremental", "full")),
    "policies": Kind(policy, "name", "updated", "updated", lag=60, marked_in=("full",)),
    "activities": Kind(activity, "message", "activityTime", "activity_time", lag=300),
}


class Row(NamedTuple):
    """A row upstream or in the table."""

    content: str
    moment: int | None
    gone: bool = False


class Model:
    """What the table of one resource has to hold.

    It is `torn` from a kill after the merge until the next load with rows: the table is ahead of the cursor.
    """

    def __init__(self, kind: Kind) -> None:
        self.kind = kind
        self.rows: dict[int, Row] = {}
        self.cursor = START
        self.torn = False

    def sync(self, listing: dict[int, Row], mode: Mode, killed_at: str | None = None) -> bool:
        """Loads a listing, up to the point of a kill if there is one; says whether the sync succeeds."""
        if killed_at in STEPS:
            return False
        if self.torn and mode == "incremental":
            mode = "full"
        cursor = self.cursor
        if mode == "rebuild" or not self.rows:
            self.rows, cursor = {}, START
        if killed_at in {DROPPED, PREPARED}:
            return False
        since = max(START, cursor - self.kind.lag) if mode == "incremental" else START
        loaded = {id_: row for id_, row in listing.items() if row.moment is None or row.moment >= since}
        self.rows |= loaded
        if killed_at == MERGED:
            return False
        self.cursor = max([cursor, *(row.moment for row in loaded.values() if row.moment not in {None, FUTURE})])
        self.torn = self.torn and not loaded
        return killed_at != AFTER and (mode not in self.kind.marked_in or self._mark_all_but(loaded))

    def _mark_all_but(self, loaded: dict[int, Row]) -> bool:
        live = [id_ for id_, row in self.rows.items() if not row.gone]
        missing = [id_ for id_ in live if id_ not in loaded]
        if len(missing) > MAX_DELETED_SHARE * len(live):
            return False
        self.rows |= {id_: self.rows[id_]._replace(gone=True) for id_ in missing}
        return True
