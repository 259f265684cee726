"""Reads the pages of a listing ahead and in order, and makes batches of them."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping
from dataclasses import dataclass
from traceback import clear_frames
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from analytics_assets.api.catalog import Resource
from analytics_assets.api.dialects.base import Endpoint
from analytics_assets.api.http.request import ApiRequest, Place, first_request
from analytics_assets.api.http.response import ApiResponse, LargeResponseError
from analytics_assets.api.http.transport import Transport
from analytics_assets.api.http.validation import read_rows
from analytics_assets.api.order import Order
from analytics_assets.api.pagination.base import Pagination
from analytics_assets.api.pagination.new_part import NewPart
from analytics_assets.api.pagination.offset import OffsetPagination
from analytics_assets.api.pagination.select import start_pagination
from analytics_assets.api.stats import SyncStats
from analytics_assets.api.values.tokens import Row
from analytics_assets.api.values.usual import usual_rows

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows of a listing, as the table that `values.arrow.to_table` makes. The last batch may have no rows."""

    table: "pa.Table"
    is_last: bool


Batches: TypeAlias = "asyncio.Queue[Batch | Exception]"
"""The batches of a listing that wait for dlt; an error is the last item."""

BATCH_ROWS = 2_000
"""Rows after which a batch is complete. A sync holds a few times as many rows in memory."""

BATCH_WEIGHT = 16_000_000
"""Estimated bytes of memory after which a batch is complete, whatever its number of rows. A page that weighs more is
read only when dlt waits for it."""

AHEAD_BYTES = 4_000_000
"""Most bytes of a response that is read ahead. A larger one is requested again when dlt waits for it, so only one such
response is in memory at a time."""


def to_batch(rows: list[Row], resource: Resource, *, is_last: bool) -> Batch:
    """Makes a batch of rows, as an Arrow table."""
    from analytics_assets.api.values.arrow import to_table  # noqa: PLC0415 - definitions need no Arrow

    return Batch(to_table(rows, resource), is_last)


