"""How a listing is read page by page, without losing a row while it changes.

With plain offsets, a row that is deleted upstream in the middle of a listing moves all later ones forward, and the next
page misses one that is alive. So each page starts on the last row of the page before: as long as they share a row,
nothing lies between them. Where they share none, the listing has changed, and it is read again from one page earlier.

Paging by id does not have this problem, as an id stays where it is. It has others: it trusts that the rows are ordered
by id, and that the API reads the parameter as an id at all.
"""

from collections import deque
from itertools import chain, pairwise
from typing import Any, Protocol

from analytics_assets.api.catalog import PRIMARY_KEY, Resource
from analytics_assets.api.dialect import ById, ByOffset, Endpoint
from analytics_assets.api.dialects.registry import advise
from analytics_assets.api.settings import Settings

MOST_SETBACKS = 5
"""How often in a row a listing is read again from one page earlier, or brings nothing new, before it fails."""

REMEMBERED_ROWS = 100_000
"""How many rows back a row that is listed twice is noticed, to bound memory; a merge loads it once in any case."""


class PagingError(ValueError):
    """The pages of a listing do not fit together."""


class Paging(Protocol):
    """What to ask for next. A position is whatever tells one page of a listing from another; the first is 0."""

    def query(self, position: int) -> dict[str, str]:
        """The parameters of the request for the page at a position."""

    def accept(self, position: int, rows: list[dict[str, Any]]) -> int | None:
        """Takes the rows of the page at a position, in place less those of earlier pages; returns the next position.

        Returns `None` at the end.

        Raises:
            PagingError: The page does not fit to those before.
        """

    def ahead(self, position: int, count: int) -> list[int]:
        """Up to `count` positions that are likely to follow a position, itself included."""


def start_paging(resource: Resource, settings: Settings) -> Paging:
    """The paging of a new listing of a resource, as its endpoint has it."""
    match settings.endpoint(resource.name).paging:
        case ByOffset() as by_offset:
            return OffsetPaging(resource, by_offset, settings)
        case ById(descending=True) as by_id:
            return SmallestIdPaging(resource, by_id, settings)
        case ById() as by_id:
            return LastIdPaging(resource, by_id, settings)
    return SinglePage()


class SinglePage:
    """A listing that comes whole."""

    def query(self, position: int) -> dict[str, str]:  # noqa: ARG002 - the protocol's
        """No parameters."""
        return {}

    def accept(self, position: int, rows: list[dict[str, Any]]) -> None:
        """Nothing follows."""

    def ahead(self, position: int, count: int) -> list[int]:  # noqa: ARG002 - the protocol's
        """The page alone."""
        return [position]


