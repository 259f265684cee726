"""Child resources: the rows of a parent name the paths of a child, and each path has a listing of its own.

The parent is listed by its own endpoint, with its own pagination and guards, for every sync of the child. Several
listings of the child are read at once, and their pages come in the order of the parent's rows.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass, replace
from traceback import clear_frames

import msgspec
from msgspec import Raw

from analytics_assets.api.catalog import Resource
from analytics_assets.api.http.errors import PayloadError, StatusError, TokenStatusError, kind_of, shortened
from analytics_assets.api.http.request import Place
from analytics_assets.api.masking import mask
from analytics_assets.api.pagination.base import check_cap
from analytics_assets.api.prefetch import Awaited, PageReader
from analytics_assets.api.shared_rows import SharedRows
from analytics_assets.api.values.tokens import NULL, Row, find_nested

PAGES_AHEAD = 1
"""Pages of a child's listing that wait for the listings before it. The number bounds memory."""

MOST_GONE = 100
"""Parents from the first one on that may all be gone. A wrong path would otherwise be requested for every parent."""


async def read_resource(reader: PageReader, most_pages: int) -> AsyncIterator[list[Row]]:
    """Yields the rows of each page of a resource, with sensitive fields masked.

    Args:
        reader: Reads one listing of the resource.
        most_pages: Pages with new rows after which the resource is cut.

    Raises:
        Exception: The transport, the validation or the pagination failed with this error.
    """
    async with aclosing(_read(reader, most_pages)) as pages:
        async for rows in pages:
            mask(rows, reader.resource, reader.transport.settings.hash_key, reader.stats.masked)
            # `pop` drops the only reference, so the rows are not kept while the consumer takes its time.
            page = [rows]
            del rows
            yield page.pop()


def _read(reader: PageReader, most_pages: int) -> AsyncGenerator[list[Row]]:
    return _read_children(reader, most_pages) if reader.endpoint.parent else reader.read(most_pages)


async def _read_children(reader: PageReader, most_pages: int) -> AsyncGenerator[list[Row]]:
    """Yields the pages of the listings of all parents, in the order of the parents.

    A parent whose listing answers 404 was deleted after it had been listed, and has no rows.

    Raises:
        StatusError: The listings of all parents answer 404.
        PayloadError: Two parents list different rows with one key.
        PaginationError: All listings together, that of the parent included, exceed `max_pages`.
    """
    name, stats, settings = reader.resource.name, reader.stats, reader.transport.settings
    begun, gone, parents = stats.pages, 0, 0
    children: deque[_Child] = deque()
    shared = SharedRows(reader.resource, reader.endpoint)
    places: AsyncIterator[Place] | None
    async with aclosing(_places(reader)) as listed:
        places = listed
        try:
            while most_pages > 0:
                while places and len(children) < settings.requests_in_flight:
                    place = await anext(places, None)
                    if place is None:
                        places = None
                    else:
                        children.append(_Child(reader, most_pages, place))
                        parents += 1
                if not children:
                    break
                page = await children[0].next_page()
                check_cap(name, stats.pages - begun - 1, settings.max_pages)
                if page is None:
                    is_gone = children.popleft().is_gone
                    # The stats also count the parents of this level's parents.
                    gone += is_gone
                    stats.parents_gone += is_gone
                    if gone and gone == parents - len(children) and (gone >= MOST_GONE or not (children or places)):
                        raise _all_gone(reader, gone)
                    continue
                page = [shared.keep_new(page.pop(), children[0].place)]
                most_pages -= bool(page[0])
                yield page.pop()
        finally:
            for child in children:
                child.stop()


