"""What a table has to hold, by the contract of values alone; shares no code with the project.

`expect` takes the declared columns of a resource and a listing as it is on the wire, each row as JSON text, so that
`1.10`, integers of any size, NaN and lone surrogates can still be told apart. It gives the rows by key, their cells by
field: those that are NULL are left out, and the cell of `_rescued_data` stands under `RESCUED`. Cells are Python's,
instants in UTC; json, what was rescued included, is spelled as by `canonical`. Or it raises why the listing fails.

Where the contract is silent, this is how it is read:

- Numbers compare by value: 5.0 and 1e3 fit bigint, 1.0 fits bool, 5.5 does not fit bigint. But a key has no point
  and no exponent.
- Text of eight digits that is a basic date (20240101) is that date; any other text of digits, perhaps with `-` and a
  fraction, is an epoch. Milliseconds start at 10^11; a negative number is always in seconds. What is finer than
  microseconds is cut, towards the past.
- ISO 8601 is: a date of a calendar, a week or a day of the year, and perhaps, after `T`, `t` or one blank, a time whose
  least unit may have a fraction; date, time and offset each in the extended format or in the basic one. A month or a
  year is no date, nor is a day of the year 0, and no blank stands around it or before the offset.
- NaN, Infinity and -Infinity, numbers that a double has as infinite or, though they are not, as zero (1e400, 1e-400),
  and those of more than 300 characters fit no column, wherever in a value they stand: the field is rescued with the
  number as JSON text ("NaN") in its place.
- NUL and lone surrogates become U+FFFD in text, json, keys of objects and names of fields, and are not rescued.
- A text fits double and decimal if the number that it spells does. A double is the nearest one, 0 without a sign. A
  decimal has 29 digits before the point and nine behind it; nothing is rounded to fit. A date is `YYYY-MM-DD`, and no
  date-time is one.
- Json nested deeper than 500 levels (`[]` is one level) is rescued as its text.
- The last of two equal keys of an object wins; what fits no column counts in either. A field that is null is as one
  that is missing: an undeclared one makes no column. Blank is what `str.strip` leaves nothing of; a value that is null
  for being blank counts as one that is null. Empty text is no key.
- Only declared columns can have changed: what does not fit an undeclared one never fails a listing.
"""

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_FLOOR, Context, Decimal
from math import isfinite
from typing import Any

RESCUED = "\0"
"""No field has this name."""

DEEPEST = 500
LONGEST_NUMBER = 300

Key = int | str
Row = dict[str, Any]

NOT_STORED = re.compile(
    r"(?P<kept>\\\\|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})"
    r"|\\u0000|\\u[dD][89a-fA-F][0-9a-fA-F]{2}|[\ud800-\udfff]"
)
INTEGER = re.compile(r"-?[0-9]+")
INTEGER_KEY = re.compile(r"0|-?[1-9][0-9]{0,18}")
EPOCH = re.compile(r"-?[0-9]+(\.[0-9]+)?")
NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?")
DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


DATES = [
    r"(?P<month>\d\d)-(?P<day>\d\d)",
    r"W(?P<week>\d\d)-(?P<weekday>\d)",
    r"(?P<yearday>\d{3})",
]
TIME = r"(?P<hour>\d\d)(?::(?P<minute>\d\d)(?::(?P<second>\d\d))?)?(?:[.,](?P<fraction>\d+))?"
OFFSET = r"(?P<offset>[zZ]|[+-]\d\d(?::?\d\d)?)"
MOMENTS = [
    re.compile(rf"(?P<year>\d{{4}}){day}(?:[Tt ]{time}{OFFSET}?)?", re.ASCII)
    for dashed in DATES
    for day in (f"-{dashed}", dashed.replace("-", ""))
    for time in (TIME, TIME.replace(":(?P", "(?P"))
]


EXACT = Context(prec=1000)
NINETEEN_SEVENTY = datetime(1970, 1, 1, tzinfo=UTC)


class Refused(Exception):  # noqa: N818 - the listing is wrong, not the test
    """The listing fails and nothing of it is loaded; `fields` are those whose values do not fit, if that is why."""

    def __init__(self, why: str, fields: Iterable[str] = ()) -> None:
        super().__init__(why)
        self.fields = sorted(fields)


class Misfit(Exception):  # noqa: N818 - it is rescued
    """A value does not fit its column."""


