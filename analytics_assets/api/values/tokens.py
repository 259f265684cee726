"""JSON tokens: a token is the JSON text of one value in UTF-8, as the API spelled it."""

import math
import re
from typing import Any, TypeAlias

import msgspec
from msgspec import Raw

Row: TypeAlias = dict[str, Any]
"""A row by field: the primary key as Python values, all other fields as tokens."""

DEEPEST = 500
"""Most levels of objects and lists in a value. A deeper value is rescued as text, because parsers give up at about a
thousand levels."""

NULL = Raw(b"null")

REPLACEMENT = "\ufffd"
"""Replaces characters that databases do not store: NULs and lone surrogates."""

UNFIT = rb'"\u0000'
"""Beginning of a text that replaces a value that fits no column. No value of the API begins so, because `http.body`
replaces its NULs first."""

NUMBERS = re.compile(rb'"(?:[^"\\]|\\.)*+"|(?P<number>-?[0-9][0-9.eE+-]*+)')

BRACKETS = re.compile(rb'"(?:[^"\\]|\\.)*+"|(?P<bracket>[\[\]{}])')

LONGEST_NUMBER = 300
"""Most characters of a number. Postgres stores no more than 131,072 digits."""

_OBJECT = msgspec.json.Decoder(dict[str, Raw])

_SPELLER = msgspec.json.Decoder(float_hook=lambda text: Raw(text.encode()))


def is_object(token: bytes | Raw) -> bool:
    """Whether a token is an object."""
    return bytes(memoryview(token)[:1]) == b"{"


def is_list(token: bytes | Raw) -> bool:
    """Whether a token is a list."""
    return bytes(memoryview(token)[:1]) == b"["


def find_nested(row: Row, path: str) -> Raw:
    """Returns the value at a dotted path into the nested objects of a row; null if there is none.

    A field of the key has no fields of its own.
    """
    first, *names = path.split(".")
    token: Raw = row.get(first, NULL)
    for name in names:
        if not isinstance(token, Raw) or not is_object(token) or is_deep(bytes(token)):
            return NULL
        token = _OBJECT.decode(token).get(name, NULL)
    return token


def is_unfit(token: bytes) -> bool:
    """Whether a value fits no column: it is too deep, or holds `UNFIT` or a number that no database stores."""
    if token[:1] == b'"':
        return token.startswith(UNFIT)
    return UNFIT in token or is_deep(token) or any(map(_is_odd_number, NUMBERS.finditer(token)))


def rescue(token: bytes) -> bytes:
    """Returns a value that fits no column as JSON for `_rescued_data`: the parts that do not fit become texts."""
    if is_deep(token):
        return msgspec.json.encode(msgspec.json.format(token, indent=-1).replace(UNFIT, b'"').decode())
    token = NUMBERS.sub(lambda match: b'"%b"' % match[0] if _is_odd_number(match) else match[0], token)
    return canonical(token.replace(UNFIT, b'"'))


def canonical(token: bytes) -> bytes:
    """Returns JSON that is the same text for the same value in every database.

    It has only the escapes that JSON requires and, of two equal keys, the last one. Numbers keep all their digits.
    """
    return msgspec.json.encode(_SPELLER.decode(token)) if token[:1] in b'{["' else token


def _is_odd_number(match: re.Match[bytes]) -> bool:
    """Whether a match is a number that is longer than `LONGEST_NUMBER`, or too large or too small for a double."""
    number = match["number"]
    if number is None:
        return False
    value = float(number)
    is_tiny = value == 0 and re.match(rb"[-0.]*[1-9]", number) is not None
    return len(number) > LONGEST_NUMBER or math.isinf(value) or is_tiny


def is_deep(token: bytes, deepest: int = DEEPEST) -> bool:
    """Whether a value has more than `deepest` levels of objects and lists."""
    if token.count(b"[") + token.count(b"{") <= deepest:
        return False
    level = 0
    for match in BRACKETS.finditer(token):
        if match["bracket"]:
            level += 1 if match["bracket"] in b"[{" else -1
            if level > deepest:
                return True
    return False
