"""Previews of a table in Markdown, for a materialization: its newest rows, and a chart of events per day."""

import base64
import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from tabulate import tabulate

from analytics_assets.api.catalog import Resource
from analytics_assets.api.redaction import redact
from analytics_assets.api.values.timestamps import CLOCK_SKEW
from analytics_assets.warehouse.client import Client
from analytics_assets.warehouse.samples import TableRow, newest_rows, rows_per_day

PREVIEW_ROWS = 5
"""Rows of a preview: enough to recognize the table, and small in the event log."""

LONGEST_CELL = 40
"""Most characters of a value that are shown."""

DAYS = 30
"""Days of the chart."""

BAR, GAP, HEIGHT = 14, 4, 80
"""Pixels of the chart: width of a bar, gap between two bars, height of the tallest bar."""

ACTIVE = re.compile(r"([\\`*_\[\]<|~&])")
"""Characters with a meaning in Markdown. They are escaped, so that no value of the API becomes a link, an image or a
cell of its own."""

LINKED = re.compile(r"://|www\.|@|mailto:|xmpp:", re.IGNORECASE)
"""Texts that GitHub's Markdown turns into links, escaped or not. Only code keeps them as they are."""


def preview(client: Client, resource: Resource, secrets: Iterable[str | None]) -> str:
    """The newest rows of a table, as a table in Markdown.

    Args:
        client: Asks the destination; it is connected.
        resource: Whose table. It exists.
        secrets: Values that the text must not show.
    """
    rows = newest_rows(client, resource, PREVIEW_ROWS)
    return as_table(rows, secrets)


def chart_per_day(client: Client, resource: Resource, cursor: str) -> str:
    """The number of rows on each of the last `DAYS` days, as a small image with a line of text.

    Args:
        client: Asks the destination; it is connected.
        resource: Whose table. It exists.
        cursor: The field of the API that tells the day.
    """
    found = rows_per_day(client, resource, cursor, datetime.now(UTC) + CLOCK_SKEW, DAYS)
    if found is None:
        return "No rows."
    first, counts = found
    last = first + timedelta(days=DAYS - 1)
    text = f"{resource.name} per day, {first:%Y-%m-%d} to {last:%Y-%m-%d}: {counts[-1]:,} on the last day"
    text += f", {max(counts):,} at most, {sum(counts):,} in all"
    image = base64.b64encode(_bars(first, last, counts).encode()).decode()
    return f"![{text}](data:image/svg+xml;base64,{image})\n\n{text}"


def as_table(rows: Sequence[TableRow], secrets: Iterable[str | None]) -> str:
    """Rows as a table in Markdown.

    Args:
        rows: Values by column, the same columns in each row.
        secrets: Values that the text must not show.
    """
    if not rows:
        return "No rows."
    secrets = list(secrets)
    head = [redact(name, secrets) for name in rows[0]]
    cells = [[_cell(value, secrets) for value in row.values()] for row in rows]
    return tabulate(cells, head, "pipe", disable_numparse=True)


def _cell(value: Any, secrets: Sequence[str | None]) -> str:  # noqa: ANN401 - whatever a table holds
    match value:
        case None:
            return ""
        case datetime():
            text = value.isoformat(" ").replace("+00:00", "Z")
        case _:
            text = str(value)
    text = redact(" ".join(text.split()), secrets)
    text = text if len(text) <= LONGEST_CELL else text[:LONGEST_CELL] + "…"
    if not LINKED.search(text):
        return ACTIVE.sub(r"\\\1", text)
    fence = "`" * (1 + max(map(len, re.findall("`+", text)), default=0))
    # In code a bar cannot be escaped safely: if the value has a backslash before it, the bar still ends the cell.
    return f"{fence} {text.replace('|', '¦')} {fence}"


def _bars(first: datetime, last: datetime, counts: Sequence[int]) -> str:
    """A bar chart as SVG, in colors that suit a light and a dark page."""
    most = max(counts)
    width = len(counts) * (BAR + GAP)
    bars = []
    for position, count in enumerate(counts):
        # A day with a single row is visible even beside a day with a million.
        height = max(1, round(HEIGHT * count / most)) if count else 0
        bars.append(f'<rect x="{position * (BAR + GAP)}" y="{16 + HEIGHT - height}" width="{BAR}" height="{height}"/>')
    below = HEIGHT + 30
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{below + 4}" font-family="sans-serif"'
        f' font-size="11"><g fill="#4f7bdd">{"".join(bars)}</g><g fill="#888"><text y="11">{most:,}</text>'
        f'<text y="{below}">{first:%Y-%m-%d}</text>'
        f'<text x="{width}" y="{below}" text-anchor="end">{last:%Y-%m-%d}</text></g></svg>'
    )
