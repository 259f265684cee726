"""From the body of a response to rows of tokens: JSON, and what Python's `json` reads beyond it."""

import codecs
import json
import re
from typing import Any

import msgspec
from msgspec import Raw

from analytics_assets.api.dialects.base import Endpoint
from analytics_assets.api.values.tokens import DEEPEST, REPLACEMENT, TEXTS, UNFIT, is_list, is_object

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


def split_body(body: bytes, endpoint: Endpoint) -> tuple[Any, list[Any] | None]:
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


def weigh(body: bytes) -> int:
    """Bytes that the rows of a JSON body take in memory, about and at most, by its objects and their keys."""
    objects = _weigh_objects(body)
    if len(body) + objects > MOST_WEIGHT:
        # What looks like an object may stand in a text; that is looked at where it matters.
        objects = sum(_weigh_objects(TEXTS.sub(b"", piece[0])) for piece in PIECES.finditer(body))
    return len(body) + objects


def _weigh_objects(body: bytes) -> int:
    return 120 * body.count(b"{") + 250 * body.count(b":")
