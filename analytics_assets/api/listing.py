"""Listings that are read ahead of dlt: many small pages on the wire become a few large ones for `rest_api`.

dlt's cost of a page is about 1.6 ms, whatever its size, and it asks for a page when it is done with the one before. So
pages are fetched in the background, as many at once as the wire allows, put in order, checked, and handed to dlt in
batches: the adapter below answers each of dlt's requests with the next batch. Each says whether it is the last.
"""

import asyncio
import sys
import weakref
from collections.abc import AsyncIterator, Callable, Iterable
from concurrent.futures import Future, wait
from dataclasses import dataclass
from traceback import clear_frames
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import urlencode

from dlt.sources.helpers.rest_client.paginators import BasePaginator
from requests import PreparedRequest, Request, Response
from requests.adapters import BaseAdapter

from analytics_assets.api.answer import Answer, LargeAnswerError
from analytics_assets.api.catalog import Resource
from analytics_assets.api.dialect import ById
from analytics_assets.api.guards import read_rows, weigh
from analytics_assets.api.paging import start_paging
from analytics_assets.api.report import Report
from analytics_assets.api.sensitive import hide
from analytics_assets.api.settings import Settings, SettingsError
from analytics_assets.api.transport import Wire, in_background

if TYPE_CHECKING:
    import pyarrow as pa

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows of a listing, as `to_table` makes them; the last has none where the listing has no more."""

    table: "pa.Table"
    is_last: bool


Batches: TypeAlias = "asyncio.Queue[Batch | Exception]"

ROWS = "rows"
"""The key of the rows in what dlt is answered, whatever the API's own is."""

WATCHED_EVERY = 0.2
"""Seconds between two looks at what is going on, while nothing comes."""

BATCH_ROWS = 2_000
"""Rows that dlt gets at once, at least, while there are so many. What a sync holds in memory is a few times this."""

BATCH_WEIGHT = 16_000_000
"""Bytes, about, that rows take in memory after which a batch is complete, whatever their number. What weighs more is
made only as fast as dlt asks for it."""

AHEAD_BYTES = 4_000_000
"""Bytes of an answer that is read before it is needed. A larger one is asked for again when dlt waits for it, so that
there is one of them in memory, whatever the API sends."""

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

    def __init__(self, resource: Resource, wire: Wire, *, most_pages: int = sys.maxsize) -> None:
        self.resource = resource
        self.report = Report()
        self.settings = wire.settings
        self.endpoint = wire.settings.endpoint(resource.name)
        self.watch: Callable[[], None] = lambda: None
        self._wire = wire
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
        pages = _pages(self.resource, self._wire, self.report, query, self._most_pages, self._wanted)
        self._reader = in_background(_read(self.resource, pages, self._batches, self.report, self._wanted))
        # The reader does not know the listing, so that it ends with it.
        weakref.finalize(self, self._reader.cancel)

    def next_batch(self) -> "Batch":
        """The next rows.

        Raises:
            Exception: What the wire, a guard or the paging raised.
        """
        if self._reader is None:
            return _to_batch([], self.resource, is_last=True)
        self._handed_out = True
        coming = in_background(self._take())
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
        return self._wire.secrets()

    @property
    def is_sliced(self) -> bool:
        """Whether it can be read slice by slice: events, the newest first, each of which is asked for by id."""
        paging = self.endpoint.paging
        return self.resource.append_only and isinstance(paging, ById) and paging.descending

    def slice(self) -> None:
        """Cuts the listing after a slice, each time that it is started."""
        self._most_pages = SLICE_PAGES

    def start_ahead(self) -> None:
        """Starts before dlt asks, where the first request does not depend on the cursor."""
        if self.endpoint.since_param is None:
            self.start({})

    def stop(self) -> None:
        """Reads no further; the next batch is empty, and the last."""
        if self._reader:
            self._reader.cancel()
            self._reader = None


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
    wire = Wire(settings)
    return {resource.name: Listing(resource, wire, most_pages=most_pages) for resource in resources}


def _to_batch(rows: list[Row], resource: Resource, *, is_last: bool) -> Batch:
    from analytics_assets.api.tables import to_table  # noqa: PLC0415 - definitions need no Arrow

    return Batch(to_table(rows, resource), is_last)