@dataclass(frozen=True)
class Number:
    """A number as it was spelled; NaN and Infinity are some, too."""

    spelled: str

    @property
    def fits_none(self) -> bool:
        value = float(self.spelled)
        is_lost = value == 0 and Decimal(self.spelled) != 0
        return len(self.spelled) > LONGEST_NUMBER or not isfinite(value) or is_lost

    @property
    def integer(self) -> int | None:
        """Its value if that is an integer of 64 bits."""
        value = Decimal(self.spelled)
        return int(value) if -(2**63) <= value < 2**63 and value == value.to_integral_value() else None


def parse(text: str) -> Any:
    """JSON with its numbers as they were spelled, and without what no destination stores."""
    stored = NOT_STORED.sub(lambda found: found["kept"] or "\ufffd", text)
    return json.loads(stored, parse_int=Number, parse_float=Number, parse_constant=Number)


def value_of(number: str) -> float:
    """Exactly, if it is an integer."""
    value = Decimal(number)
    return int(value) if value == value.to_integral_value() else float(value)


def canonical(value: Any) -> str:
    """One spelling of what was parsed: keys in order, numbers by value, those that fit no column as texts."""

    def spell(number: Number) -> str | float:
        return number.spelled if number.fits_none else value_of(number.spelled)

    return json.dumps(value, default=spell, sort_keys=True)


def expect(columns: dict[str, str], listing: Iterable[str], share: float = 0.1) -> dict[Key, Row]:
    """The rows by key that a listing becomes in an empty table.

    Args:
        columns: Types of the declared columns by field, `id` among them.
        listing: The rows as JSON text, all on one page.
        share: `max_rescued_share`.

    Raises:
        Refused: A row has no usable key, a key is listed twice, or too many values of a column do not fit.
    """
    table: dict[Key, Row] = {}
    values: Counter[str] = Counter()
    misfits: Counter[str] = Counter()
    for text in listing:
        parsed = parse(text)
        key = read_key(columns["id"], parsed)
        if key in table:
            raise Refused(f"{key!r} is listed twice")
        row, rescued = {"id": key}, {}
        for field, value in parsed.items():
            if value is None or field == "id":
                continue
            try:
                row[field] = read_cell(columns.get(field, "json"), value)
                values[field] += row[field] is not None
            except Misfit:
                values[field] += 1
                misfits[field] += field in columns
                rescued[field] = value if depth(value) <= DEEPEST else as_text(value)
        if rescued:
            row[RESCUED] = canonical(rescued)
        table[key] = {field: cell for field, cell in row.items() if cell is not None}
    changed = [field for field, count in misfits.items() if count > 10 and count > Decimal(str(share)) * values[field]]
    if changed:
        raise Refused(f"too many values do not fit: {changed}", changed)
    return table


def read_key(type_: str, row: Any) -> Key:
    key = row.get("id") if isinstance(row, dict) else None
    if isinstance(key, Number) and INTEGER.fullmatch(key.spelled) and not key.fits_none:
        key = str(int(key.spelled))
    if isinstance(key, str) and type_ == "text" and key:
        return key
    if isinstance(key, str) and type_ == "bigint" and INTEGER_KEY.fullmatch(key) and Number(key).integer is not None:
        return int(key)
    raise Refused(f"{key!r} is no {type_} key")


def read_cell(type_: str, value: Any) -> Any:
    """The cell of a value; `None` for blank text where text is no value.

    Raises:
        Misfit: It does not fit the column.
    """
    if depth(value) > DEEPEST or any(number.fits_none for number in numbers(value)):
        raise Misfit
    if type_ == "json":
        return canonical(value)
    if isinstance(value, dict | list):
        raise Misfit
    if type_ == "text":
        return value.spelled if isinstance(value, Number) else json.dumps(value) if isinstance(value, bool) else value
    if isinstance(value, str) and not value.strip():
        return None
    readers = {
        "bigint": read_bigint,
        "bool": read_bool,
        "date": read_date,
        "decimal": read_decimal,
        "double": read_double,
        "timestamp": read_instant,
    }
    return readers[type_](value)


def read_bigint(value: str | bool | Number) -> int:  # noqa: FBT001 - a value like any other
    if isinstance(value, str) and INTEGER.fullmatch(value):
        value = Number(value)
    if isinstance(value, Number) and value.integer is not None:
        return value.integer
    raise Misfit


def read_bool(value: str | bool | Number) -> bool:  # noqa: FBT001 - a value like any other
    if isinstance(value, bool):
        return value
    found = value.integer if isinstance(value, Number) else {"false": 0, "true": 1}.get(value.lower())
    if found not in {0, 1}:
        raise Misfit
    return found == 1