class OffsetPaging:
    """Offset paging in which each page begins with the last row of the page before.

    Only an empty page is the end: after a page that is shorter than others, the next request asks for what lies behind
    it. The offset advances by the rows that came, not by those asked for, as servers cap the page size. Rows that were
    on an earlier page are taken out of the page.
    """

    def __init__(self, resource: Resource, by_offset: ByOffset, settings: Settings) -> None:
        self._name = resource.name
        self._offset_param = by_offset.param
        self._limit_param = by_offset.size_param
        self._limit = settings.rows_per_page
        self._max_pages = settings.max_pages
        self._pages = 0
        self._setbacks = 0
        self._consumed = 0
        self._largest = 0
        self._read_before = 0
        self._like_ids = 0
        self._stride = 0
        self._last_page: list[Any] = []
        self._seen: set[Any] = set()
        self._pages_seen: deque[list[Any]] = deque()

    def query(self, position: int) -> dict[str, str]:
        """The offset and the page size."""
        return {self._offset_param: str(position), self._limit_param: str(self._limit)}

    def ahead(self, position: int, count: int) -> list[int]:
        """The offsets of the next pages, if they are as long as the last one was; none while pages do not follow."""
        return [position + self._stride * step for step in range(count if self._stride else 1)]

    def accept(self, position: int, rows: list[dict[str, Any]]) -> int | None:
        """Takes known rows out of `rows` and chooses the next offset.

        Raises:
            PagingError: The page repeats the last one or lists a row twice, the listing keeps changing, or it is longer
                than `max_pages`.
        """
        keys = [row[PRIMARY_KEY] for row in rows]
        self._pages += 1
        if not rows and position == self._consumed:
            return None
        self._check_length(position, len(rows))
        # A shorter page may come again because rows were inserted before it.
        if keys == self._last_page and len(keys) == self._largest > 1:
            raise PagingError(
                f"{self._name}: page {self._pages} ({self._offset_param}={position}) repeats the page before. The API"
                f" ignores {self._offset_param!r}, or reads it as something else than an offset.{self._advice()}"
            )
        self._check_meaning(position, keys)
        if position and self._largest > 1 and self._seen.isdisjoint(keys):
            rows.clear()
            return self._set_back(position)
        again = [key for key in keys[_leading(keys, self._seen) :] if key in self._seen]
        if again and keys[:1] == self._last_page[-1:] and position >= self._read_before:
            raise PagingError(
                f"{self._name}: {PRIMARY_KEY} {again[0]!r} is listed twice, the second time on page {self._pages}"
                f" ({self._offset_param}={position}). Either the listing changed while it was read, and another run"
                " helps, or the API repeats rows."
            )
        return self._advance(rows, keys, position)

    def _advance(self, rows: list[dict[str, Any]], keys: list[Any], position: int) -> int:
        had_rows = bool(self._seen)
        rows[:] = [row for row, key in zip(rows, keys, strict=True) if key not in self._seen]
        from_the_start_again = position == 0 and had_rows
        if rows and not from_the_start_again:
            self._setbacks = 0
        elif had_rows and not rows:
            self._count_setback(position)
        self._remember(keys)
        self._consumed = position + len(keys)
        short = len(keys) < (self._largest or self._limit)
        self._largest = max(self._largest, len(keys))
        follows = self._consumed if short or self._largest == 1 else self._consumed - 1
        self._stride = 0 if short else follows - position
        return follows

    def _remember(self, keys: list[Any]) -> None:
        self._last_page = keys
        self._pages_seen.append(keys)
        self._seen.update(keys)
        while len(self._seen) > REMEMBERED_ROWS and len(self._pages_seen) > MOST_SETBACKS:
            self._seen.difference_update(self._pages_seen.popleft())
            self._seen.update(self._pages_seen[0][:1])

    def _set_back(self, position: int) -> int:
        self._count_setback(position)
        # Known rows come again then, perhaps a little further on.
        self._read_before = max(self._read_before, self._consumed + self._largest)
        self._last_page = []
        self._stride = 0
        if position == self._consumed:
            # Behind a short page there are rows after all: ask for them with the shared row.
            return self._consumed - 1
        return max(0, position - self._largest + 1)

    def _check_meaning(self, position: int, keys: list[Any]) -> None:
        """Notices an API that lists the rows with an id above the offset.

        Where ids count the rows, that is the same. Where there are fewer of them, every page goes back to the first id
        above the offset, which rows that move may look like once.
        """
        first = keys[0] if keys else None
        if [first] == self._last_page[-1:] or first not in self._seen or not 0 < position < REMEMBERED_ROWS:
            self._like_ids = 0
            return
        ids = [key for key in self._seen if type(key) is int]
        skipped = sum(key <= position for key in ids)
        is_next = first == min((key for key in ids if key > position), default=None)
        self._like_ids = self._like_ids + 1 if is_next and 4 * skipped < 3 * position else 0
        if self._like_ids == 2:
            raise PagingError(
                f"{self._name}: page {self._pages} ({self._offset_param}={position}) begins with {PRIMARY_KEY} {first},"
                f" as the page before with the first {PRIMARY_KEY} above {self._offset_param!r}. The API reads it as"
                f" an id and not as an offset.{self._advice()}"
            )

    def _count_setback(self, position: int) -> None:
        self._setbacks += 1
        if self._setbacks > MOST_SETBACKS:
            raise PagingError(
                f"{self._name}: page {self._pages} ({self._offset_param}={position}) does not follow the pages before,"
                f" and reading again has not helped {MOST_SETBACKS} times. Either the listing changes faster than it"
                " can be read (a larger sources.analytics.page_size helps), or the API reads"
                f" {self._offset_param!r} as something else than an offset.{self._advice()}"
            )

    def _advice(self) -> str:
        def fits(endpoint: Endpoint) -> bool:
            by_id = isinstance(endpoint.paging, ById) and endpoint.paging.param == self._offset_param
            return by_id or endpoint.since_param == self._offset_param

        return advise(self._name, fits)

    def _check_length(self, position: int, rows: int) -> None:
        if rows and self._pages >= self._max_pages:
            raise PagingError(
                f"{self._name}: the listing goes on after {self._pages} pages ({position + rows} rows). If it really is"
                " that long, raise sources.analytics.max_pages or page_size."
            )


