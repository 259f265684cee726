"""What a response must satisfy before its rows count: a wrong answer is an error, never zero rows."""

import codecs
import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
from msgspec import Raw

from analytics_assets.api.answer import Answer
from analytics_assets.api.catalog import PRIMARY_KEY, Resource
from analytics_assets.api.dialect import Endpoint
from analytics_assets.api.dialects.registry import advise
from analytics_assets.api.redaction import redact
from analytics_assets.api.report import Report
from analytics_assets.api.settings import Settings
from analytics_assets.api.values import (
    BIGINT,
    DEEPEST,
    REPLACEMENT,
    TEXTS,
    UNFIT,
    UnfitError,
    is_list,
    is_object,
    read_key,
)

Row = dict[str, Any]

EXCERPT = 80
"""Characters of a wrong body that an error shows."""

QUOTED = 60
"""Characters of a value that an error shows."""

SEARCHED = 10_000
"""Bytes of a wrong body that are searched for the token, which some servers send back."""

TOTAL = "total"
"""Key of a body that says how many rows the listing has; dlt's own default. The progress needs it, nothing else."""

MOST_WEIGHT = 400_000_000
"""Bytes, about, that the rows of one answer may take in memory."""

PIECES = re.compile(rb'(?:[^"]++|"(?:[^"\\]|\\.)*+"){1,10000}+|"')
"""A JSON body in pieces, none of which ends within a text."""

NULS = re.compile(rb"\\(?:u(?P<nul>0000)|.)", re.DOTALL)
"""The escapes in a body, with those of NULs by name."""

SURROGATES = re.compile(
    r"\\(?:u[dD][89abAB]XX\\u[dD][c-fC-F]XX|u(?P<lone>[dD][89a-fA-F]XX|0000)|.)|(?P<raw>[\ud800-\udfff])".replace(
        "X", "[0-9a-fA-F]"
    )
)
"""The escapes in a text, with those of NULs and halves of characters by name; and such halves themselves."""

BRACKETS = re.compile(r'"(?:[^"\\]|\\.)*+"|(?P<bracket>[\[\]{}])')

CONSTANTS = re.compile(r'"(?:[^"\\]|\\.)*+"|(?P<constant>-?Infinity|NaN)')
"""What Python writes into JSON, which has no such numbers; outside of texts."""

PIECE = 1_000_000
"""Bytes of a body whose encoding is checked at once."""

_OBJECT = msgspec.json.Decoder(dict[str, Raw])
_ROWS = msgspec.json.Decoder(list[dict[str, Raw]])
_LIST = msgspec.json.Decoder(list[Raw])
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


class StatusError(ValueError):
    """The API answered with an error status."""

    def __init__(self, problem: str, status: int) -> None:
        super().__init__(problem)
        self.status = status


class PayloadError(ValueError):
    """The API answered 200, but not with what the resource's rows look like."""


def read_rows(answer: Answer, resource: Resource, settings: Settings, report: Report) -> list[Row]:
    """The rows of an answer: the key as it is, all else as tokens, by field. Counts the answer.

    Raises:
        StatusError: Its status is an error.
        PayloadError: Its body is not JSON with a list of rows, each with a key, where the endpoint has them.
    """
    where = f"{resource.name}: GET {answer.where}"
    if answer.status >= 300:
        advice = _advise(answer, resource, settings)
        raise StatusError(f"{where} answered {answer.status} {answer.reason}. {advice}", answer.status)
    if answer.status == 204:
        raise PayloadError(f"{where} answered 204 No Content; a listing without rows has to be an empty list.")
    endpoint = settings.endpoint(resource.name)
    weight = weigh(answer.body)
    if weight > MOST_WEIGHT:
        raise PayloadError(
            f"{where} answered with {len(answer.body):,} bytes that hold so many values that they would take about"
            f" {weight / 1e6:,.0f} MB of memory. Set sources.analytics.page_size to less."
        )
    try:
        body, rows = _split(answer.body, endpoint)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise PayloadError(f"{where} answered {answer.status} {_describe_body(answer, resource, error)}") from error
    if rows is None:
        raise PayloadError(f"{where} answered {answer.status}, but {_describe_mismatch(body, resource, endpoint)}")
    report.pages += 1
    report.body_bytes += len(answer.body)
    report.weight += weight
    if isinstance(body, dict) and (total := bytes(body.get(TOTAL, b""))[:19]).isdigit():
        report.total = int(total)
    for row, key in zip(rows, _read_keys(rows, resource, where), strict=True):
        row[PRIMARY_KEY] = key
    return rows


def _split(body: bytes, endpoint: Endpoint) -> tuple[Any, list[Any] | None]:
    """The values of a body by key, and the rows in it; `None` if there is no list where they belong.

    What Python's `json` reads beyond JSON is looked for where a body is none.

    Raises:
        msgspec.DecodeError: It is not JSON then either.
        UnicodeDecodeError: It is no text.
        RecursionError: It is nested too deep elsewhere than in a value.
    """
    if b"\\u0000" in body:
        body = NULS.sub(lambda match: REPLACEMENT.encode() if match["nul"] else match[0], body)
    try:
        if not body.isascii():
            decoder = codecs.getincrementaldecoder("utf-8")()
            for start in range(0, len(body), PIECE):
                decoder.decode(body[start : start + PIECE], start + PIECE >= len(body))
        return _find_rows(body, endpoint)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _find_rows(_mend(body, endpoint), endpoint)