async def read_batches(
    resource: Resource,
    pages: AsyncIterator[list[Row]],
    batches: Batches,
    stats: SyncStats,
    batch_awaited: asyncio.Event,
) -> None:
    """Puts the rows of pages into the queue of batches. If reading fails, the error is the last item.

    Args:
        resource: The resource of the rows.
        pages: The rows of each page.
        batches: The queue.
        stats: Its `weight` says how heavy the pages are.
        batch_awaited: Set while dlt waits for a batch.
    """
    batch: list[Row] = []
    # The same stats count all slices of a listing.
    weight_done = stats.weight
    try:
        async for rows in pages:
            batch += rows
            del rows
            weight = stats.weight - weight_done
            if not batch or (weight < BATCH_WEIGHT and len(batch) < BATCH_ROWS):
                continue
            weight_done = stats.weight
            # A heavy page is split into several batches of about `BATCH_WEIGHT`.
            part_size = max(1, len(batch) * BATCH_WEIGHT // weight)
            while batch:
                part, batch = batch[:part_size], batch[part_size:]
                await batches.put(to_batch(part, resource, is_last=False))
                del part
                if weight >= BATCH_WEIGHT:
                    await batch_awaited.wait()
        await batches.put(to_batch(batch, resource, is_last=True))
    except Exception as error:  # noqa: BLE001 - `next_batch` raises it
        # Without this the wrong response would stay in memory as long as the error.
        clear_frames(error.__traceback__)
        await batches.put(error)


class Awaited(Protocol):
    """What is waited for before a heavy page is read, such as an event."""

    async def wait(self) -> object:
        """Returns when the page may be read."""


@dataclass(frozen=True, slots=True)
class PageReader:
    """Reads the pages of a listing. It does not reference the listing, which may become garbage meanwhile."""

    resource: Resource
    transport: Transport
    stats: SyncStats
    """Stats in which requests and pages are counted."""
    filters: Mapping[str, Any]
    """Values of filters that every request carries, by parameter."""
    batch_awaited: Awaited
    """Waits until dlt waits for a batch."""
    is_whole: bool = True
    """Whether it reads all of the resource, so that the API's total is that of the resource."""
    order: Order | None = None
    """The order of the listing if only its new part is to be read."""

    @property
    def endpoint(self) -> Endpoint:
        """Where the resource is."""
        return self.transport.settings.endpoint(self.resource.name)

    async def read(self, most_pages: int, place: Place | None = None) -> AsyncGenerator[list[Row]]:
        """Yields the rows of each page, in order and without rows of earlier pages.

        The pages that are likely to follow are requested ahead. Their number (the window) doubles with every page, up
        to `requests_in_flight`.

        Args:
            most_pages: Pages with new rows after which the listing is cut.
            place: Values of the placeholders in the path.

        Raises:
            DisorderError: The listing is not, or may not be, in the order that was learned.
            Exception: The transport, the validation or the pagination failed with this error.
        """
        resource, transport, stats, settings = self.resource, self.transport, self.stats, self.transport.settings
        start = first_request(self.endpoint, settings.wire_format, self.filters, place.path if place else None)
        pagination = await self._start(start)
        # Only whole rows of tokens say where a child's listing is, and where the anchor of an order.
        usual = usual_rows(resource) if self.is_whole and self.order is None else None
        requested: dict[Any, asyncio.Task[ApiResponse]] = {}
        position = pagination.first
        window = 1
        max_bytes = int(settings.max_response_mb * 1e6)
        max_bytes_ahead = min(max_bytes, AHEAD_BYTES)
        # After the first response of more than `max_bytes_ahead`, nothing is requested ahead any more.
        is_large = False
        try:
            while position is not None and most_pages > 0:
                ahead = [] if is_large else pagination.ahead(position, min(window, most_pages))
                _cancel(requested, requested.keys() - set(ahead))
                for each in ahead:
                    if each not in requested:
                        sent = transport.send(pagination.request(each), stats, max_bytes_ahead)
                        requested[each] = asyncio.ensure_future(sent)
                # Bodies wait undecoded until it is their turn, because they take a fraction of the memory of rows.
                try:
                    response = None if is_large else await requested.pop(position)
                except LargeResponseError:
                    if max_bytes_ahead == max_bytes:
                        raise
                    response, is_large = None, True
                    _cancel(requested, list(requested))
                if response is None:
                    await self.batch_awaited.wait()
                    response = await transport.send(pagination.request(position), stats, max_bytes)
                elif response.weight > BATCH_WEIGHT:
                    await self.batch_awaited.wait()
                rows = read_rows(response, resource, settings, stats, place.row if place else None, usual)
                if not self.is_whole or self.order:
                    stats.total = None
                position = pagination.accept(position, rows, response)
                del response
                # If the prefetched pages turn out not to be the next ones, shrink the window to 1, and let it grow
                # again.
                was_foreseen = not requested or position in requested
                window = min(2 * window, settings.requests_in_flight) if was_foreseen else 1
                # A page without new rows does not count: only the next pages show whether the listing advances.
                most_pages -= bool(rows)
                stats.left_at = position if most_pages == 0 else None
                # `pop` drops the only reference, so the rows are not kept while the consumer takes its time.
                page = [rows]
                del rows
                yield page.pop()
            if isinstance(pagination, OffsetPagination):
                await self._settle(pagination)
        finally:
            _cancel(requested, list(requested))

    async def _start(self, start: ApiRequest) -> Pagination[Any]:
        settings = self.transport.settings
        if self.order is None:
            return start_pagination(self.resource, settings, start)
        pagination = NewPart(self.resource, settings, start, self.order, self._ask)
        await pagination.find()
        return pagination

    async def _settle(self, pagination: OffsetPagination) -> None:
        """Says in the stats what a listing by offset has shown of its order."""
        if isinstance(pagination, NewPart):
            await pagination.settle()
            self.stats.place = pagination.place
        self.stats.moved = pagination.moved

    async def _ask(self, request: ApiRequest) -> list[Row]:
        settings, stats = self.transport.settings, self.stats
        response = await self.transport.send(request, stats, int(settings.max_response_mb * 1e6))
        return read_rows(response, self.resource, settings, stats)


def _cancel(requested: "dict[Any, asyncio.Task[ApiResponse]]", positions: Iterable[Any]) -> None:
    for position in positions:
        task = requested.pop(position)
        # Marks an error as retrieved: errors of pages that turn out not to be needed are ignored.
        task.add_done_callback(lambda done: done.cancelled() or done.exception())
        task.cancel()