class IdPaging:
    """Paging by the id where the page before has ended; a position is such an id. Only an empty page is the end.

    An empty page behind a full one is the end by chance, or that of a server that does not read the parameter as an id.
    So the last row is asked for once more, from one row before it.
    """

    def __init__(self, resource: Resource, by_id: ById, settings: Settings) -> None:
        self._name = resource.name
        self._param = by_id.param
        self._size_param = by_id.size_param
        self._limit = settings.rows_per_page
        self._max_pages = settings.max_pages
        self._pages = 0
        self._last_page: list[int] = []
        self._last_position = 0
        self._asked_again: int | None = None

    def query(self, position: int) -> dict[str, str]:
        """The page size, and from the second page on the id."""
        return {self._size_param: str(self._limit)} | ({self._param: str(position)} if position else {})

    def ahead(self, position: int, count: int) -> list[int]:  # noqa: ARG002 - the protocol's
        """The page alone: where the next one begins is known when this one has come."""
        return [position]

    def accept(self, position: int, rows: list[dict[str, Any]]) -> int | None:
        """Takes known rows out of `rows` and chooses the id behind which the next page is.

        Raises:
            PagingError: The page does not begin behind the id, the rows are not ordered by id, there is nothing where
                there was a row, or the listing is longer than `max_pages`.
        """
        self._pages += 1
        if not rows:
            return self._find_end(position)
        if self._pages >= self._max_pages:
            raise PagingError(
                f"{self._name}: the listing goes on after {self._pages} pages. If it really is that long, raise"
                " sources.analytics.max_pages or page_size."
            )
        ids = [row[PRIMARY_KEY] for row in rows]
        odd = [each for each in ids if type(each) is not int or each < 1]
        if odd:
            raise PagingError(
                f"{self._where(position)} has the {PRIMARY_KEY} {odd[0]!r:.40}, and paging by id takes numbers from 1."
            )
        follows = self._follow(position, ids, rows)
        self._last_page, self._last_position = ids, position
        if position == self._asked_again:
            if not rows:
                return None
            self._asked_again = None
        return follows

    def _follow(self, position: int, ids: list[int], rows: list[dict[str, Any]]) -> int:
        raise NotImplementedError

    def _row_before_last(self) -> int:
        raise NotImplementedError

    def _find_end(self, position: int) -> int | None:
        if position == self._asked_again:
            raise PagingError(
                f"{self._where(position)} is empty, though a row lies behind it: after a full page"
                f" comes nothing. The API reads {self._param!r} as something else than an id.{self._advice()}"
            )
        if len(self._last_page) < self._limit or self._asked_again is not None:
            return None
        self._asked_again = self._row_before_last() if len(self._last_page) > 1 else self._last_position
        return self._asked_again

    def _where(self, position: int) -> str:
        return f"{self._name}: page {self._pages} ({f'{self._param}={position}' if position else 'the first'})"

    def _advice(self) -> str:
        def fits(endpoint: Endpoint) -> bool:
            return isinstance(endpoint.paging, ByOffset) and endpoint.paging.param == self._param

        return advise(self._name, fits)


class LastIdPaging(IdPaging):
    """Ids ascend: the next page is behind the last of them."""

    def _follow(self, position: int, ids: list[int], rows: list[dict[str, Any]]) -> int:
        if position and ids[0] <= position:
            raise PagingError(
                f"{self._where(position)} begins with {PRIMARY_KEY} {ids[0]}, which is not behind it: the listing does"
                f" not advance. The API ignores {self._param!r} or reads it as something else than the last"
                f" id.{self._advice()}"
            )
        for one, other in pairwise(ids):
            if one >= other:
                raise PagingError(
                    f"{self._where(position)} is not ordered by {PRIMARY_KEY}: {other} follows {one}. With the last id"
                    f" in {self._param!r}, rows would be lost."
                )
        if position == self._asked_again:
            rows[:] = [row for row in rows if row[PRIMARY_KEY] > self._last_page[-1]]
        return ids[-1]

    def _row_before_last(self) -> int:
        return self._last_page[-2]


class SmallestIdPaging(IdPaging):
    """Ids descend, or nearly so: the next page is below the smallest of them.

    A server may order by time instead, to which ids are close, and pages may overlap a little. Where a full page is out
    of order by some ids, a row with a greater id than its smallest may be on no page yet. So the next page begins that
    much higher, and known rows are taken out of it.
    """

    def __init__(self, resource: Resource, by_id: ById, settings: Settings) -> None:
        super().__init__(resource, by_id, settings)
        self._recent: deque[set[int]] = deque(maxlen=4)
        self._positions: set[int] = set()
        self._disorder = 0

    def _follow(self, position: int, ids: list[int], rows: list[dict[str, Any]]) -> int:
        self._positions.add(position)
        known = set(chain.from_iterable(self._recent))
        rows[:] = [row for row in rows if row[PRIMARY_KEY] not in known]
        self._recent.append(set(ids))
        smallest = lowest = min(ids)
        if len(ids) >= self._limit and rows:
            self._disorder = max(self._disorder, _disorder(ids))
            lowest += self._disorder + bool(self._disorder)
            if 2 * self._disorder > max(ids) - smallest:
                raise PagingError(
                    f"{self._where(position)} is not ordered by {PRIMARY_KEY}, from {max(ids)} down to {smallest}. With"
                    f" the smallest id in {self._param!r}, rows would be lost."
                )
        # Without a new row it goes on from where it has been asked last, or the order of the API has its end.
        for follows in (lowest, smallest, ids[-1]):
            if follows not in self._positions:
                return follows
        raise PagingError(
            f"{self._where(position)} brings nothing new: the listing does not advance. The API ignores {self._param!r}"
            f" or reads it as something else than the smallest id.{self._advice()}"
        )

    def _row_before_last(self) -> int:
        return sorted(self._last_page)[1]


def _disorder(ids: list[int]) -> int:
    """By how much an id is greater than one before it, at most; 0 if they descend."""
    lowest, most = ids[0], 0
    for each in ids:
        lowest = min(lowest, each)
        most = max(most, each - lowest)
    return most


def _leading(keys: list[Any], seen: set[Any]) -> int:
    """How many keys at the head of a page were on an earlier one."""
    return next((index for index, key in enumerate(keys) if key not in seen), len(keys))