def _find_rows(body: bytes, endpoint: Endpoint) -> tuple[Any, list[Any] | None]:
    # Without blanks between them, equal values are equal texts, however the API lays them out.
    body = msgspec.json.format(body, indent=-1)
    values = _OBJECT.decode(body) if body[:1] == b"{" else msgspec.json.decode(body, type=Raw)
    listed = endpoint.find(values)
    if not isinstance(listed, Raw) or not is_list(listed):
        return values, None
    try:
        return values, _ROWS.decode(listed)
    except msgspec.ValidationError:
        # One is not an object; whose keys are looked for finds it.
        return values, [_OBJECT.decode(row) if is_object(row) else row for row in _LIST.decode(listed)]


def _mend(body: bytes, endpoint: Endpoint) -> bytes:
    """What Python's `json` reads as JSON in UTF-8; texts after `UNFIT` stand for what is not in JSON, or too deep."""
    text = body.decode(json.detect_encoding(body), "surrogatepass")
    text = SURROGATES.sub(lambda match: REPLACEMENT if match["lone"] or match["raw"] else match[0], text)
    text = _fold_deep(text, 3 if endpoint.selector else 2)
    mark = UNFIT.decode()
    return CONSTANTS.sub(lambda match: f'{mark}{match[0]}"' if match["constant"] else match[0], text).encode()


def _fold_deep(text: str, above: int) -> str:
    """JSON in which what is too deep is a text after `UNFIT`: values of rows, which have so many levels above them."""
    pieces, end = [], 0
    level = start = deepest = 0
    for match in BRACKETS.finditer(text):
        match match["bracket"]:
            case "[" | "{":
                level += 1
                if level == above + 1:
                    start, deepest = match.start(), level
                deepest = max(deepest, level)
            case "]" | "}":
                if level == above + 1 and deepest - above > DEEPEST:
                    value = json.dumps(text[start : match.end()], ensure_ascii=False)
                    pieces += [text[end:start], UNFIT.decode(), value[1:]]
                    end = match.end()
                level -= 1
    return "".join([*pieces, text[end:]])


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


def weigh(body: bytes) -> int:
    """Bytes that the rows of a JSON body take in memory, about and at most, by its objects and their keys."""
    objects = _weigh_objects(body)
    if len(body) + objects > MOST_WEIGHT:
        # What looks like an object may stand in a text; that is looked at where it matters.
        objects = sum(_weigh_objects(TEXTS.sub(b"", piece[0])) for piece in PIECES.finditer(body))
    return len(body) + objects


def _weigh_objects(body: bytes) -> int:
    return 120 * body.count(b"{") + 250 * body.count(b":")


def _advise(answer: Answer, resource: Resource, settings: Settings) -> str:
    status, wire = answer.status, settings.wire
    if status == 401 and settings.has_client:
        return (
            f"The API does not accept a token that {settings.token_endpoint} has just issued: is base_url the host of"
            " the same region?"
        )
    if status == 401 and wire.expired_code is not None and _error_code(answer) == wire.expired_code:
        return (
            "The token in sources.analytics.api_key has expired. Set client_id and client_secret instead, and it is"
            " renewed whenever it has to be; or paste a new one."
        )
    if status == 403 and settings.wanted_scope:
        return f"{ADVICE[403]} Its scope is {settings.wanted_scope!r}: see sources.analytics.scope."
    if status in ADVICE:
        return ADVICE[status]
    unreadable = status == wire.unreadable_token and not settings.has_client
    hint = (
        " The API answers so, too, if it cannot read the token: check sources.analytics.api_key." if unreadable else ""
    )
    return f"Its body begins: {_shown(answer, resource)}.{hint}"


def _error_code(answer: Answer) -> object:
    try:
        return _outline(_OBJECT.decode(answer.body)["error_code"])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, KeyError):
        return None


def _describe_body(answer: Answer, resource: Resource, error: Exception) -> str:
    body, reason = answer.body, str(error)
    if not body.strip():
        return f"with a body that is not JSON but empty ({answer.content_type})."
    if reason == "Input data was truncated":
        reason = f"it ends in mid-value (byte {len(body)})"
    advice = " Is base_url the API itself, not a proxy or a login page?" if is_page(answer) else ""
    return (
        f"with a body that is not JSON ({answer.content_type}, {len(body)} bytes): {reason}. It begins:"
        f" {_shown(answer, resource)}.{advice}"
    )


def is_page(answer: Answer) -> bool:
    """Whether an answer looks like HTML."""
    return "html" in answer.content_type.lower() or answer.body.lstrip()[:5].lower() in {b"<html", b"<!doc"}


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
    advice = advise(resource.name, lambda other: isinstance(other.find(body), list))
    return f"{wanted}: found {found}.{advice or ' Does the dialect fit this API?'}"


def _keys(found: dict[str, Any]) -> str:
    return f"the keys [{', '.join(map(shortened, sorted(found)[:8]))}]"


def shortened(value: int | str | Raw) -> str:
    """A value or a token of the API as a message shows it."""
    if isinstance(value, Raw):
        text = bytes(memoryview(value)[: 4 * QUOTED]).replace(UNFIT, b'"').decode(errors="replace")
    else:
        text = repr(value[:QUOTED] if isinstance(value, str) else value)
    return text if len(text) <= QUOTED else f"{text[:QUOTED]}…"


def _shown(answer: Answer, resource: Resource) -> str:
    return "(not shown, as this resource has sensitive fields)" if resource.is_sensitive else excerpt(answer)


def excerpt(answer: Answer, secrets: Iterable[str | None] = ()) -> str:
    """How the body of an answer begins, without the token that was sent, nor other secrets."""
    text = redact(answer.body[:SEARCHED].decode("utf-8", errors="replace"), [answer.token, *secrets])
    return repr(" ".join(text.split())[:EXCERPT])
