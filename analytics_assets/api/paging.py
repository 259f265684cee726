"""How a listing is read page by page, without losing a row while it changes.

With plain offsets, a row that is deleted upstream in the middle of a listing moves all later ones forward, and the next
page misses one that is alive. So each page starts on the last row of the page before: as long as they share a row,
nothing lies between them. Where they share none, the listing has changed, and it is read again from one page earlier.
"""

from typing import Any

from dlt.sources.helpers.rest_client.paginators import BasePaginator, OffsetPaginator, SinglePagePaginator
from requests import Request, Response

from analytics_assets.api.catalog import PRIMARY_KEY, Resource
from analytics_assets.api.settings import Settings

MOST_SETBACKS = 5
"""How often in a row a listing is read again from one page earlier, or brings nothing new, before it fails."""


class PagingError(ValueError):
    """The pages of a listing do not fit together."""


def build_paginator(resource: Resource, settings: Settings) -> BasePaginator:
    """The paginator of a resource: by offset until an empty page, or one page."""
    return OverlappingOffsetPaginator(resource, settings) if resource.paged else SinglePagePaginator()


class OverlappingOffsetPaginator(OffsetPaginator):
    """Offset paging in which each page begins with the last row of the page before.

    Only an empty page is the end: after a page that is shorter than others, the next request asks for what lies behind
    it. dlt's own paginator advances by the page size, so that a server that caps it would have rows skipped; this one
    advances by the rows that came. Rows that were on an earlier page are taken out of the page.
    """

    def __init__(self, resource: Resource, settings: Settings) -> None:
        super().__init__(
            limit=settings.rows_per_page,
            offset_param=settings.wire.offset_param,
            limit_param=settings.wire.limit_param,
            total_path=None,
        )
        self._name = resource.name
        self._max_pages = settings.max_pages
        self._start()

    def _start(self) -> None:
        self._pages = 0
        self._setbacks = 0
        self._consumed = 0
        self._largest = 0
        self._last_page: list[Any] = []
        self._seen: set[Any] = set()

    def init_request(self, request: Request) -> None:
        """Starts a new listing."""
        super().init_request(request)
        self._start()

    def update_state(self, response: Response, data: list[Any] | None = None) -> None:  # noqa: ARG002 - dlt's signature
        """Takes known rows out of `data`, in place, and chooses the next request.

        Raises:
            PagingError: The page repeats the last one or lists a row twice, the listing keeps changing, or it is longer
                than `max_pages`.
        """
        rows: list[Any] = [] if data is None else data
        keys = [row[PRIMARY_KEY] for row in rows]
        asked = self.current_value
        self._pages += 1
        if not rows and asked == self._consumed:
            self._has_next_page = False
            return
        self._check_length(len(rows))
        if keys and keys == self._last_page:
            raise PagingError(
                f"{self._name}: page {self._pages} ({self.param_name}={asked}) repeats the page before. The API seems"
                f" to ignore {self.param_name!r}, or to read it as something else than an offset; set"
                " sources.analytics.dialect to the dialect that fits."
            )
        if asked and self._largest > 1 and self._seen.isdisjoint(keys):
            rows.clear()
            self._set_back(asked)
            return
        again = [key for key in keys[_leading(keys, self._seen) :] if key in self._seen]
        if again and keys[:1] == self._last_page[-1:]:
            raise PagingError(
                f"{self._name}: {PRIMARY_KEY} {again[0]!r} is listed twice, the second time on page {self._pages}"
                f" ({self.param_name}={asked}). Either the listing changed while it was read, and another run helps, or"
                " the API repeats rows."
            )
        self._accept(rows, keys, asked)

    def _accept(self, rows: list[Any], keys: list[Any], asked: int) -> None:
        rows[:] = [row for row, key in zip(rows, keys, strict=True) if key not in self._seen]
        from_the_start_again = asked == 0 and self._seen
        if rows and not from_the_start_again:
            self._setbacks = 0
        elif self._seen and not rows:
            self._count_setback(asked)
        self._seen.update(keys)
        self._last_page = keys
        self._consumed = asked + len(keys)
        short = len(keys) < (self._largest or self.limit)
        self._largest = max(self._largest, len(keys))
        self.current_value = self._consumed if short or self._largest == 1 else self._consumed - 1

    def _set_back(self, asked: int) -> None:
        self._count_setback(asked)
        self._last_page = []
        if asked == self._consumed:
            # Behind a short page there are rows after all: ask for them with the shared row.
            self.current_value = self._consumed - 1
        else:
            self.current_value = max(0, asked - self._largest + 1)

    def _count_setback(self, asked: int) -> None:
        self._setbacks += 1
        if self._setbacks > MOST_SETBACKS:
            raise PagingError(
                f"{self._name}: page {self._pages} ({self.param_name}={asked}) does not follow the pages before, and"
                f" reading again has not helped {MOST_SETBACKS} times. Either the listing changes faster than it can be"
                f" read (a larger sources.analytics.page_size helps), or the API reads {self.param_name!r} as something"
                " else than an offset (set sources.analytics.dialect to the dialect that fits)."
            )

    def _check_length(self, rows: int) -> None:
        if rows and self._pages >= self._max_pages:
            raise PagingError(
                f"{self._name}: the listing goes on after {self._pages} pages ({self.current_value + rows} rows). If it"
                " really is that long, raise sources.analytics.max_pages or page_size."
            )


def _leading(keys: list[Any], seen: set[Any]) -> int:
    """How many keys at the head of a page were on an earlier one."""
    return next((index for index, key in enumerate(keys) if key not in seen), len(keys))
