"""What becomes of a value: which column its field has, which cell it becomes there, and what is rescued instead.

These rules hold for every row of every resource, whatever stands beside it and wherever it lands. A value is looked at
as the API has spelled it: a *token* is the JSON of one value, in UTF-8. What does not fit its declared column leaves
null there and is kept in the row's column `_rescued_data`, as JSON under the name of its field. Nothing is lost, and
no row is kept out by one of its values.

`docs/values.md` has the table of (declared type, JSON value) -> (cell, rescued), which a test tries row by row. The
rules for whole columns at once, which are the same and faster, are in `tables`.
"""

import math
import re
from collections.abc import Callable, Collection
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_FLOOR, Context, Decimal
from hashlib import blake2b
from typing import Any, TypeAlias

import msgspec
from dlt.common.normalizers.naming.snake_case import NamingConvention
from msgspec import Raw

from analytics_assets.api.catalog import DELETED_AT, RESCUED, ColumnType

CLOCK_SKEW = timedelta(minutes=5)
"""How far an API's clock may be ahead before a cursor value counts as being in the future."""

MOST_COLUMNS = 200
"""Columns of a table for fields that the catalogue does not know. The fields beyond stand in `_rescued_data`."""

LONGEST_NAME = 63
"""Characters of a column's name, as Postgres has it: the shortest limit of the common destinations."""

DEEPEST = 500
"""Levels of objects and lists in a value; what is deeper is rescued as text. Parsers give up at about a thousand."""

FIELD = "x-field"
"""Hint in dlt's schema of a column that the catalogue does not know: how the API spells its field."""

NULL = Raw(b"null")

REPLACEMENT = "\ufffd"
"""Stands in texts and JSON for what databases do not store: NULs, and surrogates without the other half."""

UNFIT = rb'"\u0000'
"""Begins a text that stands for what fits no column. The API cannot send it, as its own NULs are replaced before."""

RESERVED = frozenset(
    {
        *(DELETED_AT, RESCUED),
        *("tableoid", "xmin", "cmin", "xmax", "cmax", "ctid", "oid", "rowid", "rownum", "_rowid_"),
        *("true", "false", "nothing", "returning"),
    }
)
"""Names of our own columns, of those that databases have in every table, and words that SQLAlchemy does not quote."""

BIGINT = range(-(2**63), 2**63)

INTEGER = re.compile(r"(-?)0*([0-9]{1,19})", re.ASCII)
INTEGER_TOKEN = re.compile(rb"-?[0-9]+")
KEY = re.compile(r"0|-?[1-9][0-9]{0,18}", re.ASCII)
NUMBER = re.compile(r"-?[0-9]{1,300}(\.[0-9]{1,300})?", re.ASCII)
EXACT = Context(prec=1_000)
BOOLS = {"true": True, "false": False}

CLOCK = re.compile(
    r"(?P<day>[0-9W-]{7,10})"
    r"(?:[Tt ](?P<hour>[0-9]{2})(?::?(?P<minute>[0-9]{2})(?::?(?P<second>[0-9]{2}))?)?(?:[.,](?P<fraction>[0-9]+))?"
    r"(?:[Zz]|(?P<sign>[+-])(?P<ahead>[0-9]{2})(?::?(?P<minutes_ahead>[0-5][0-9]))?)?)?",
    re.ASCII,
)
"""A date of ISO 8601, or a date-time, with or without an offset."""

DAY_OF_YEAR = re.compile(r"[0-9]{4}-?[0-9]{3}", re.ASCII)

EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - instants are reckoned without an offset, and get UTC's at the end

FIRST_MILLISECONDS = 10**11
"""From here on epoch numbers are milliseconds: as seconds they would lie beyond the year 5138."""

NUMBERS = re.compile(rb'"(?:[^"\\]|\\.)*+"|(?P<number>-?[0-9][0-9.eE+-]*+)')
BRACKETS = re.compile(rb'"(?:[^"\\]|\\.)*+"|(?P<bracket>[\[\]{}])')

TEXTS = re.compile(rb'"(?:[^"\\]|\\.)*+"')
"""The texts in JSON, keys included."""

LONGEST_NUMBER = 300
"""Characters of a number. Postgres takes no more than 131,072 digits."""

_DECODER = msgspec.json.Decoder(float_hook=Decimal)
_SPELLER = msgspec.json.Decoder(float_hook=lambda text: Raw(text.encode()))

Scalar: TypeAlias = "str | bool | int | Decimal"


class UnfitError(ValueError):
    """A value does not fit its column."""


