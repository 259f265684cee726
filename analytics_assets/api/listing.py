"""Listings that are read ahead of dlt: many small pages on the wire become a few large ones for `rest_api`.

dlt's cost of a page is about 1.6 ms, whatever its size, and it asks for a page when it is done with the one before. So
pages are fetched in the background, as many at once as the wire allows, put in order, checked, and handed to dlt in
batches: the adapter below answers each of dlt's requests with the next batch. Each says whether it is the last.
"""

import asyncio
import sys
import weakref
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, wait
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from analytics_assets.api.catalog import Resource, load_order
from analytics_assets.api.dialects.base import ById
from analytics_assets.api.http.event_loop import run_in_background
from analytics_assets.api.http.transport import Transport
from analytics_assets.api.settings import Settings, SettingsError
from analytics_assets.api.stats import SyncStats

if TYPE_CHECKING:
    pass
from analytics_assets.api.prefetch import Batch, Batches, read_batches, read_pages, to_batch

WATCHED_EVERY = 0.2
"""Seconds between two looks at what is going on, while nothing comes."""

SLICE_PAGES = 100
"""Pages of a slice of a long listing from the newest row down: what a sync that dies has read in vain, at most. Each
slice costs a load, half a second."""

BATCHES_AHEAD = 4
"""What is read before dlt asks for it: the wire stays busy while dlt loads another resource."""


class Listing:
    """The rows of a resource, in batches. Reading starts in the background and waits when it is some batches ahead.

    `report` counts what this listing sends over the wire, which it shares with others. `most_pages` cuts the listing
    after so many pages that bring rows. Tables are made in the background: to pass a million objects from thread to
    thread costs more than to make them. `watch` is called now and then where a batch is asked for, also while none
    comes.
    """

    def __init__(self, resource: Resource, transport: Transport, *, most_pages: int = sys.maxsize) -> None:
        self.resource = resource
        self.stats = SyncStats()
        self.settings = transport.settings
        self.endpoint = transport.settings.endpoint(resource.name)
        self.watch: Callable[[], None] = lambda: None
        self._transport = transport
        self._most_pages = most_pages
        self._query: dict[str, str] = {}
        self._handed_out = False
        self._reader: Future[None] | None = None
        self._batches: Batches = asyncio.Queue()
        # Set while dlt waits for a batch.
        self._wanted = asyncio.Event()

    def __deepcopy__(self, memo: dict[int, Any]) -> "Listing":
        """Itself: dlt copies the configuration of a source to validate it."""
        return self

    def start(self, query: dict[str, str]) -> None:
        """Begins to read from the first page, unless that has been done with the same parameters already."""
        if self._reader and not self._handed_out and query == self._query:
            return
        self.stop()
        self._query = query
        self._handed_out = False
        # Where the newest rows come first, the first batch says how far to read.
        self._batches = asyncio.Queue(maxsize=1 if self.endpoint.newest_first else BATCHES_AHEAD)
        pages = read_pages(self.resource, self._transport, self.stats, query, self._most_pages, self._wanted)
        self._reader = run_in_background(read_batches(self.resource, pages, self._batches, self.stats, self._wanted))
        # The reader does not know the listing, so that it ends with it.
        weakref.finalize(self, self._reader.cancel)

    def next_batch(self) -> "Batch":
        """The next rows.

        Raises:
            Exception: What the wire, a guard or the paging raised.
        """
        if self._reader is None:
            return to_batch([], self.resource, is_last=True)
        self._handed_out = True
        coming = run_in_background(self._take())
        while not wait([coming], WATCHED_EVERY).done:
            self.watch()
        batch = coming.result()
        if isinstance(batch, Exception):
            raise batch
        return batch

    async def _take(self) -> "Batch | Exception":
        self._wanted.set()
        try:
            return await self._batches.get()
        finally:
            self._wanted.clear()

    def secrets(self) -> list[str | None]:
        """Values that no message may show."""
        return self._transport.secrets()

    @property
    def is_sliced(self) -> bool:
        """Whether it can be read slice by slice: events, the newest first, each of which is asked for by id."""
        pagination = self.endpoint.pagination
        return self.resource.append_only and isinstance(pagination, ById) and pagination.descending

    def slice(self) -> None:
        """Cuts the listing after a slice, each time that it is started."""
        self._most_pages = SLICE_PAGES

    def stop(self) -> None:
        """Reads no further; the next batch is empty, and the last."""
        if self._reader:
            self._reader.cancel()
            self._reader = None


@contextmanager
def read_ahead(settings: Settings, resources: Iterable[Resource]) -> Iterator[list[Listing]]:
    """Listings in the order in which they are to be loaded; reading has begun, and ends when they are let go.

    A listing whose first request depends on its cursor begins when it is loaded.

    Raises:
        SettingsError: As `open_listings` does.
    """
    with ExitStack() as stack:
        listings = open_listings(settings, load_order(resources))
        for listing in listings.values():
            stack.callback(listing.stop)
            if listing.endpoint.since_param is None:
                listing.start({})
        yield list(listings.values())


def open_listings(
    settings: Settings, resources: Iterable[Resource], *, most_pages: int = sys.maxsize
) -> dict[str, Listing]:
    """Listings of resources that share a wire, by name. No request is made before one of them is started.

    Raises:
        SettingsError: There is no key for the fields that are to be hashed.
    """
    resources = list(resources)
    hashed = [f"{resource.name}.{path}" for resource in resources for path in resource.hashed]
    if hashed and settings.hash_key is None:
        raise SettingsError("hash_key", f"is missing, and needed to hash {', '.join(hashed)}")
    transport = Transport(settings)
    return {resource.name: Listing(resource, transport, most_pages=most_pages) for resource in resources}
