"""What a response must satisfy before its rows count: a wrong answer is an error, never zero rows."""

from typing import Any
from urllib.parse import urlsplit

from dlt.common.json import json
from dlt.sources.helpers.rest_client.paginators import BasePaginator, OffsetPaginator, SinglePagePaginator
from requests import HTTPError, Request, Response

from analytics_assets.api.catalog import PRIMARY_KEY, Resource
from analytics_assets.api.report import Report
from analytics_assets.api.settings import Settings

EXCERPT = 80
"""Characters of a wrong body that an error shows."""

ADVICE = {
    401: "The API did not accept the token: check sources.analytics.api_key, and that it has not expired.",
    403: "The token is valid but may not read this resource: check its scopes or role.",
    404: "There is no such path: check sources.analytics.base_url and the path in the catalogue.",
    429: "The API's rate limit outlasted the retries: set sources.analytics.requests_per_second.",
}


class StatusError(HTTPError):
    """The API answered with an error status."""


class PayloadError(ValueError):
    """The API answered 200, but not with what the resource's rows look like."""


class PagingError(ValueError):
    """The pages of a listing do not fit together."""


class PageGuard:
    """Checks the status and the shape of every response of one resource, and counts it. A response hook of dlt's."""

    def __init__(self, resource: Resource, report: Report) -> None:
        self.resource = resource
        self.report = report

    def __call__(self, response: Response) -> None:
        """Checks one response.

        Raises:
            StatusError: Its status is 400 or above. Those of `transport.RETRIED_STATUSES` are then retried.
            PayloadError: Its body is not a JSON object with a list of rows under the resource's selector.
        """
        if response.is_redirect:
            return
        where = f"{self.resource.name}: GET {urlsplit(response.url).path}"
        if response.status_code >= 400:
            advice = ADVICE.get(response.status_code, "Its body begins: " + _excerpt(response))
            problem = f"{where} answered {response.status_code} {response.reason}. {advice}"
            raise StatusError(problem, response=response)
        selector = self.resource.selector
        try:
            body = json.loadb(response.content)
        except ValueError as error:
            kind = response.headers.get("Content-Type", "no content type")
            raise PayloadError(
                f"{where} answered {response.status_code} with a body that is not JSON ({kind}, {len(response.content)}"
                f" bytes), beginning: {_excerpt(response)}. Is base_url the API itself, not a proxy or a login page?"
            ) from error
        rows = body.get(selector) if isinstance(body, dict) else None
        if not isinstance(rows, list):
            keys = f"an object with the keys {sorted(body)[:8]}" if isinstance(body, dict) else type(body).__name__
            found = keys if not isinstance(body, dict) or selector not in body else type(rows).__name__
            raise PayloadError(
                f"{where} answered {response.status_code}, but there is no list under the key {selector!r}: found"
                f" {found}. Does the dialect fit this API?"
            )
        for position, row in enumerate(rows):
            _check_row(row, f"{where}: row {position + 1} of {len(rows)}")
        self.report.pages += 1
        self.report.body_bytes += len(response.content)


def _check_row(row: Any, where: str) -> None:  # noqa: ANN401 - whatever JSON holds
    if not isinstance(row, dict):
        raise PayloadError(f"{where} is not an object but {type(row).__name__}.")
    key = row.get(PRIMARY_KEY)
    if not isinstance(key, int | str) or isinstance(key, bool) or key == "":
        found = f"{key!r:.40}" if PRIMARY_KEY in row else f"only the keys {sorted(row)[:8]}"
        raise PayloadError(f"{where} has no {PRIMARY_KEY!r} to merge on: found {found}.")


def build_paginator(resource: Resource, settings: Settings) -> BasePaginator:
    """The paginator of a resource: by offset until an empty page, or one page."""
    if not resource.paged:
        return SinglePagePaginator()
    return GuardedOffsetPaginator(resource, settings)


class GuardedOffsetPaginator(OffsetPaginator):
    """Offset paging that ends on an empty page and advances by the rows that came.

    dlt's own advances by the page size, so a server that caps the page size would have rows skipped.
    """

    def __init__(self, resource: Resource, settings: Settings) -> None:
        super().__init__(
            limit=settings.rows_per_page,
            offset_param=settings.wire.offset_param,
            limit_param=settings.wire.limit_param,
            total_path=None,
        )
        self._resource = resource
        self._max_pages = settings.max_pages
        self._pages = 0
        self._last_keys: set[Any] = set()

    def init_request(self, request: Request) -> None:
        """Starts a new listing."""
        super().init_request(request)
        self._pages = 0
        self._last_keys = set()

    def update_state(self, response: Response, data: list[Any] | None = None) -> None:
        """Moves to the next page.

        Raises:
            PagingError: The page repeats the last one, or the listing is longer than `max_pages`.
        """
        rows = data or []
        self._pages += 1
        keys = {row[PRIMARY_KEY] for row in rows}
        if keys and keys <= self._last_keys:
            raise PagingError(
                f"{self._resource.name}: page {self._pages} ({self.param_name}={self.current_value}) holds only rows of"
                f" the page before. The API seems to ignore {self.param_name!r}, or to read it as something else than"
                " an offset; set sources.analytics.dialect to the dialect that fits."
            )
        if rows and self._pages >= self._max_pages:
            raise PagingError(
                f"{self._resource.name}: the listing goes on after {self._pages} pages"
                f" ({self.current_value + len(rows)} rows). If it really is that long, raise"
                " sources.analytics.max_pages or page_size."
            )
        self._last_keys = keys
        self.value_step = len(rows)
        super().update_state(response, data)


def _excerpt(response: Response) -> str:
    text = " ".join(response.content[: 4 * EXCERPT].decode("utf-8", errors="replace").split())
    return repr(text[:EXCERPT])
