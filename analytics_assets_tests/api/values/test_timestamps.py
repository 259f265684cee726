"""Spellings of points in time."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from analytics_assets.api.values.timestamps import parse_timestamp

NEW_YEAR = datetime(2024, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("spelling", "after_new_year"),
    [
        ("2024-01-01T00:00:00Z", timedelta()),
        ("2024-01-01", timedelta()),
        ("2024-01-01T00:00:00", timedelta()),
        ("2024-01-01 00:00:00+00:00", timedelta()),
        ("20240101T000000Z", timedelta()),
        ("2024-01-01T02:00:00+05:00", timedelta(hours=-3)),
        ("2024-01-01T00:00:00.5Z", timedelta(milliseconds=500)),
        ("2024-01-01T00:00:00.123456789Z", timedelta(microseconds=123456)),
        (1704067200, timedelta()),
        ("1704067200", timedelta()),
        (1704067200500, timedelta(milliseconds=500)),
        ("2024-01-01t01:00:00z", timedelta(hours=1)),
        ("2023-12-31T24:00:00Z", timedelta()),
        ("2023-12-31T23:59:60Z", timedelta()),
        ("2024-01-01T03.5Z", timedelta(hours=3.5)),
        ("2024-002", timedelta(days=1)),
        ("2024-W01-2", timedelta(days=1)),
        (1704067200.25, timedelta(milliseconds=250)),
        (datetime(2024, 1, 1, 1, tzinfo=timezone(timedelta(hours=1))), timedelta()),
    ],
)
def test_every_spelling_of_a_timestamp_is_read(spelling: object, after_new_year: timedelta) -> None:
    instant = parse_timestamp(spelling)
    assert instant == NEW_YEAR + after_new_year
    assert instant.utcoffset() == timedelta()


@pytest.mark.parametrize("value", ["", "yesterday", "10:00", "P1D", "2024-13-01", True, None, [], 1e30, float("nan")])
def test_values_that_are_no_timestamps_are_refused(value: object) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_timestamp(value)
