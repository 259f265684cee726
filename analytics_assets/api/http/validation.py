"""What a response must satisfy before its rows count: a wrong answer is an error, never zero rows."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import Raw

from analytics_assets.api.catalog import PRIMARY_KEY, Resource
from analytics_assets.api.dialects.base import Endpoint
from analytics_assets.api.dialects.registry import suggest_dialect
from analytics_assets.api.http.body import MOST_WEIGHT, split_body, weigh
from analytics_assets.api.http.errors import PayloadError, StatusError, excerpt, is_page, shortened
from analytics_assets.api.http.response import ApiResponse
from analytics_assets.api.settings import Settings
from analytics_assets.api.stats import SyncStats
from analytics_assets.api.values.cells import BIGINT, UnfitError, read_key
from analytics_assets.api.values.tokens import UNFIT, Row, is_list, is_object

TOTAL = "total"
"""Key of a body that says how many rows the listing has; dlt's own default. The progress needs it, nothing else."""

_OBJECT = msgspec.json.Decoder(dict[str, Raw])

_KEYS: dict[str, msgspec.json.Decoder[Any]] = {
    "bigint": msgspec.json.Decoder(list[int]),
    "text": msgspec.json.Decoder(list[str]),
}

ADVICE = {
    401: "The API did not accept the token: check sources.analytics.api_key, and that it has not expired.",
    403: "The token is valid but may not read this resource: check its scopes or role.",
    404: "There is no such path: check sources.analytics.base_url and its dialect.",
    429: "The API's rate limit outlasted the retries: set sources.analytics.requests_per_second.",
}


def read_rows(response: ApiResponse, resource: Resource, settings: Settings, stats: SyncStats) -> list[Row]:
    """The rows of an answer: the key as it is, all else as tokens, by field. Counts the answer.

    Raises:
        StatusError: Its status is an error.
        PayloadError: Its body is not JSON with a list of rows, each with a key, where the endpoint has them.
    """
    where = f"{resource.name}: GET {response.where}"
    if response.status >= 300:
        advice = _explain_status(response, resource, settings)
        raise StatusError(f"{where} answered {response.status} {response.reason}. {advice}", response.status)
    if response.status == 204:
        raise PayloadError(f"{where} answered 204 No Content; a listing without rows has to be an empty list.")
    endpoint = settings.endpoint(resource.name)
    weight = weigh(response.body)
    if weight > MOST_WEIGHT:
        raise PayloadError(
            f"{where} answered with {len(response.body):,} bytes that hold so many values that they would take about"
            f" {weight / 1e6:,.0f} MB of memory. Set sources.analytics.page_size to less."
        )
    try:
        body, rows = split_body(response.body, endpoint)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise PayloadError(f"{where} answered {response.status} {_describe_body(response, resource, error)}") from error
    if rows is None:
        raise PayloadError(f"{where} answered {response.status}, but {_describe_mismatch(body, resource, endpoint)}")
    stats.pages += 1
    stats.body_bytes += len(response.body)
    stats.weight += weight
    if isinstance(body, dict) and (total := bytes(body.get(TOTAL, b""))[:19]).isdigit():
        stats.total = int(total)
    for row, key in zip(rows, _read_keys(rows, resource, where), strict=True):
        row[PRIMARY_KEY] = key
    return rows


def _read_keys(rows: Sequence[Row], resource: Resource, where: str) -> Sequence[int | str]:
    keys: Sequence[Any]
    try:
        listed = b"[%b]" % b",".join([row[PRIMARY_KEY] for row in rows])
        keys = _KEYS[resource.key_type].decode(listed)
        are_usual = UNFIT not in listed and (all(keys) if resource.key_type == "text" else _are_bigint(keys))
    except (msgspec.DecodeError, KeyError, TypeError):
        are_usual = False
    if not are_usual:
        places = [f"{where}: row {position} of {len(rows)}" for position in range(1, len(rows) + 1)]
        keys = [_read_key(row, resource, place) for row, place in zip(rows, places, strict=True)]
    if len(set(keys)) < len(keys):
        twice = next(key for key, count in Counter(keys).items() if count > 1)
        raise PayloadError(f"{where} lists {PRIMARY_KEY} {shortened(twice)} twice on one page.")
    return keys


