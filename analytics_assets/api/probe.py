"""Whether the API is what the catalogue says it is: the beginning of each listing, read as a run reads it, and dropped.

A probe takes in the rows as a run does, and loads them nowhere. So what is wrong is wrong for the same reason, and in
the same words, as in a run.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

from analytics_assets.api.catalog import RESOURCES, Resource
from analytics_assets.api.http.errors import PayloadError
from analytics_assets.api.listing import Listing, open_listings
from analytics_assets.api.settings import Settings
from analytics_assets.api.stats import SyncStats
from analytics_assets.api.values.columns import column_hints

PAGES = 2
"""Pages that show whether paging advances."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What a probe of one resource found: what a run would fail with, or `None`, and which fields are not declared.

    `undeclared` are the columns that they would have, by field. `secrets` may be in the text of the error.
    """

    resource: Resource
    stats: SyncStats
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
        for listing in listings:
            listing.start({})
            stack.callback(listing.stop)
        for listing in listings:
            yield _find(listing)


def _find(listing: Listing) -> Finding:
    from analytics_assets.api.intake import Intake  # noqa: PLC0415 - definitions need no Arrow

    resource, stats = listing.resource, listing.stats
    intake = Intake(listing, {})
    try:
        # Raises what is wrong with the catalogue.
        column_hints(resource)
        while not stats.is_read:
            intake.take(listing.next_batch())
        _check_cursor(resource, stats)
    except Exception as error:  # noqa: BLE001 - whatever is wrong with it, the others are probed
        return Finding(resource, stats, error=error, secrets=listing.secrets())
    return Finding(resource, stats, intake.undeclared, secrets=listing.secrets())


def _check_cursor(resource: Resource, stats: SyncStats) -> None:
    if resource.cursor and stats.rows_read and stats.rows_without_cursor == stats.rows_read:
        raise PayloadError(
            f"{resource.name}: none of {stats.rows_read} rows has the cursor {resource.cursor!r}, so that nothing"
            " tells what is new. Does the dialect fit this API, or is the field called otherwise? See api/catalog.py."
        )
