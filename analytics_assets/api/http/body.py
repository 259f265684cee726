"""Splits the body of a response into rows of tokens. Reads JSON, and what Python's `json` accepts beyond it."""

import codecs
import json
import re
from typing import Any

import msgspec
from msgspec import Raw

from analytics_assets.api.dialects.base import Endpoint
from analytics_assets.api.values.tokens import DEEPEST, REPLACEMENT, TEXTS, UNFIT, is_list, is_object

MOST_WEIGHT = 400_000_000
"""Most bytes that the rows of one response may take in memory, by the estimate of `weigh`."""

PIECES = re.compile(rb'(?:[^"]++|"(?:[^"\\]|\\.)*+"){1,10000}+|"')
"""One piece of a JSON body; no piece ends within a text."""

NULS = re.compile(rb"\\(?:u(?P<nul>0000)|.)", re.DOTALL)
"""One escape in a body; the group `nul` matches if it escapes a NUL."""

SURROGATES = re.compile(
    r"\\(?:u[dD][89abAB]XX\\u[dD][c-fC-F]XX|u(?P<lone>[dD][89a-fA-F]XX|0000)|.)|(?P<raw>[\ud800-\udfff])".replace(
        "X", "[0-9a-fA-F]"
    )
)
"""One escape in a text, or an unescaped lone surrogate (`raw`). The group `lone` matches an escaped NUL or lone
surrogate."""

BRACKETS = re.compile(r'"(?:[^"\\]|\\.)*+"|(?P<bracket>[\[\]{}])')

CONSTANTS = re.compile(r'"(?:[^"\\]|\\.)*+"|(?P<constant>-?Infinity|NaN)')
"""A text, or a number that Python writes into JSON although JSON has no such number (`constant`)."""

PIECE = 1_000_000
"""Bytes whose encoding is checked at once, so that a large body is not decoded as a whole."""

_OBJECT = msgspec.json.Decoder(dict[str, Raw])

_ROWS = msgspec.json.Decoder(list[dict[str, Raw]])

_LIST = msgspec.json.Decoder(list[Raw])


def split_body(body: bytes, endpoint: Endpoint) -> tuple[Any, list[Any] | None]:
    """Returns the values of a body by key, and its rows: `None` if there is no list where the endpoint has its rows.

    A body that is not JSON is read once more, as Python's `json` would read it.

    Raises:
        msgspec.DecodeError: The body is not even what Python's `json` reads.
        UnicodeDecodeError: The body is no text.
        RecursionError: The body is nested too deep outside of a row's values.
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
    # Without white space, equal values are equal tokens, however the API formats its JSON.
    body = msgspec.json.format(body, indent=-1)
    values = _OBJECT.decode(body) if body[:1] == b"{" else msgspec.json.decode(body, type=Raw)
    listed = endpoint.find(values)
    if not isinstance(listed, Raw) or not is_list(listed):
        return values, None
    try:
        return values, _ROWS.decode(listed)
    except msgspec.ValidationError:
        # One row is not an object. `validation` names it when it reads the keys.
        return values, [_OBJECT.decode(row) if is_object(row) else row for row in _LIST.decode(listed)]


def _mend(body: bytes, endpoint: Endpoint) -> bytes:
    """Rewrites a body that Python's `json` reads as JSON in UTF-8.

    A text after `UNFIT` replaces a number that JSON does not have, and a value that is too deep.
    """
    text = body.decode(json.detect_encoding(body), "surrogatepass")
    text = SURROGATES.sub(lambda match: REPLACEMENT if match["lone"] or match["raw"] else match[0], text)
    text = _fold_deep(text, 3 if endpoint.selector else 2)
    mark = UNFIT.decode()
    return CONSTANTS.sub(lambda match: f'{mark}{match[0]}"' if match["constant"] else match[0], text).encode()


def _fold_deep(text: str, above: int) -> str:
    """Replaces each value that is too deep by a text after `UNFIT`; `above` is how many levels contain the values."""
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


def weigh(body: bytes) -> int:
    """Estimates the most bytes that the rows of a JSON body take in memory, by its length, objects and keys."""
    objects = _weigh_objects(body)
    if len(body) + objects > MOST_WEIGHT:
        # Braces and colons inside texts were counted, too. Now it matters, so the texts are taken out.
        objects = sum(_weigh_objects(TEXTS.sub(b"", piece[0])) for piece in PIECES.finditer(body))
    return len(body) + objects


def _weigh_objects(body: bytes) -> int:
    return 120 * body.count(b"{") + 250 * body.count(b":")