def _are_bigint(keys: Sequence[int]) -> bool:
    return not keys or (min(keys) in BIGINT and max(keys) in BIGINT)


def _read_key(row: Row | Raw, resource: Resource, where: str) -> int | str:
    if isinstance(row, Raw):
        raise PayloadError(f"{where} is not an object but {type(_outline(row)).__name__}.")
    try:
        return read_key(bytes(row[PRIMARY_KEY]), resource.key_type)
    except KeyError:
        found = f"only {_keys(row)}"
    except UnfitError:
        found = "another" if resource.is_sensitive else shortened(row[PRIMARY_KEY])
    kind = "an integer" if resource.key_type == "bigint" else "a text"
    if bytes(row.get(PRIMARY_KEY, b""))[:1] == b'"' and resource.key_type == "bigint":
        found += ". If ids are texts, declare it so in api/catalog.py and run with mode: rebuild"
    raise PayloadError(f"{where} has no {PRIMARY_KEY!r} to merge on, which is {kind} in this table: found {found}.")


def _explain_status(response: ApiResponse, resource: Resource, settings: Settings) -> str:
    status, wire_format = response.status, settings.wire_format
    if status == 401 and settings.has_client:
        return (
            f"The API does not accept a token that {settings.token_endpoint} has just issued: is base_url the host of"
            " the same region?"
        )
    if status == 401 and wire_format.expired_code is not None and _error_code(response) == wire_format.expired_code:
        return (
            "The token in sources.analytics.api_key has expired. Set client_id and client_secret instead, and it is"
            " renewed whenever it has to be; or paste a new one."
        )
    if status == 403 and settings.wanted_scope:
        return f"{ADVICE[403]} Its scope is {settings.wanted_scope!r}: see sources.analytics.scope."
    if status in ADVICE:
        return ADVICE[status]
    unreadable = status == wire_format.unreadable_token and not settings.has_client
    hint = (
        " The API answers so, too, if it cannot read the token: check sources.analytics.api_key." if unreadable else ""
    )
    return f"Its body begins: {_shown(response, resource)}.{hint}"


def _error_code(response: ApiResponse) -> object:
    try:
        return _outline(_OBJECT.decode(response.body)["error_code"])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, KeyError):
        return None


def _describe_body(response: ApiResponse, resource: Resource, error: Exception) -> str:
    body, reason = response.body, str(error)
    if not body.strip():
        return f"with a body that is not JSON but empty ({response.content_type})."
    if reason == "Input data was truncated":
        reason = f"it ends in mid-value (byte {len(body)})"
    advice = " Is base_url the API itself, not a proxy or a login page?" if is_page(response) else ""
    return (
        f"with a body that is not JSON ({response.content_type}, {len(body)} bytes): {reason}. It begins:"
        f" {_shown(response, resource)}.{advice}"
    )


def _outline(token: Raw) -> object:
    """What a JSON value is, without what an object or a list holds."""
    if is_object(token) or is_list(token):
        return {} if is_object(token) else []
    return msgspec.json.decode(token)


def _describe_mismatch(values: Any, resource: Resource, endpoint: Endpoint) -> str:  # noqa: ANN401 - as JSON has it
    is_object = isinstance(values, dict)
    body: object = {key: _outline(token) for key, token in values.items()} if is_object else _outline(values)
    wanted, found = "the body is no list", type(body).__name__
    if endpoint.selector is not None:
        wanted = f"there is no list under the key {endpoint.selector!r}"
        if isinstance(body, dict) and endpoint.selector in body:
            found = type(endpoint.find(body)).__name__
    if isinstance(body, dict) and (endpoint.selector is None or endpoint.selector not in body):
        found = f"an object with {_keys(body)}"
    advice = suggest_dialect(resource.name, lambda other: isinstance(other.find(body), list))
    return f"{wanted}: found {found}.{advice or ' Does the dialect fit this API?'}"


def _keys(found: dict[str, Any]) -> str:
    return f"the keys [{', '.join(map(shortened, sorted(found)[:8]))}]"


def _shown(response: ApiResponse, resource: Resource) -> str:
    return "(not shown, as this resource has sensitive fields)" if resource.is_sensitive else excerpt(response)
