"""Durations in people's units."""

from datetime import timedelta

from analytics_assets.defs.display.progress import count

UNITS = (("year", 365 * 86_400), ("day", 86_400), ("hour", 3_600), ("minute", 60), ("second", 1))
"""Names of the units, and their seconds."""


def describe_duration(duration: timedelta) -> str:
    """A duration in its two largest units, such as `2 years 150 days`, `19 minutes` or `0 seconds`."""
    seconds = int(duration.total_seconds())
    largest = next((index for index, (_, size) in enumerate(UNITS) if seconds >= size), len(UNITS) - 1)
    texts: list[str] = []
    for name, size in UNITS[largest : largest + 2]:
        number, seconds = divmod(seconds, size)
        if number or (name == "second" and not texts):
            texts.append(count(number, name))
    return " ".join(texts)
