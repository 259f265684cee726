"""Validation of responses: a wrong response is an error, never zero rows."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from msgspec import Raw

from analytics_assets.api.catalog import ColumnType, Resource
from analytics_assets.api.http.auth_fields import credential_keys
from analytics_assets.api.http.body import describe_lack, split_body
from analytics_assets.api.http.errors import PayloadError, StatusError, excerpt, is_page, kind_of, name_keys, shortened
from analytics_assets.api.http.response import ApiResponse
from analytics_assets.api.http.weight import MOST_WEIGHT
from analytics_assets.api.settings import Settings
from analytics_assets.api.stats import SyncStats
from analytics_assets.api.values.cells import BIGINT, UnfitError, read_key
from analytics_assets.api.values.tokens import NULL, UNFIT, Row, is_list, is_object
from analytics_assets.api.values.usual import UsualRow

TOTAL = "total"
"""Key of a body with the number of rows in the listing, as dlt's default has it. Only the progress display uses it."""

_OBJECT = msgspec.json.Decoder(dict[str, Raw])

_KEYS: dict[str, msgspec.json.Decoder[Any]] = {
    "bigint": msgspec.json.Decoder(list[int]),
    "text": msgspec.json.Decoder(list[str]),
}

ADVICE = {
    401: "The API did not accept the token: check {api_key}, and that it has not expired.",
    403: "The token is valid but may not read this resource: check its scopes or role.",
    404: "There is no such path, or no such page: check {base_url}, its dialect, and the path of the endpoint.",
    429: "The API's rate limit outlasted the retries: set {requests_per_second}.",
}
"""What to do about a status, for people. Keys of settings stand in braces."""


def read_rows(  # noqa: PLR0913, PLR0917 - a response, and how to read it
    response: ApiResponse,
    resource: Resource,
    settings: Settings,
    stats: SyncStats,
    lacking: Mapping[str, Raw] | None = None,
    usual: "msgspec.json.Decoder[list[Any]] | None" = None,
) -> list[Row]:
    """Returns the rows of a response and counts it in `stats`.

    A row has its primary key as Python values, and all other fields as JSON tokens. With `usual` the rows are such as
    `values.usual` has them, if all their values are usual.

    Args:
        response: The response.
        resource: The resource of the rows.
        settings: Hold the resource's endpoint.
        stats: Stats in which the page is counted.
        lacking: Tokens of fields that a row may lack, or have as null. Only for rows that are read as tokens.
        usual: Reads the rows if all their values are usual.

    Raises:
        StatusError: The status is an error.
        PayloadError: The body is not JSON, has no list where the endpoint has its rows, has a row without a usable key
            or with the key of another row, or would take more memory than `MOST_WEIGHT`.
    """
    request = f"{resource.name}: {response.method} {response.where}"
    if response.status >= 300:
        tried = (
            f", in each of {response.attempts} attempts in {response.seconds:.0f} s" if response.attempts > 1 else ""
        )
        advice = _explain_status(response, resource, settings)
        raise StatusError(f"{request} answered {response.status} {response.reason}{tried}. {advice}", response.status)
    if response.status == 204:
        raise PayloadError(
            f"{request} answered 204 No Content; a listing without rows has to be an empty list. Does the dialect fit"
            " this API?"
        )
    endpoint = settings.endpoint(resource.name)
    if response.weight > MOST_WEIGHT:
        raise PayloadError(
            f"{request} answered with {len(response.body):,} bytes that hold so many values that they would take about"
            f" {response.weight / 1e6:,.0f} MB of memory. Set {settings.connector.setting('page_size')} to less."
        )
    try:
        body, rows = split_body(response.body, endpoint, usual)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        problem = _describe_body(response, resource, error)
        raise PayloadError(f"{request} answered {response.status} {problem}") from error
    if rows is None:
        raise PayloadError(f"{request} answered {response.status}, but {_describe_mismatch(body, resource, settings)}")
    stats.pages += 1
    stats.body_bytes += len(response.body)
    stats.weight += response.weight
    if isinstance(body, dict) and (total := bytes(body.get(TOTAL, b""))[:19]).isdigit():
        stats.total = int(total)
    for name, token in (lacking or {}).items():
        for row in rows:
            if isinstance(row, dict) and row.get(name, NULL) == NULL:
                row[name] = token
    _set_keys(rows, resource, request)
    return rows


def _set_keys(rows: Sequence[Row], resource: Resource, request: str) -> None:
    """Replaces the tokens of the key by Python values, and fails if two rows have the same key."""
    names, types = resource.key_names, resource.key_types
    are_usual = bool(rows) and isinstance(rows[0], UsualRow)
    fields = [
        [row[name] for row in rows] if are_usual else _read_keys(rows, name, type_, resource, request)
        for name, type_ in zip(names, types, strict=True)
    ]
    keys: Sequence[Any] = fields[0] if len(fields) == 1 else list(zip(*fields, strict=True))
    if len(set(keys)) < len(keys):
        twice = next(key for key, count in Counter(keys).items() if count > 1)
        raise PayloadError(
            f"{request} lists {resource.key_label} {shortened(twice)} twice on one page. A merge would keep one of the"
            " rows."
        )
    for name, values in () if are_usual else zip(names, fields, strict=True):
        for row, value in zip(rows, values, strict=True):
            row[name] = value


