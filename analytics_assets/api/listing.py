"""Listings that are read ahead of dlt: many small pages on the wire become a few large batches for `rest_api`.

A page costs dlt about 1.6 ms, whatever its size, and dlt requests a page only after it is done with the previous one.
So pages are fetched in the background, several at once, put in order, validated, and handed to dlt in batches.
"""

import asyncio
import sys
import weakref
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from concurrent.futures import Future, wait
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from importlib import import_module
from typing import TYPE_CHECKING, Any

from analytics_assets.api.catalog import Resource
from analytics_assets.api.children import read_resource
from analytics_assets.api.dialects.base import ById
from analytics_assets.api.http.event_loop import run_in_background
from analytics_assets.api.http.transport import Transport
from analytics_assets.api.order import DisorderError, Order
from analytics_assets.api.prefetch import Batch, Batches, PageReader, read_batches, to_batch
from analytics_assets.api.settings import Settings
from analytics_assets.api.stats import SyncStats

if TYPE_CHECKING:
    import pyarrow as pa

    from analytics_assets.api.order_tracker import OrderTracker

WATCHED_EVERY = 0.2
"""Seconds between two calls of `watch` while `next_batch` waits."""

SLICE_PAGES = 100
"""Pages of a slice. A sync that dies has read this many pages in vain at most; each slice costs a load, about half a
second."""

LOAD_BYTES = 256_000_000
"""Bytes of Arrow tables after which a load ends, however few rows they are. They take less in the file."""

BATCHES_AHEAD = 4
"""Batches that are read before dlt asks for them, so that requests go on while dlt loads another resource."""


class Listing:
    """All rows of a resource, read in the background and handed out in batches, as Arrow tables.

    Tables are made in the background, because to pass a million Python objects from thread to thread costs more than to
    make the tables. Reading pauses when it is `BATCHES_AHEAD` ahead.

    Args:
        resource: The resource to list.
        transport: The way to the API, shared with the other listings of a run.
        most_pages: Pages with new rows after which the listing is cut.

    Attributes:
        stats: Counts the requests and pages of this listing.
        watch: Called by `next_batch`, and every `WATCHED_EVERY` seconds while it waits. Does nothing by default.
        is_cut: Whether the last batch ends a load, and not the listing: the next start goes on behind it.
        cuts: How many times it was cut.
        carried: What `ChangeFilter` hands on from one load to the next: known digests, and the newest rows so far.
        order: The order by which the next start reads the new part only; `None` to read everything.
        tracker: Follows the order of the rows. It belongs to `BatchReader`, and lasts as long as the listing goes on.
        doubt: Why the rows may not be in the order by which they were read; `None` if nothing speaks against it.
    """

    def __init__(self, resource: Resource, transport: Transport, *, most_pages: int = sys.maxsize) -> None:
        self.resource = resource
        self.stats = SyncStats()
        self.settings = transport.settings
        self.endpoint = transport.settings.endpoint(resource.name)
        self.watch: Callable[[], None] = lambda: None
        self.is_cut = False
        self.cuts = 0
        self.carried: tuple[dict[str, str], pa.Table | None] | None = None
        self.order: Order | None = None
        self.tracker: OrderTracker | None = None
        self.doubt: str | None = None
        self._transport = transport
        self._most_pages = most_pages
        self._begun: tuple[dict[str, str], Order | None] = {}, None
        self._handed_out = False
        self._is_full = False
        self._reader: Future[None] | None = None
        self._batches: Batches = asyncio.Queue()
        # Set while dlt waits for a batch.
        self._batch_awaited = asyncio.Event()

    def __deepcopy__(self, memo: dict[int, Any]) -> "Listing":
        """Returns the listing itself: dlt copies the configuration of a source to validate it."""
        return self

    def start(self, query: dict[str, str]) -> None:
        """Begins to read from the first page, or goes on where it was cut.

        It also goes on if it was started with this query and no batch is handed out yet.

        Args:
            query: Parameters that every request carries, such as filters.
        """
        if self._reader and (query, self.order) == self._begun and (self.is_cut or not self._handed_out):
            self.is_cut = self._is_full = False
            return
        self.stop()
        self._begun = query, self.order
        self.tracker = self.doubt = None
        self._handed_out = self._is_full = False
        # With the newest rows first, dlt may stop the listing after any batch. So only one batch is read ahead.
        self._batches = asyncio.Queue(maxsize=1 if self.endpoint.newest_first else BATCHES_AHEAD)
        awaited = self._batch_awaited
        reader = PageReader(self.resource, self._transport, self.stats, query, awaited, order=self.order)
        pages = read_resource(reader, self._most_pages)
        self._reader = run_in_background(read_batches(self.resource, pages, self._batches, self.stats, awaited))
        # The reader holds no reference to the listing, so it is cancelled when the listing is garbage.
        weakref.finalize(self, self._reader.cancel)

    def next_batch(self) -> "Batch":
        """Returns the next batch, and waits for it; an empty last batch if the listing is not started or stopped.

        Raises:
            Exception: The transport, the validation or the pagination failed with this error.
        """
        if self._reader is None:
            return to_batch([], self.resource, is_last=True)
        self._handed_out = True
        future = run_in_background(self._take())
        while not wait([future], WATCHED_EVERY).done:
            self.watch()
        batch = future.result()
        if isinstance(batch, DisorderError):
            self.doubt = str(batch)
        if isinstance(batch, Exception):
            raise batch
        self.is_cut = self._is_full and not batch.is_last
        self.cuts += self.is_cut
        return replace(batch, is_last=True) if self.is_cut else batch

    async def _take(self) -> "Batch | Exception":
        self._batch_awaited.set()
        try:
            return await self._batches.get()
        finally:
            self._batch_awaited.clear()

    def secrets(self) -> list[str | None]:
        """Values that no message may show."""
        return self._transport.secrets()

    @property
    def is_sliced(self) -> bool:
        """Whether it can be read in slices: its rows are events, and its pages go from the newest id down."""
        pagination = self.endpoint.pagination
        return self.resource.append_only and isinstance(pagination, ById) and pagination.descending

    def slice(self) -> None:
        """Cuts the listing after `SLICE_PAGES` pages, every time it is started."""
        self._most_pages = SLICE_PAGES

    def load_has(self, rows: int, size: int) -> None:
        """Makes the next batch the last of its load, if the files of the load are large enough.

        Reading goes on behind it with the pages, the guards and the place that it has. So no row can slip through
        between two loads, wherever rows move to in the API's listing. A listing in slices has loads of its own.

        Args:
            rows: Rows that the load has so far.
            size: Bytes of their Arrow tables.
        """
        is_full = rows >= self.settings.rows_per_load or size >= LOAD_BYTES
        self._is_full = is_full and self._most_pages == sys.maxsize

    def stop(self) -> None:
        """Stops reading. The next batch is empty, and the last."""
        self.is_cut, self.carried = False, None
        if self._reader:
            self._reader.cancel()
            self._reader = None


