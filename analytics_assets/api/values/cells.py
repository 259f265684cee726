"""Reads one value into the cell of its declared column.

The rules hold for every row of every resource and for every destination. They read a value as the API spelled it: a
*token* is the JSON of one value, in UTF-8. A value that does not fit its column leaves null there, and the row keeps it
in `_rescued_data`, as JSON under the name of its field. So no value is lost, and no row is refused because of a value.

`docs/values.md` has the table of (declared type, JSON value) -> (cell, rescued), and a test checks each line of it.
`arrow` applies the same rules to whole columns, which is faster.
"""

import re
from collections.abc import Callable
from datetime import date
from decimal import Context, Decimal
from typing import Any, TypeAlias

import msgspec

from analytics_assets.api.catalog import ColumnType
from analytics_assets.api.values.timestamps import parse_timestamp
from analytics_assets.api.values.tokens import is_unfit

BIGINT = range(-(2**63), 2**63)

INTEGER = re.compile(r"(-?)0*([0-9]{1,19})", re.ASCII)

INTEGER_TOKEN = re.compile(rb"-?[0-9]+")

NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?", re.ASCII)

DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)

PRECISION, SCALE = 38, 9
"""Digits of a decimal, and those of them behind the point: dlt's defaults."""

EXACT = Context(prec=PRECISION)

KEY = re.compile(r"0|-?[1-9][0-9]{0,18}", re.ASCII)

BOOLS = {"true": True, "false": False}

_DECODER = msgspec.json.Decoder(float_hook=Decimal)

Scalar: TypeAlias = "str | bool | int | Decimal"


class UnfitError(ValueError):
    """A value does not fit its column."""


def read_cell(token: bytes, type_: ColumnType) -> Any:  # noqa: ANN401 - depends on `type_`
    """Returns the cell of a value as Python has the column's type, such as an int or a datetime; `None` for null.

    `type_` is any but `json`: a json column keeps its tokens.

    Raises:
        UnfitError: The value fits no column of this type.
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
    # Checks the magnitude first, because to expand 1e300 into digits would take long.
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


def _read_number(value: Scalar) -> Decimal:
    """Reads a JSON number or the text of one. A text fits no column if it would not as a number."""
    is_number = NUMBER.fullmatch(value) and not is_unfit(value.encode()) if isinstance(value, str) else True
    if not is_number or value is True or value is False:
        raise ValueError
    return Decimal(value)


def _read_double(value: Scalar) -> float:
    # The sum turns -0.0 into 0.0, as numbers count by their value.
    return float(_read_number(value)) + 0.0


def _read_decimal(value: Scalar) -> Decimal:
    number = _read_number(value)
    if number and number.adjusted() >= PRECISION - SCALE:
        raise ValueError
    rounded = number.quantize(Decimal(1).scaleb(-SCALE), context=EXACT)
    if rounded != number:
        raise ValueError
    return rounded


def _read_date(value: Scalar) -> date:
    if not isinstance(value, str) or not DAY.fullmatch(value):
        raise ValueError
    return date.fromisoformat(value)


def read_key(token: bytes, type_: ColumnType) -> int | str:
    """Returns the primary key that a value stands for: an int for `bigint`, a text for `text`.

    The API may send an integer as a text of canonical decimal digits, and a text key as an integer.

    Raises:
        UnfitError: The value is no key of this type.
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
    "date": _read_date,
    "decimal": _read_decimal,
    "double": _read_double,
    "timestamp": parse_timestamp,
}
