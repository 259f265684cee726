"""Whether the API is what the catalogue says it is: the beginning of each listing, read as a run reads it, and dropped.

A probe takes all steps of a run but the last: dlt extracts and normalises the rows in a temporary directory and loads
them nowhere. So what is wrong is wrong for the same reason, and in the same words, as in a run.
"""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime

import dlt

from analytics_assets.api.catalog import RESOURCES, Resource
from analytics_assets.api.guards import PayloadError
from analytics_assets.api.listing import Listing, open_listings
from analytics_assets.api.report import Report
from analytics_assets.api.settings import Settings
from analytics_assets.api.source import Reading, read_listings, undeclared_columns

PAGES = 2
"""Pages that show whether paging advances."""

ALL_OF_THEM = Reading(start=datetime(1970, 1, 1, tzinfo=UTC))
"""Rows from before the start date are rows, too."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What a probe of one resource found: what a run would fail with, or `None`, and which fields are not declared.

    `undeclared` are the columns that they would have, by field. `secrets` may be in the text of the error.
    """

    resource: Resource
    report: Report
    undeclared: Mapping[str, str] = field(default_factory=dict)
    error: Exception | None = None
    secrets: Sequence[str | None] = field(default=(), repr=False)


def probe(settings: Settings, resources: Sequence[Resource] = RESOURCES) -> Iterator[Finding]:
    """Reads the first two pages of each resource, or its one page. They are on the wire at the same time.

    A second page that brings no new row settles nothing: more are then asked for, until the listing ends, goes on or
    turns out not to advance.
    """
    listings = open_listings(settings, resources, most_pages=PAGES).values()
    with ExitStack() as stack:
        working_dir = stack.enter_context(tempfile.TemporaryDirectory(prefix="analytics_assets_"))
        for listing in listings:
            listing.start_ahead()
            stack.callback(listing.stop)
        for listing in listings:
            yield _find(listing, working_dir)


def _find(listing: Listing, working_dir: str) -> Finding:
    resource, report = listing.resource, listing.report
    name = f"probe_{resource.name}"
    # Its destination is one of dlt's that keeps nothing, so that the configured one does not matter here.
    pipeline = dlt.pipeline(name, destination=dlt.destinations.dummy(), pipelines_dir=working_dir)
    try:
        pipeline.extract(read_listings([listing], name=name, reading=ALL_OF_THEM))
        pipeline.normalize()
        _check_cursor(resource, report)
    except Exception as error:  # noqa: BLE001 - whatever is wrong with it, the others are probed
        return Finding(resource, report, error=error, secrets=listing.secrets())
    return Finding(
        resource,
        report,
        undeclared_columns(pipeline.default_schema.tables.get(resource.name, {}).get("columns", {})),
        secrets=listing.secrets(),
    )


def _check_cursor(resource: Resource, report: Report) -> None:
    if resource.cursor and report.rows_read and report.rows_without_cursor == report.rows_read:
        raise PayloadError(
            f"{resource.name}: none of {report.rows_read} rows has the cursor {resource.cursor!r}, so that nothing"
            " tells what is new. Does the dialect fit this API, or is the field called otherwise? See api/catalog.py."
        )