@contextmanager
def read_ahead(
    settings: Settings,
    resources: Iterable[Resource],
    held: Collection[str] = (),
    orders: Mapping[str, Order | None] | None = None,
) -> Iterator[list[Listing]]:
    """Yields listings in the order of their resources. Reading has begun, and ends with the context.

    A listing whose endpoint filters by the cursor is not started: its first request depends on the cursor.

    Args:
        settings: The settings of the API.
        resources: What to list.
        held: Names of resources whose listing is not started either. dlt starts it, if it asks for it.
        orders: Orders by which listings are read, by name of the resource.

    Raises:
        SettingsError: No `hash_key` is set for fields that are to be hashed, or the certificates cannot be read.
    """
    with ExitStack() as stack:
        listings = open_listings(settings, resources)
        for listing in listings.values():
            stack.callback(listing.stop)
            listing.order = (orders or {}).get(listing.resource.name)
            if listing.endpoint.since_param is None and listing.resource.name not in held:
                listing.start({})
        yield list(listings.values())


def open_listings(
    settings: Settings, resources: Iterable[Resource], *, most_pages: int = sys.maxsize
) -> dict[str, Listing]:
    """Returns the listings of resources, by name. They share one transport, and send no request before they start.

    Raises:
        SettingsError: No `hash_key` is set for fields that are to be hashed, or the certificates cannot be read.
    """
    resources = list(resources)
    hashed = [f"{resource.name}.{path}" for resource in resources for path in resource.hashed]
    if hashed and settings.hash_key is None:
        raise settings.error("hash_key", f"is missing, and needed to hash {', '.join(hashed)}")
    # Not for the first time in the background: an interrupt during an import in this thread would leave Python's import
    # lock taken there for ever.
    import_module("analytics_assets.api.values.arrow")
    transport = Transport(settings)
    return {resource.name: Listing(resource, transport, most_pages=most_pages) for resource in resources}