def column_name(field: str) -> str:
    """The name of a field as dlt spells it: `activityTime` becomes `activity_time`; blank text folds to nothing."""
    return _NAMING.normalize_identifier(field) if field.strip() else ""


_NAMING = NamingConvention()


def choose_column(field: str, taken: Collection[str]) -> str:
    """The column of a field that the catalogue does not know.

    It is called as dlt spells the field, if that is a name, and free. Else it has a suffix that is made of the field's
    spelling alone, so that it is the same in every run.

    Args:
        field: As the API spells it.
        taken: Names of the table's other columns.
    """
    name = column_name(field)
    is_name = re.search("[a-zA-Z0-9]", field) is not None and not name.startswith("_dlt") and name not in RESERVED
    if is_name and name not in taken and len(name) <= LONGEST_NAME:
        return name
    stem = "field" if name.startswith("_dlt") or not name else name
    # Four bytes, unless somebody calls another field just like that.
    for size in range(4, 30):
        suffix = blake2b(field.encode(), digest_size=size).hexdigest()
        name = f"{stem[: LONGEST_NAME - 1 - len(suffix)].rstrip('_')}_{suffix}"
        if name not in taken:
            break
    return name


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
    return spell(token.replace(UNFIT, b'"'))


def spell(token: bytes) -> bytes:
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


def parse_instant(value: Any) -> datetime:  # noqa: ANN401 - whatever JSON holds
    """Reads an ISO 8601 date or date-time, epoch seconds or milliseconds, or a date-time; without an offset it is UTC.

    Digits of a fraction beyond microseconds are cut. A second 60 is the first of the next minute. Text of eight digits
    that is a date is one.

    Raises:
        ValueError: `value` is none of these, or lies outside the years 1 to 9999.
    """
    try:
        match value:
            case datetime():
                return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
            case int() | float() | Decimal() if not isinstance(value, bool):
                return _from_epoch(Decimal(repr(value)) if isinstance(value, float) else Decimal(value))
            case str():
                return _parse_text(value)
    except OverflowError as error:
        raise ValueError(f"{value!r:.60} lies outside the years 1 to 9999") from error
    raise ValueError(f"{value!r:.60} is not a point in time")


def _from_epoch(number: Decimal) -> datetime:
    if not number.is_finite() or (number and number.adjusted() > 18):
        raise OverflowError
    power = 3 if number >= FIRST_MILLISECONDS else 6
    microseconds = int(number.scaleb(power, EXACT).to_integral_value(ROUND_FLOOR, EXACT))
    return (EPOCH + timedelta(microseconds=microseconds)).replace(tzinfo=UTC)


def _parse_text(text: str) -> datetime:
    if NUMBER.fullmatch(text):
        day = _parse_day(text) if len(text) == len("20240101") else None
        return _from_epoch(Decimal(text)) if day is None else day.replace(tzinfo=UTC)
    match = CLOCK.fullmatch(text)
    day = _parse_day(match["day"]) if match else None
    if match is None or day is None:
        raise ValueError(f"{text!r:.60} is not a point in time")
    hour, minute, second = (int(match[name] or 0) for name in ("hour", "minute", "second"))
    fraction = Decimal(f"0.{match['fraction'] or 0}")
    if minute > 59 or second > 60 or hour > 24 or (hour == 24 and (minute or second or fraction)):
        raise ValueError(f"{text!r:.60} is not a point in time")
    # A fraction is one of the smallest unit that is given.
    unit = 1 if match["second"] else 60 if match["minute"] else 3600
    elapsed = timedelta(
        hours=hour,
        minutes=minute,
        seconds=second,
        microseconds=int(EXACT.multiply(fraction, unit * 10**6).to_integral_value(ROUND_FLOOR, EXACT)),
    )
    ahead = timedelta(hours=int(match["ahead"] or 0), minutes=int(match["minutes_ahead"] or 0))
    if ahead >= timedelta(days=1):
        raise ValueError(f"{text!r:.60} has no such offset")
    return (day + (elapsed + ahead if match["sign"] == "-" else elapsed - ahead)).replace(tzinfo=UTC)


def _parse_day(text: str) -> datetime | None:
    try:
        if DAY_OF_YEAR.fullmatch(text):
            day = date(int(text[:4]), 1, 1) + timedelta(days=int(text[-3:]) - 1)
            found = day if day.year == int(text[:4]) else None
        else:
            found = date.fromisoformat(text)
    except (ValueError, OverflowError):
        return None
    return datetime(found.year, found.month, found.day) if found else None  # noqa: DTZ001 - as above


_READERS: dict[ColumnType, Callable[[Any], Any]] = {
    "bigint": _read_bigint,
    "bool": _read_bool,
    "timestamp": parse_instant,
}