class _Child:
    """The listing of one parent, which is read in a task of its own."""

    def __init__(self, reader: PageReader, most_pages: int, place: Place) -> None:
        self.place = place
        self.is_gone = False
        self._has_turn = asyncio.Event()
        self._pages: asyncio.Queue[list[list[Row]] | Exception | None] = asyncio.Queue(PAGES_AHEAD)
        reader = replace(reader, batch_awaited=_Turn(self._has_turn, reader.batch_awaited), is_whole=False)
        self._task = asyncio.ensure_future(self._fill(reader, most_pages, place))

    async def next_page(self) -> list[list[Row]] | None:
        """Returns the next page, alone in a list; `None` at the end."""
        self._has_turn.set()
        page = await self._pages.get()
        if isinstance(page, Exception):
            raise page
        return page

    def stop(self) -> None:
        """Stops reading."""
        self._task.cancel()

    async def _fill(self, reader: PageReader, most_pages: int, place: Place) -> None:
        has_page = False
        try:
            async with aclosing(reader.read(most_pages, place)) as pages:
                async for rows in pages:
                    has_page = True
                    page = [rows]
                    del rows
                    await self._pages.put([page.pop()])
        except Exception as error:  # noqa: BLE001 - `next_page` raises it
            is_missing = isinstance(error, StatusError) and error.status == 404
            # A token endpoint that is missing says nothing about the parent.
            self.is_gone = is_missing and not isinstance(error, TokenStatusError) and not has_page
            clear_frames(error.__traceback__)
            await self._pages.put(None if self.is_gone else error)
        else:
            await self._pages.put(None)


@dataclass(frozen=True, slots=True)
class _Turn:
    """Lets only the first of the listings that are read at once read a heavy page, and only when dlt waits for it."""

    has_turn: asyncio.Event
    batch_awaited: Awaited

    async def wait(self) -> None:
        await self.has_turn.wait()
        await self.batch_awaited.wait()


async def _places(reader: PageReader) -> AsyncGenerator[Place]:
    """Yields the place of each parent's listing."""
    parent = reader.endpoint.parent
    assert parent is not None  # noqa: S101 - only children are read so
    connector = reader.transport.settings.connector
    above = replace(reader, resource=connector.by_name[parent.resource], filters={}, is_whole=False)
    declared = {column.name for column in reader.resource.columns}
    # No most_pages: the first parents may have no rows at all.
    async with aclosing(_read(above, reader.transport.settings.max_pages + 1)) as pages:
        async for rows in pages:
            for row in rows:
                tokens = {name: _token(row, field, reader, above.resource) for name, field in parent.fields.items()}
                yield Place(
                    {name: _text(token) for name, token in tokens.items()},
                    {name: token for name, token in tokens.items() if name in declared},
                )


def _token(row: Row, field: str, reader: PageReader, parent: Resource) -> Raw:
    """Returns the token of a parent's field, or of a dotted path into its row, that can stand in a path."""
    value = row[field] if field in row else find_nested(row, field)
    token = value if isinstance(value, Raw) else Raw(msgspec.json.encode(value))
    decoded = msgspec.json.decode(token)
    text = _text(token)
    is_usable = isinstance(decoded, str | int | float) and not isinstance(decoded, bool) and text.isprintable()
    # A path reads one or two dots as this directory, or the one above.
    if not is_usable or text in {"", ".", ".."}:
        key = ", ".join(f"{name} {shortened(row[name])}" for name in parent.key_names)
        found = kind_of(decoded) if parent.is_sensitive or not isinstance(decoded, str) else shortened(decoded)
        raise PayloadError(
            f"{reader.resource.name}: the row of {parent.name} with {key} has"
            f" {found if field in row or token != NULL else 'no value'} in {field!r}, which cannot stand in the path"
            f" {reader.endpoint.path}."
        )
    return token


def _text(token: Raw) -> str:
    """Returns a text, or a number digit by digit."""
    return str(msgspec.json.decode(token)) if bytes(token)[:1] == b'"' else bytes(token).decode()


def _all_gone(reader: PageReader, gone: int) -> StatusError:
    parent = reader.endpoint.parent.resource if reader.endpoint.parent else ""
    return StatusError(
        f"{reader.resource.name}: {reader.endpoint} answered 404 Not Found for each of {gone} rows of {parent}. There"
        " is no such path: check the endpoint's path and parent, and"
        f" {reader.transport.settings.connector.setting('base_url')}.",
        404,
    )
