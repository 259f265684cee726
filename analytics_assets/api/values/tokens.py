"""Tokens: the JSON of one value, in UTF-8, as the API has spelled it."""

import math
import re
from typing import Any, TypeAlias

import msgspec
from msgspec import Raw

Row: TypeAlias = dict[str, Any]
"""A row by field: its key as it is, all else as tokens."""

DEEPEST = 500
"""Levels of objects and lists in a value; what is deeper is rescued as text. Parsers give up at about a thousand."""

NULL = Raw(b"null")

REPLACEMENT = "\ufffd"
"""Stands in texts and JSON for what databases do not store: NULs, and surrogates without the other half."""

UNFIT = rb'"\u0000'
"""Begins a text that stands for what fits no column. The API cannot send it, as its own NULs are replaced before."""

NUMBERS = re.compile(rb'"(?:[^"\\]|\\.)*+"|(?P<number>-?[0-9][0-9.eE+-]*+)')

BRACKETS = re.compile(rb'"(?:[^"\\]|\\.)*+"|(?P<bracket>[\[\]{}])')

TEXTS = re.compile(rb'"(?:[^"\\]|\\.)*+"')
"""The texts in JSON, keys included."""

LONGEST_NUMBER = 300
"""Characters of a number. Postgres takes no more than 131,072 digits."""

_SPELLER = msgspec.json.Decoder(float_hook=lambda text: Raw(text.encode()))


def is_object(token: bytes | Raw) -> bool:
    """Whether a token is an object."""
    return bytes(memoryview(token)[:1]) == b"{"


def is_list(token: bytes | Raw) -> bool:
    """Whether a token is a list."""
    return bytes(memoryview(token)[:1]) == b"["


def is_unfit(token: bytes) -> bool:
    """Whether a value fits no column: it is too deep, or has something in it that no database takes."""
    if token[:1] == b'"':
        return token.startswith(UNFIT)
    return UNFIT in token or is_deep(token) or any(map(_is_odd_number, NUMBERS.finditer(token)))


def rescue(token: bytes) -> bytes:
    """A value that fits no column as JSON for `_rescued_data`, in which texts stand for what is no JSON."""
    if is_deep(token):
        return msgspec.json.encode(token.replace(UNFIT, b'"').decode())
    token = NUMBERS.sub(lambda match: b'"%b"' % match[0] if _is_odd_number(match) else match[0], token)
    return canonical(token.replace(UNFIT, b'"'))


def canonical(token: bytes) -> bytes:
    """JSON that is the same text for the same value in every database.

    It has no escapes that it need not have, and of two equal keys the last. Numbers stay digit by digit.
    """
    return msgspec.json.encode(_SPELLER.decode(token)) if token[:1] in b'{["' else token


def _is_odd_number(match: re.Match[bytes]) -> bool:
    """Whether it is a number that is longer than `LONGEST_NUMBER`, or beyond the range of a double."""
    number = match["number"]
    if number is None:
        return False
    value = float(number)
    is_tiny = value == 0 and re.match(rb"[-0.]*[1-9]", number) is not None
    return len(number) > LONGEST_NUMBER or math.isinf(value) or is_tiny


def is_deep(token: bytes, deepest: int = DEEPEST) -> bool:
    """Whether a value has more levels of objects and lists than that."""
    if token.count(b"[") + token.count(b"{") <= deepest:
        return False
    level = 0
    for match in BRACKETS.finditer(token):
        if match["bracket"]:
            level += 1 if match["bracket"] in b"[{" else -1
            if level > deepest:
                return True
    return False