def _read_keys(
    rows: Sequence[Row], name: str, type_: ColumnType, resource: Resource, request: str
) -> Sequence[int | str]:
    """Reads a field of the keys of a page: all values at once if they are as usual, which is faster, or one by one."""
    try:
        listed = b"[%b]" % b",".join([row[name] for row in rows])
        keys: Sequence[Any] = _KEYS[type_].decode(listed)
        are_usual = UNFIT not in listed and (all(keys) if type_ == "text" else _are_bigint(keys))
    except (msgspec.DecodeError, KeyError, TypeError):
        are_usual = False
    if are_usual:
        return keys
    places = [f"{request}: row {position} of {len(rows)}" for position in range(1, len(rows) + 1)]
    return [_read_key(row, name, type_, resource, place) for row, place in zip(rows, places, strict=True)]


def _are_bigint(keys: Sequence[int]) -> bool:
    return not keys or (min(keys) in BIGINT and max(keys) in BIGINT)


def _read_key(row: Row | Raw, name: str, type_: ColumnType, resource: Resource, place: str) -> int | str:
    if isinstance(row, Raw):
        raise PayloadError(f"{place} is not an object but {kind_of(_outline(row))}.")
    try:
        return read_key(bytes(row[name]), type_)
    except KeyError:
        found = f"only {name_keys(row)}"
    except UnfitError:
        found = "another value" if resource.is_sensitive else shortened(row[name])
    kind = "an integer" if type_ == "bigint" else "a text"
    if bytes(row.get(name, b""))[:1] == b'"' and type_ == "bigint":
        found += ". If ids are texts, declare it so in the catalog and run with mode: rebuild"
    raise PayloadError(f"{place} has no {name!r} to merge on, which is {kind} in this table: found {found}.")


def _explain_status(response: ApiResponse, resource: Resource, settings: Settings) -> str:
    status, wire_format = response.status, settings.wire_format
    if status == 401 and wire_format.auth is not None:
        keys = " and ".join(credential_keys(wire_format.auth, settings)) or "its credentials"
        return f"The API did not accept the credentials of {type(wire_format.auth).__name__}: check {keys}."
    if status == 401 and settings.has_client:
        return (
            f"The API does not accept a token that {settings.token_endpoint} has just issued: is base_url the host of"
            " the same region?"
        )
    if status == 401 and wire_format.expired_code is not None and _error_code(response) == wire_format.expired_code:
        return (
            f"The token in {settings.connector.setting('api_key')} has expired. Set client_id and client_secret"
            " instead, and it is renewed whenever it has to be; or paste a new one."
        )
    if status == 403 and settings.wanted_scope:
        return f"{ADVICE[403]} Its scope is {settings.wanted_scope!r}: see {settings.connector.setting('scope')}."
    if status in ADVICE:
        named = {key: settings.connector.setting(key) for key in ("api_key", "base_url", "requests_per_second")}
        return ADVICE[status].format(**named)
    unreadable = status == wire_format.unreadable_token and not settings.has_client
    hint = (
        f" The API also sends this status if it cannot read the token: check {settings.connector.setting('api_key')}."
        if unreadable
        else ""
    )
    if status >= 500:
        hint = " This is the API's own fault: run again later, and tell whoever runs the API if it stays so."
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
    """Decodes a JSON value; an object or a list becomes an empty one, whatever it holds."""
    if is_object(token) or is_list(token):
        return {} if is_object(token) else []
    return msgspec.json.decode(token)


def _describe_mismatch(values: Any, resource: Resource, settings: Settings) -> str:  # noqa: ANN401 - as JSON has it
    endpoint = settings.endpoint(resource.name)
    has_keys = isinstance(values, dict)
    body: object = {key: _outline(token) for key, token in values.items()} if has_keys else _outline(values)
    problem, found = "the body is no list", kind_of(body)
    if lack := describe_lack(values, endpoint.selector):
        return f"{lack}. Does the dialect fit this API?"
    if endpoint.selector is not None:
        problem = f"there is no list under the key {endpoint.selector!r}"
        if isinstance(body, dict) and endpoint.selector in body:
            found = kind_of(endpoint.find(body))
    if isinstance(body, dict) and (endpoint.selector is None or endpoint.selector not in body):
        found = f"an object with {name_keys(body)}"
    advice = settings.connector.suggest_dialect(resource.name, lambda other: isinstance(other.find(body), list))
    return f"{problem}: found {found}.{advice or ' Does the dialect fit this API?'}"


def _shown(response: ApiResponse, resource: Resource) -> str:
    return "(not shown, as this resource has sensitive fields)" if resource.is_sensitive else excerpt(response)
