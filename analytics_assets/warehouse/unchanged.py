"""Keeps a complete listing from being loaded again when it is as it was.

A resource without a cursor is listed whole by every sync. Loading the same rows again would write to the warehouse
every hour, and would make the copy for readers anew, for nothing.
"""

from collections.abc import Iterator
from hashlib import blake2b
from typing import Any

import dlt
import pyarrow as pa
from dlt.extract.source import DltSource

from analytics_assets.api.incremental import is_end, with_undeclared_hints
from analytics_assets.api.listing import Listing
from analytics_assets.api.source import Position

LISTED = "listed"
"""Key in the state of a resource: a digest of its rows, and the id of the load that has brought them."""

MOST_BYTES = 16_000_000
"""Bytes of Arrow tables that are held back until the end of a listing. A longer one is loaded each time."""


def hold_back(source: DltSource, listing: Listing, *, reload: bool) -> None:
    """Adds an `UnchangedFilter` to the steps of a resource.

    Args:
        source: Has the resource.
        listing: Its complete listing.
        reload: Whether to drop nothing.
    """
    step = UnchangedFilter(listing, reload=reload)
    source.resources[listing.resource.name].add_step(step, insert_at=Position.CHANGE_FILTER)


class UnchangedFilter:
    """Step of a complete listing: holds its rows back, and drops them if the last load has brought the same.

    The same are equal rows in the same order, on pages of the same size.
    """

    def __init__(self, listing: Listing, *, reload: bool) -> None:
        self._name = listing.resource.name
        self._stats = listing.stats
        self._reload = reload
        self._digest = blake2b(digest_size=16)
        # Behind a cut come the last rows of a long listing.
        self._held: list[pa.Table] | None = None if listing.cuts else []
        self._bytes = 0

    def __call__(self, table: "pa.Table", _meta: object = None) -> Any:  # noqa: ANN401 - dlt's own
        """Returns what is not held back, and `None` otherwise. At the end of the listing that is its rows, and the end.

        A generator before the end would not do: dlt takes turns between it and the next pages.
        """
        if is_end(table):
            return self._finish(table)
        if self._held is None:
            return with_undeclared_hints(table)
        self._held.append(table)
        self._bytes += table.nbytes
        for batch in table.combine_chunks().to_batches():
            self._digest.update(batch.schema.serialize())
            self._digest.update(batch.serialize())
        return self._release() if self._bytes > MOST_BYTES else None

    def _release(self) -> Any:  # noqa: ANN401 - dlt's own
        """The rows that are held back, as one table."""
        held, self._held = self._held or [], None
        return with_undeclared_hints(pa.concat_tables(held, promote_options="default"))

    def _finish(self, end: "pa.Table") -> Iterator[Any]:
        state = dlt.current.resource_state(self._name)
        digest, before = self._digest.hexdigest(), state.pop(LISTED, None)
        if self._held is not None and before and before[0] == digest and not self._reload:
            state[LISTED] = before
            self._stats.rows_unchanged = self._stats.rows_read
            self._stats.loaded_by = before[1]
        elif self._held is not None:
            state[LISTED] = [digest, dlt.current.load_package_state()["load_id"]]
            if self._held:
                yield self._release()
        yield end
