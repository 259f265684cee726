"""Points in time as APIs spell them, as aware UTC date-times."""

import math
from datetime import UTC, datetime, timedelta
from typing import Any

import pendulum

CLOCK_SKEW = timedelta(minutes=5)
"""How far an API's clock may be ahead before a cursor value counts as being in the future."""


def parse_instant(value: Any) -> datetime:  # noqa: ANN401 - whatever JSON holds
    """Reads an ISO 8601 date or date-time, epoch seconds or a date-time; without an offset it is UTC.

    Digits of a fraction beyond microseconds are cut.

    Raises:
        ValueError: `value` is none of these.
    """
    match value:
        case datetime():
            moment = value
        case bool():
            raise ValueError(f"{value!r} is not a point in time")
        case int() | float():
            try:
                return _from_epoch(value)
            except (OverflowError, OSError) as error:
                raise ValueError(f"{value!r} is out of range for epoch seconds") from error
        case str():
            moment = _parse_text(value)
        case _:
            raise ValueError(f"{value!r} is not a point in time")
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _from_epoch(seconds: float) -> datetime:
    whole = math.floor(seconds)
    # A float is off by half of its last digit, a tenth of a microsecond these days: no reason to lose a whole one.
    microseconds = math.floor((seconds - whole + math.ulp(seconds) / 2) * 1e6)
    return datetime.fromtimestamp(whole, UTC) + timedelta(microseconds=microseconds)


def _parse_text(text: str) -> datetime:
    # The standard library reads nearly every value, at a tenth of pendulum's cost.
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        parsed = pendulum.parse(text, exact=True)
    if not isinstance(parsed, pendulum.DateTime):
        raise ValueError(f"{text!r} is not a point in time")  # noqa: TRY004 - its text, not its type, is wrong
    return parsed
