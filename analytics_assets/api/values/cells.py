"""What becomes of a value: which column its field has, which cell it becomes there, and what is rescued instead.

These rules hold for every row of every resource, whatever stands beside it and wherever it lands. A value is looked at
as the API has spelled it: a *token* is the JSON of one value, in UTF-8. What does not fit its declared column leaves
null there and is kept in the row's column `_rescued_data`, as JSON under the name of its field. Nothing is lost, and
no row is kept out by one of its values.

`docs/values.md` has the table of (declared type, JSON value) -> (cell, rescued), which a test tries row by row. The
rules for whole columns at once, which are the same and faster, are in `tables`.
"""

import re
from collections.abc import Callable
from decimal import Decimal
from typing import Any, TypeAlias

import msgspec

from analytics_assets.api.catalog import ColumnType
from analytics_assets.api.values.timestamps import parse_timestamp
from analytics_assets.api.values.tokens import is_unfit

BIGINT = range(-(2**63), 2**63)

INTEGER = re.compile(r"(-?)0*([0-9]{1,19})", re.ASCII)

INTEGER_TOKEN = re.compile(rb"-?[0-9]+")

KEY = re.compile(r"0|-?[1-9][0-9]{0,18}", re.ASCII)

BOOLS = {"true": True, "false": False}

_DECODER = msgspec.json.Decoder(float_hook=Decimal)

Scalar: TypeAlias = "str | bool | int | Decimal"


class UnfitError(ValueError):
    """A value does not fit its column."""


def read_cell(token: bytes, type_: ColumnType) -> Any:  # noqa: ANN401 - as the type has it
    """The cell that a value becomes in a declared column, of Python's type for it. JSON is left as it is.

    Raises:
        UnfitError: It fits no column of this type.
    """
    if token == b"null":
        return None
    if is_unfit(token) or token[:1] in b"{[":
        raise UnfitError
    value = _DECODER.decode(token)
    if type_ == "text":
        return value if isinstance(value, str) else token.decode()
    if isinstance(value, str) and not value.strip():
        return None
    try:
        return _READERS[type_](value)
    except ValueError as error:
        raise UnfitError from error


def _read_bigint(value: Scalar) -> int:
    if isinstance(value, str) and (match := INTEGER.fullmatch(value)):
        value = int(f"{match[1]}{match[2]}")
    # A number of another magnitude is not even looked at: 1e300 has many digits.
    if isinstance(value, Decimal) and (not value or value.adjusted() < 19) and value == value.to_integral_value():
        value = int(value)
    if type(value) is not int or value not in BIGINT:
        raise ValueError
    return value


def _read_bool(value: Scalar) -> bool:
    if isinstance(value, str):
        value = BOOLS.get(value.lower(), value)
    if isinstance(value, str) or value not in {0, 1}:
        raise ValueError
    return bool(value)


def read_key(token: bytes, type_: ColumnType) -> int | str:
    """The key that a value is, in a table whose keys are integers or texts.

    An integer may be spelled as a text, in canonical decimal digits, and the other way round.

    Raises:
        UnfitError: It is no key.
    """
    text = ""
    if INTEGER_TOKEN.fullmatch(token):
        text = "0" if token == b"-0" else token.decode()
    elif token[:1] == b'"' and not is_unfit(token):
        text = _DECODER.decode(token)
    if type_ == "text" and text:
        return text
    if not KEY.fullmatch(text) or int(text) not in BIGINT:
        raise UnfitError
    return int(text)


_READERS: dict[ColumnType, Callable[[Any], Any]] = {
    "bigint": _read_bigint,
    "bool": _read_bool,
    "timestamp": parse_timestamp,
}
