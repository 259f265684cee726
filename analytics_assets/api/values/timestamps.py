"""Parses points in time in the spellings that APIs use."""

import re
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_FLOOR, Context, Decimal
from typing import Any

CLOCK_SKEW = timedelta(minutes=5)
"""How far an API's clock may be ahead before a cursor value counts as being in the future."""

NUMBER = re.compile(r"-?[0-9]{1,300}(\.[0-9]{1,300})?", re.ASCII)

EXACT = Context(prec=1_000)

CLOCK = re.compile(
    r"(?P<day>[0-9W-]{7,10})"
    r"(?:[Tt ](?P<hour>[0-9]{2})(?::?(?P<minute>[0-9]{2})(?::?(?P<second>[0-9]{2}))?)?(?:[.,](?P<fraction>[0-9]+))?"
    r"(?:[Zz]|(?P<sign>[+-])(?P<ahead>[0-9]{2})(?::?(?P<minutes_ahead>[0-5][0-9]))?)?)?",
    re.ASCII,
)
"""A date of ISO 8601, or a date-time, with or without an offset."""

DAY_OF_YEAR = re.compile(r"[0-9]{4}-?[0-9]{3}", re.ASCII)

EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - the code calculates without time zones, and sets UTC at the end

FIRST_MILLISECONDS = 10**11
"""Smallest epoch number that is read as milliseconds: as seconds it would lie in the year 5138."""


def parse_timestamp(value: Any) -> datetime:  # noqa: ANN401 - whatever JSON holds
    """Returns a point in time in UTC, with microseconds.

    Args:
        value: An ISO 8601 date or date-time as text, epoch seconds or milliseconds as number or text, or a `datetime`.
            Without an offset it is UTC. Digits beyond microseconds are cut. Second 60 is the first second of the next
            minute. A text of eight digits is a date (`20240131`) if it can be one, and epoch seconds otherwise.

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
    # A fraction belongs to the smallest unit that the text has: 12.5 is half past twelve.
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
    return datetime(found.year, found.month, found.day) if found else None  # noqa: DTZ001 - see `EPOCH`
