"""Reads the pages of a listing ahead, in order, and makes batches of them."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from traceback import clear_frames
from typing import TYPE_CHECKING, TypeAlias
from urllib.parse import urlencode

from analytics_assets.api.catalog import Resource
from analytics_assets.api.http.body import weigh
from analytics_assets.api.http.response import ApiResponse, LargeResponseError
from analytics_assets.api.http.transport import Transport
from analytics_assets.api.http.validation import read_rows
from analytics_assets.api.masking import mask
from analytics_assets.api.pagination.select import start_pagination
from analytics_assets.api.stats import SyncStats
from analytics_assets.api.values.tokens import Row

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows of a listing, as `to_table` makes them; the last has none where the listing has no more."""

    table: "pa.Table"
    is_last: bool


Batches: TypeAlias = "asyncio.Queue[Batch | Exception]"

BATCH_ROWS = 2_000
"""Rows that dlt gets at once, at least, while there are so many. What a sync holds in memory is a few times this."""

BATCH_WEIGHT = 16_000_000
"""Bytes, about, that rows take in memory after which a batch is complete, whatever their number. What weighs more is
made only as fast as dlt asks for it."""

AHEAD_BYTES = 4_000_000
"""Bytes of an answer that is read before it is needed. A larger one is asked for again when dlt waits for it, so that
there is one of them in memory, whatever the API sends."""


def to_batch(rows: list[Row], resource: Resource, *, is_last: bool) -> Batch:
    """A batch of rows, as an Arrow table."""
    from analytics_assets.api.values.arrow import to_table  # noqa: PLC0415 - definitions need no Arrow

    return Batch(to_table(rows, resource), is_last)


async def read_batches(
    resource: Resource, pages: AsyncIterator[list[Row]], batches: Batches, stats: SyncStats, wanted: asyncio.Event
) -> None:
    """Puts the rows of pages into batches; or what went wrong, as the last thing in the queue."""
    batch: list[Row] = []
    made_of = 0
    try:
        async for rows in pages:
            batch += rows
            del rows
            weight = stats.weight - made_of
            if not batch or (weight < BATCH_WEIGHT and len(batch) < BATCH_ROWS):
                continue
            made_of = stats.weight
            # So many at once that none is much heavier than it may be.
            most = max(1, len(batch) * BATCH_WEIGHT // weight)
            while batch:
                part, batch = batch[:most], batch[most:]
                await batches.put(to_batch(part, resource, is_last=False))
                del part
                if weight >= BATCH_WEIGHT:
                    await wanted.wait()
        await batches.put(to_batch(batch, resource, is_last=True))
    except Exception as error:  # noqa: BLE001 - raised where the batch is asked for
        # Else the wrong answer would stay in memory as long as the error.
        clear_frames(error.__traceback__)
        await batches.put(error)


async def read_pages(  # noqa: PLR0913, PLR0917 - what a listing has, as the reader must not know it
    resource: Resource,
    transport: Transport,
    stats: SyncStats,
    query: dict[str, str],
    most_pages: int,
    wanted: asyncio.Event,
) -> AsyncIterator[list[Row]]:
    """The pages, in order. Those that are likely to follow are asked for meanwhile, twice as many with every page."""
    pagination = start_pagination(resource, transport.settings)
    endpoint = transport.settings.endpoint(resource.name)
    requested: dict[int, asyncio.Task[ApiResponse]] = {}
    position: int | None = 0
    window = 1
    most = int(transport.settings.max_response_mb * 1e6)
    most_ahead = min(most, AHEAD_BYTES)
    # Once an answer was larger, nothing is asked for ahead.
    is_large = False

    async def ask(position: int, most: int) -> ApiResponse:
        parameters = urlencode({**query, **pagination.query(position)})
        return await transport.get(endpoint.path, parameters, stats, most)

    try:
        while position is not None and most_pages > 0:
            ahead = [] if is_large else pagination.ahead(position, min(window, most_pages))
            _forget(requested, requested.keys() - set(ahead))
            for each in ahead:
                if each not in requested:
                    requested[each] = asyncio.ensure_future(ask(each, most_ahead))
            # Read in its turn: bodies take a fraction of the memory that rows do.
            try:
                response = None if is_large else await requested.pop(position)
            except LargeResponseError:
                if most_ahead == most:
                    raise
                response, is_large = None, True
                _forget(requested, list(requested))
            if response is None:
                await wanted.wait()
                response = await ask(position, most)
            elif weigh(response.body) > BATCH_WEIGHT:
                await wanted.wait()
            rows = read_rows(response, resource, transport.settings, stats)
            del response
            mask(rows, resource, transport.settings.hash_key)
            position = pagination.accept(position, rows)
            # Where what was asked for ahead is not what follows, little is asked for ahead until it is again.
            foreseen = not requested or position in requested
            window = min(2 * window, transport.settings.requests_in_flight) if foreseen else 1
            # A page without news settles nothing yet: the paging goes on until it ends or says what is wrong.
            most_pages -= bool(rows)
            stats.left_at = position if most_pages == 0 else None
            # What is handed out is not kept, however long it takes until the next page is wanted.
            page = [rows]
            del rows
            yield page.pop()
    finally:
        _forget(requested, list(requested))


def _forget(requested: "dict[int, asyncio.Task[ApiResponse]]", positions: Iterable[int]) -> None:
    for position in positions:
        task = requested.pop(position)
        # What went wrong with a page that nobody needs is no news.
        task.add_done_callback(lambda done: done.cancelled() or done.exception())
        task.cancel()
