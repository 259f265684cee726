"""Pagination by one of dlt's paginators, or one that derives from them.

A paginator of dlt reads a response and writes the next request. It trusts the API: it would follow a link to another
host with the token, go in circles for ever, and take an absent cursor for the end. These guards stand around it.
"""

import copy
import json
from operator import itemgetter
from typing import Any
from urllib.parse import urlsplit

import msgspec
import requests
from dlt.sources.helpers.rest_client.paginators import BasePaginator, OffsetPaginator, RangePaginator
from requests.utils import requote_uri

from analytics_assets.api.catalog import Resource
from analytics_assets.api.http.origin import origin_of
from analytics_assets.api.http.request import ApiRequest, as_pairs
from analytics_assets.api.http.response import ApiResponse
from analytics_assets.api.pagination.base import PaginationError, check_cap
from analytics_assets.api.pagination.next_page import DltResponse, explain_failure, find_problem, has_reference
from analytics_assets.api.pagination.recent_keys import RecentKeys
from analytics_assets.api.settings import Settings

MOST_WITHOUT_NEWS = 100
"""Pages in a row that may bring no new row. A server whose cursor never ends would be asked for ever."""


class DltPagination:
    """Pagination by a paginator of dlt. A position is the request of a page.

    Args:
        resource: The resource to list.
        paginator: The paginator, which is copied.
        settings: Hold the base URL and the limit of pages.
        start: The request that the listing begins with.
    """

    def __init__(self, resource: Resource, paginator: BasePaginator, settings: Settings, start: ApiRequest) -> None:
        self._resource = resource
        self._base_url = settings.base_url
        self._base_url_key = settings.connector.setting("base_url")
        self._max_pages = settings.max_pages
        self._may_lack = settings.endpoint(resource.name).ends_without_cursor
        self._start = start
        self._paginator = copy.deepcopy(paginator)
        self._prepared = _prepare(start, settings.base_url)
        self._first_url = self._prepared.url
        self._paginator.init_request(self._prepared)
        self.first = self._read(self._prepared)
        self._pages = 0
        self._without_news = 0
        self._was_short = False
        self._requested: set[int] = set()
        self._last_keys: list[Any] = []
        self._known = RecentKeys(resource)

    def request(self, position: ApiRequest) -> ApiRequest:
        """Returns the position, which is the request."""
        return position

    def ahead(self, position: ApiRequest, count: int) -> list[ApiRequest]:
        """Returns `position` and, if pages are counted, the requests that follow it; otherwise `position` alone."""
        foreseen = [position]
        if isinstance(self._paginator, RangePaginator):
            paginator, prepared = copy.copy(self._paginator), _copy_request(self._prepared)
            while len(foreseen) < count:
                paginator.current_value += paginator.value_step
                if paginator.maximum_value is not None and paginator.current_value >= paginator.maximum_value:
                    break
                paginator.update_request(prepared)
                foreseen.append(self._read(prepared))
        return foreseen

    def accept(self, position: ApiRequest, rows: list[dict[str, Any]], response: ApiResponse) -> ApiRequest | None:
        """Removes known rows from `rows`, in place, and returns the request of the next page; `None` at the end.

        Raises:
            PaginationError: The response does not say where the next page is, or the next page is at another origin or
                was read before; the pages bring nothing new, or the listing exceeds `max_pages`.
        """
        self._pages += 1
        self._requested.add(hash(position))
        answer = DltResponse(response, self._prepared)
        goes_on = self._update(answer, rows)
        had_rows = bool(rows)
        self._check_rows(rows)
        rows[:] = self._known.keep_new(rows)
        if not goes_on:
            return None
        if had_rows:
            check_cap(self._resource.name, self._pages, self._max_pages)
        self._without_news = 0 if rows else self._without_news + 1
        if self._without_news >= MOST_WITHOUT_NEWS:
            raise PaginationError(
                f"{self._page()} is the last of {MOST_WITHOUT_NEWS} without a new row, and the API says that more"
                f" follow: the listing does not advance. Does {self._class} fit this API?"
            )
        self._paginator.update_request(self._prepared)
        following = self._read(self._prepared)
        if hash(following) in self._requested:
            raise PaginationError(
                f"{self._page()} leads to a page that was read before: the listing does not advance. Does"
                f" {self._class} fit this API?"
            )
        return following

    @property
    def _class(self) -> str:
        return type(self._paginator).__name__

    def _page(self) -> str:
        return f"{self._resource.name}: page {self._pages}"

    def _check_rows(self, rows: list[dict[str, Any]]) -> None:
        keys = list(map(itemgetter(*self._resource.key_names), rows))
        if len(keys) > 1 and keys == self._last_keys:
            raise PaginationError(
                f"{self._page()} repeats the page before: the listing does not advance. Does {self._class} fit this"
                " API, with these parameters?"
            )
        self._last_keys = keys
        if isinstance(self._paginator, OffsetPaginator):
            if keys and self._was_short:
                raise PaginationError(
                    f"{self._page()} follows a page of less than {self._paginator.limit} rows, so rows between them may"
                    f" be missing: the API sends fewer rows than it is asked for. Lower the limit of {self._class}, or"
                    " use ByOffset, which advances by the rows that came."
                )
            self._was_short = len(keys) < self._paginator.limit

    def _update(self, answer: DltResponse, rows: list[dict[str, Any]]) -> bool:
        """Has the paginator read a response. Returns whether a page follows."""
        paginator = self._paginator
        is_dlts = type(paginator).update_state.__module__ == BasePaginator.__module__
        failed = None
        try:
            # A class of the user may read the rows, as dlt has them. dlt's own only ask whether there are any.
            paginator.update_state(answer, rows if is_dlts else msgspec.json.decode(msgspec.json.encode(rows)))
        except Exception as error:  # noqa: BLE001 - dlt's texts quote the whole body
            failed = type(error).__name__
        if failed:
            shown = not self._resource.is_sensitive
            raise PaginationError(f"{self._page()} {explain_failure(paginator, answer, failed, show_values=shown)}")
        if not is_dlts:
            return paginator.has_next_page
        problem = find_problem(paginator, answer, has_rows=bool(rows), may_lack=self._may_lack)
        if problem:
            raise PaginationError(f"{self._page()} {problem}")
        return paginator.has_next_page and has_reference(paginator, answer)

    def _read(self, prepared: requests.Request) -> ApiRequest:
        """Returns what a paginator has made of the request.

        Raises:
            PaginationError: The next page is not below the base URL.
        """
        body = None if prepared.json is None else json.dumps(prepared.json).encode()
        path = self._start.path if prepared.url == self._first_url else self._path_of(prepared.url)
        headers = tuple((prepared.headers or {}).items())
        return ApiRequest(path, as_pairs(prepared.params or {}), prepared.method or "GET", headers, body)

    def _path_of(self, url: object) -> str:
        """Returns path and query of a link below the base URL."""
        link = requote_uri(url) if isinstance(url, str) else ""
        origin = origin_of(link)
        parts, base = urlsplit(link if origin else ""), urlsplit(self._base_url)
        if origin is None or origin != origin_of(self._base_url) or "@" in parts.netloc:
            raise PaginationError(
                f"{self._page()} leads to another origin, {origin or 'no URL'}, for the next page. Pages are read from"
                f" {origin_of(self._base_url)} only, as the credentials belong to it: check that"
                f" {self._base_url_key} is spelled as the API's links are."
            )
        if not f"{parts.path}/".startswith(f"{base.path}/"):
            raise PaginationError(
                f"{self._page()} leads outside of {self._base_url_key}, to {parts.path[:60]!r}, for the next"
                f" page. Set base_url to {base.scheme}://{base.netloc} and begin the endpoints' paths with {base.path}."
            )
        path = parts.path[len(base.path) :]
        return f"{path}?{parts.query}" if parts.query else path


def _prepare(start: ApiRequest, base_url: str) -> requests.Request:
    params: dict[str, Any] = {}
    for name, value in start.params:
        params[name] = value if name not in params else [*_as_list(params[name]), value]
    body = json.loads(start.body) if start.body is not None else None
    return requests.Request(start.method, base_url + start.path, dict(start.headers), params=params, json=body)


def _as_list(value: Any) -> list[Any]:  # noqa: ANN401 - a text or texts
    return value if isinstance(value, list) else [value]


def _copy_request(prepared: requests.Request) -> requests.Request:
    copied = copy.copy(prepared)
    copied.params, copied.json = copy.copy(prepared.params), copy.deepcopy(prepared.json)
    return copied
