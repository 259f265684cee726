"""Probes whether the API fits the catalog: reads the beginning of each listing, and loads nothing.

A probe reads, validates and takes in rows with the code of a run, so it finds the same errors, with the same texts.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

from analytics_assets.api.catalog import Column, Resource
from analytics_assets.api.http.errors import PayloadError
from analytics_assets.api.listing import Listing, open_listings
from analytics_assets.api.settings import Settings
from analytics_assets.api.stats import SyncStats

PAGES = 2
"""Pages that a probe reads. The second one shows whether the pagination advances."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What a probe of one resource found."""

    resource: Resource
    stats: SyncStats
    undeclared: Mapping[str, str] = field(default_factory=dict)
    """Columns that undeclared fields would have, by field."""
    suggested: Sequence[Column] = ()
    """Columns that could be declared for undeclared fields, without a description."""
    error: Exception | None = None
    """Error with which a run would fail; `None` if it would not."""
    secrets: Sequence[str | None] = field(default=(), repr=False)
    """Secrets that the text of the error may contain."""


def probe(settings: Settings, resources: Sequence[Resource]) -> Iterator[Finding]:
    """Reads the first two pages of each resource at the same time, and yields a finding for each.

    A page without new rows does not show whether the pagination advances. Then more pages are requested, until one has
    new rows, the listing ends, or the pagination fails.

    Raises:
        SettingsError: No `hash_key` is set for fields that are to be hashed, or the certificates cannot be read.
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
    from analytics_assets.api.values.fitting import Fits, narrow, suggest_columns  # noqa: PLC0415 - as above

    resource, stats = listing.resource, listing.stats
    intake = Intake(listing, {})
    fits: Fits = {}
    found: Exception | None = None
    try:
        while not stats.is_read:
            batch = listing.next_batch()
            narrow(fits, batch.table)
            intake.take(batch)
        _check_cursor(resource, stats)
    except Exception as error:  # noqa: BLE001 - one wrong resource does not keep the others from being probed
        found = error
    suggested = suggest_columns(fits, intake.undeclared, resource)
    return Finding(resource, stats, intake.undeclared, suggested, found, listing.secrets())


def _check_cursor(resource: Resource, stats: SyncStats) -> None:
    if resource.cursor and stats.rows_read and stats.rows_without_cursor == stats.rows_read:
        raise PayloadError(
            f"{resource.name}: none of {stats.rows_read} rows has the cursor {resource.cursor!r}, so no sync can tell"
            " which rows are new. Does the dialect fit this API? If the field has another name, correct"
            " cursor in its entry."
        )
