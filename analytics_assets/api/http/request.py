"""A request to the API: what a dialect, the filters and the pagination make of it, before credentials are added."""

import json
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlencode

from msgspec import Raw

from analytics_assets.api.dialects.base import PLACEHOLDER, Dialect, Endpoint
from analytics_assets.api.dialects.selector import set_value

Pairs = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class ApiRequest:
    """One request to the API. Equal requests are the same page."""

    path: str
    """Encoded path under the base URL, and the query of a link that the API has sent."""
    params: Pairs = ()
    method: str = "GET"
    headers: Pairs = ()
    body: bytes | None = None

    @property
    def path_and_query(self) -> str:
        """Encoded path and query."""
        if not self.params:
            return self.path
        return f"{self.path}{'&' if '?' in self.path else '?'}{urlencode(self.params)}"

    def with_params(self, params: Mapping[str, str]) -> "ApiRequest":
        """Returns the request with these parameters, in place of those of the same name."""
        kept = [pair for pair in self.params if pair[0] not in params]
        return ApiRequest(self.path, (*kept, *params.items()), self.method, self.headers, self.body)


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a request carries for the API to know the client."""

    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    params: Pairs = field(default=(), repr=False)
    secrets: tuple[str, ...] = field(default=(), repr=False)
    """Values that no message may show."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where the listing of a child is: what one row of the parent says."""

    path: Mapping[str, str]
    """Values of the placeholders in the path."""
    row: Mapping[str, Raw]
    """Tokens of declared fields that a row of the listing may lack."""


def first_request(
    endpoint: Endpoint, dialect: Dialect, filters: Mapping[str, Any], place: Mapping[str, str] | None = None
) -> ApiRequest:
    """Returns the request that a listing begins with.

    Args:
        endpoint: Where the listing is.
        dialect: The endpoint's dialect.
        filters: Values of filters, by parameter.
        place: Values of the placeholders in the path.
    """
    body = deepcopy(dict(endpoint.body)) if endpoint.body is not None else None
    in_body = {endpoint.since_param, endpoint.until_param} if body is not None else set()
    for name in in_body & filters.keys():
        set_value(body, str(name), filters[str(name)])
    params = {**endpoint.params, **{name: value for name, value in filters.items() if name not in in_body}}
    return ApiRequest(
        path=fill_path(endpoint.path, place or {}),
        params=as_pairs(params),
        method=endpoint.method,
        headers=tuple({**dialect.headers, **endpoint.headers}.items()),
        body=None if body is None else json.dumps(body).encode(),
    )


def fill_path(path: str, values: Mapping[str, str]) -> str:
    """Returns a path with these values, encoded, in its placeholders."""
    return PLACEHOLDER.sub(lambda match: quote(values[match[1]], safe=""), path)


def as_pairs(params: Mapping[str, Any]) -> Pairs:
    """Returns the parameters of a request as texts. A list is a repeated parameter, and `None` is left out."""
    return tuple(
        (name, str(each).lower() if isinstance(each, bool) else str(each))
        for name, value in params.items()
        for each in (value if isinstance(value, list | tuple) else [value])
        if each is not None
    )