def read_number(value: str | bool | Number) -> str:  # noqa: FBT001 - a value like any other
    """As it is spelled."""
    if isinstance(value, str) and NUMBER.fullmatch(value):
        value = Number(value)
    if not isinstance(value, Number) or value.fits_none:
        raise Misfit
    return value.spelled


def read_double(value: str | bool | Number) -> float:  # noqa: FBT001 - a value like any other
    return float(read_number(value))


def read_decimal(value: str | bool | Number) -> Decimal:  # noqa: FBT001 - a value like any other
    """With 29 digits before the point and nine behind it."""
    number = Decimal(read_number(value))
    if abs(number) >= 10**29 or EXACT.scaleb(number, 9) % 1:
        raise Misfit
    return number


def read_date(value: str | bool | Number) -> date:  # noqa: FBT001 - a value like any other
    if not isinstance(value, str) or not DAY.fullmatch(value):
        raise Misfit
    try:
        return date.fromisoformat(value)
    except ValueError:
        raise Misfit from None


def read_instant(value: str | bool | Number) -> datetime:  # noqa: FBT001 - a value like any other
    if isinstance(value, bool):
        raise Misfit
    number = Decimal(value.spelled if isinstance(value, Number) else value if EPOCH.fullmatch(value) else "NaN")
    if isinstance(value, str) and (number.is_nan() or len(value) == 8):
        found = next(filter(None, (form.fullmatch(value) for form in MOMENTS)), None)
        try:
            if found:
                return as_instant(seconds_of({name: part for name, part in found.groupdict().items() if part}))
        except (ValueError, OverflowError):
            pass
    if number.is_nan():
        raise Misfit
    return as_instant(number if number < 10**11 else EXACT.scaleb(number, -3))


def seconds_of(parts: dict[str, str]) -> Decimal:
    """Since 1970, from the parts of a date and a time; the instant may lie in a year that `datetime` does not have.

    Raises:
        ValueError: There is no such day, time or offset.
    """
    year = int(parts["year"])
    if "week" in parts:
        day = date.fromisocalendar(year, int(parts["week"]), int(parts["weekday"]))
    elif "yearday" in parts:
        day = date(year, 1, 1) + timedelta(int(parts["yearday"]) - 1)
        if day.year != year:
            raise ValueError("no such day")
    else:
        day = date(year, int(parts["month"]), int(parts["day"]))
    days = day.toordinal() - NINETEEN_SEVENTY.toordinal()
    hour, minute, second = (int(parts.get(name, 0)) for name in ("hour", "minute", "second"))
    unit = Decimal(1 if "second" in parts else 60 if "minute" in parts else 3600)
    fraction = EXACT.multiply(Decimal(f"0.{parts.get('fraction', 0)}"), unit)
    offset = parts.get("offset", "Z").replace(":", "").upper().replace("Z", "+0000").ljust(5, "0")
    east = int(offset[0] + "1") * (int(offset[1:3]) * 60 + int(offset[3:]))
    if (
        (hour, minute, second, fraction) > (24, 0, 0, 0)
        or minute > 59
        or second > 60
        or offset[1:3] > "23"
        or offset[3:] > "59"
    ):
        raise ValueError("no such time")
    return EXACT.add(Decimal(days * 86_400 + hour * 3600 + (minute - east) * 60 + second), fraction)


def as_instant(seconds: Decimal) -> datetime:
    try:
        microseconds = int(EXACT.scaleb(seconds, 6).to_integral_value(ROUND_FLOOR)) if abs(seconds) < 10**12 else 10**30
        return NINETEEN_SEVENTY + timedelta(microseconds=microseconds)
    except OverflowError:
        raise Misfit from None


def as_text(value: Any) -> str:
    """Without blanks; of what has no numbers."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def numbers(value: Any) -> list[Number]:
    return [each for level in levels(value) for each in level if isinstance(each, Number)]


def depth(value: Any) -> int:
    return sum(any(isinstance(each, dict | list) for each in level) for level in levels(value))


def levels(value: Any) -> Iterator[list[Any]]:
    """The values in a value by how deep they stand; without recursion, which has its own limit."""
    level = [value]
    while level:
        yield level
        inner = (each.values() if isinstance(each, dict) else each if isinstance(each, list) else () for each in level)
        level = [value for values in inner for value in values]
