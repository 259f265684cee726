"""Keeps a complete listing from being loaded again when it is as it was.

A resource without a cursor is listed whole by every sync. Loading the same rows again would write to the warehouse
every hour, and would make the copy for readers anew, for nothing.
"""

from collections.abc import Iterator
from hashlib import blake2b
from typing import Any

import dlt
import pyarrow as pa

from analytics_assets.api.incremental import is_end, with_undeclared_hints
from analytics_assets.api.listing import Listing

LISTED = "listed"
"""Key in the state of a resource: a digest of its rows, and the id of the load that has brought them."""

MOST_BYTES = 16_000_000
"""Bytes of Arrow tables that are held back until the end of a listing. A longer one is loaded each time."""


class UnchangedFilter:
    """Step of a listing without a cursor: holds its rows back, and drops them if the last load has brought the same.

    The same are equal rows in the same order, on pages of the same size.

    Args:
        listing: The listing.
        reload: Whether to drop nothing.
    """

    def __init__(self, listing: Listing, *, reload: bool) -> None:
        self._name = listing.resource.name
        self._stats = listing.stats
        self._reload = reload
        self._digest = blake2b(digest_size=16)
        # Behind a cut come the last rows of a long listing.
        self._held: list[pa.Table] | None = None if listing.cuts else []
        self._bytes = 0

    def __call__(self, table: "pa.Table", _meta: object = None) -> Iterator[Any]:
        """Yields what is not held back: at the end of the listing, or as soon as it is too long, its rows."""
        if is_end(table):
            yield from self._finish()
            yield table
        elif self._held is None:
            yield with_undeclared_hints(table)
        else:
            self._held.append(table)
            self._bytes += table.nbytes
            for batch in table.combine_chunks().to_batches():
                self._digest.update(batch.schema.serialize())
                self._digest.update(batch.serialize())
            if self._bytes > MOST_BYTES:
                yield from map(with_undeclared_hints, self._held)
                self._held = None

    def _finish(self) -> Iterator[Any]:
        state = dlt.current.resource_state(self._name)
        if self._held is None:
            state.pop(LISTED, None)
            return
        digest, before = self._digest.hexdigest(), state.get(LISTED)
        if before and before[0] == digest and not self._reload:
            self._stats.rows_unchanged = self._stats.rows_read
            self._stats.loaded_by = before[1]
            return
        state[LISTED] = [digest, dlt.current.load_package_state()["load_id"]]
        yield from map(with_undeclared_hints, self._held)