async def _read(
    resource: Resource, pages: AsyncIterator[list[Row]], batches: Batches, report: Report, wanted: asyncio.Event
) -> None:
    batch: list[Row] = []
    made_of = 0
    try:
        async for rows in pages:
            batch += rows
            del rows
            weight = report.weight - made_of
            if not batch or (weight < BATCH_WEIGHT and len(batch) < BATCH_ROWS):
                continue
            made_of = report.weight
            # So many at once that none is much heavier than it may be.
            most = max(1, len(batch) * BATCH_WEIGHT // weight)
            while batch:
                part, batch = batch[:most], batch[most:]
                await batches.put(_to_batch(part, resource, is_last=False))
                del part
                if weight >= BATCH_WEIGHT:
                    await wanted.wait()
        await batches.put(_to_batch(batch, resource, is_last=True))
    except Exception as error:  # noqa: BLE001 - raised where the batch is asked for
        # Else the wrong answer would stay in memory as long as the error.
        clear_frames(error.__traceback__)
        await batches.put(error)


async def _pages(  # noqa: PLR0913, PLR0917 - what a listing has, as the reader must not know it
    resource: Resource, wire: Wire, report: Report, query: dict[str, str], most_pages: int, wanted: asyncio.Event
) -> AsyncIterator[list[Row]]:
    """The pages, in order. Those that are likely to follow are asked for meanwhile, twice as many with every page."""
    paging = start_paging(resource, wire.settings)
    endpoint = wire.settings.endpoint(resource.name)
    requested: dict[int, asyncio.Task[Answer]] = {}
    position: int | None = 0
    window = 1
    most = int(wire.settings.max_answer_mb * 1e6)
    most_ahead = min(most, AHEAD_BYTES)
    # Once an answer was larger, nothing is asked for ahead.
    is_large = False

    async def ask(position: int, most: int) -> Answer:
        parameters = urlencode({**query, **paging.query(position)})
        return await wire.get(endpoint.path, parameters, report, most)

    try:
        while position is not None and most_pages > 0:
            ahead = [] if is_large else paging.ahead(position, min(window, most_pages))
            _forget(requested, requested.keys() - set(ahead))
            for each in ahead:
                if each not in requested:
                    requested[each] = asyncio.ensure_future(ask(each, most_ahead))
            # Read in its turn: bodies take a fraction of the memory that rows do.
            try:
                answer = None if is_large else await requested.pop(position)
            except LargeAnswerError:
                if most_ahead == most:
                    raise
                answer, is_large = None, True
                _forget(requested, list(requested))
            if answer is None:
                await wanted.wait()
                answer = await ask(position, most)
            elif weigh(answer.body) > BATCH_WEIGHT:
                await wanted.wait()
            rows = read_rows(answer, resource, wire.settings, report)
            del answer
            hide(rows, resource, wire.settings.hash_key)
            position = paging.accept(position, rows)
            # Where what was asked for ahead is not what follows, little is asked for ahead until it is again.
            foreseen = not requested or position in requested
            window = min(2 * window, wire.settings.requests_in_flight) if foreseen else 1
            # A page without news settles nothing yet: the paging goes on until it ends or says what is wrong.
            most_pages -= bool(rows)
            report.left_at = position if most_pages == 0 else None
            # What is handed out is not kept, however long it takes until the next page is wanted.
            page = [rows]
            del rows
            yield page.pop()
    finally:
        _forget(requested, list(requested))


def _forget(requested: "dict[int, asyncio.Task[Answer]]", positions: Iterable[int]) -> None:
    for position in positions:
        task = requested.pop(position)
        # What went wrong with a page that nobody needs is no news.
        task.add_done_callback(lambda done: done.cancelled() or done.exception())
        task.cancel()


class ListingAdapter(BaseAdapter):
    """Answers dlt's requests from a listing. Its first request of a listing carries the parameters for the wire."""

    def __init__(self, listing: Listing) -> None:
        super().__init__()
        self._listing = listing

    def __deepcopy__(self, memo: dict[int, Any]) -> "ListingAdapter":
        """Itself, as above."""
        return self

    def send(self, request: PreparedRequest, *_args: Any, **_options: Any) -> Response:  # noqa: ANN401 - as requests has it
        """The next batch."""
        response = _Response({ROWS: [self._listing.next_batch()]})
        response.status_code = 200
        response.request = request
        response.url = request.url or ""
        return response

    def close(self) -> None:
        """Stops reading."""
        self._listing.stop()


class UntilLast(BasePaginator):
    """Asks for batches until the last."""

    def __init__(self, listing: Listing) -> None:
        super().__init__()
        self._listing = listing

    def init_request(self, request: Request) -> None:
        """Starts the listing."""
        self._has_next_page = True
        self._listing.start(dict(request.params or {}))

    def update_state(self, response: Response, data: list[Any] | None = None) -> None:  # noqa: ARG002 - dlt's signature
        """A batch knows whether it is the last."""
        self._has_next_page = not (data and data[0].is_last)

    def update_request(self, request: Request) -> None:
        """The same request again: the adapter knows which batch is next."""


class _Response(Response):
    def __init__(self, body: dict[str, Any]) -> None:
        super().__init__()
        self._body = body
        self._content = b""

    def json(self, **_options: Any) -> dict[str, Any]:  # noqa: ANN401 - as requests has it
        return self._body
