"""The catalogue as a dlt source: dlt's `rest_api` does the work, guards and steps of ours stand around it.

Usable without Dagster:

    import dlt
    from analytics_assets.api.source import analytics_source

    dlt.pipeline("analytics", destination="duckdb", dataset_name="analytics").run(analytics_source())
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import dlt
import requests
from dlt.common.jsonpath import TJsonPath, compile_path
from dlt.common.schema.typing import TColumnSchema, TSchemaContractDict, TTableSchemaColumns
from dlt.extract.resource import DltResource
from dlt.extract.source import DltSource
from dlt.sources.rest_api import rest_api_resources
from dlt.sources.rest_api.typing import ClientConfig, Endpoint, EndpointResource, IncrementalConfig

from analytics_assets.api.catalog import PRIMARY_KEY, RESOURCES, Resource
from analytics_assets.api.dialect import ById
from analytics_assets.api.listing import ROWS, Listing, ListingAdapter, UntilLast, open_listings
from analytics_assets.api.report import Gap
from analytics_assets.api.settings import Settings, read_settings
from analytics_assets.api.values import FIELD, RESERVED, column_name

SOURCE_NAME = "analytics"

EVERYTHING = timedelta(days=365 * 1000)
"""A lag that reaches behind every start date: dlt then starts at the start date and keeps the cursor."""


@dataclass(frozen=True, slots=True)
class Reading:
    """How much of the incremental resources to read.

    Without fields: what is new since the cursor. `everything`: all rows since the start date, and the cursor moves on.
    `start` and `end`: the rows with a cursor value in this window (the end excluded), and the cursor stays where it is.
    `gap`: what a sliced listing has left out, and the cursor stays likewise.
    """

    everything: bool = False
    start: datetime | None = None
    end: datetime | None = None
    gap: Gap | None = None

    @property
    def is_window(self) -> bool:
        """Whether a bounded window is asked for."""
        return self.start is not None or self.end is not None


def analytics_source(settings: Settings | None = None, resources: Sequence[Resource] = RESOURCES) -> DltSource:
    """The resources as a dlt source of Arrow tables. No request is made before it is run.

    Args:
        settings: The API's settings; read the dlt way by default.
        resources: Which entries of the catalogue; all by default.

    Raises:
        SettingsError: A setting is missing or wrong.
    """
    return read_listings(open_listings(settings or read_settings(), resources).values())


def read_listings(listings: Iterable[Listing], *, name: str = SOURCE_NAME, reading: Reading | None = None) -> DltSource:
    """Listings as a dlt source; their reports are filled while it is run.

    Args:
        listings: What to read, perhaps started already.
        name: Name of the source, and so of dlt's schema.
        reading: How much to read; what is new by default.
    """
    reading = reading or Reading()

    # Built before dlt is in the source's section of the configuration, in which it looks for each of its own settings.
    return _as_source([_build_resource(listing, reading) for listing in listings], name)


def slices(listing: Listing, reading: Reading, gap: Gap | None) -> Iterator[Reading]:
    """What to read of a listing, one after the other, each when the one before is loaded.

    Args:
        listing: What is read.
        reading: What is wanted.
        gap: What syncs before have left out.
    """
    if listing.is_sliced and not reading.is_window:
        listing.slice()
        listing.report.gap = None if reading.everything else gap
        while listing.report.gap:
            yield Reading(gap=listing.report.gap)
    yield reading
    while listing.report.gap:
        yield Reading(gap=listing.report.gap)


def source_shape() -> DltSource:
    """The source's names and tables alone, for definitions: needs no settings and cannot be read."""
    shapes: list[DltResource] = [
        dlt.resource([], name=resource.name, primary_key=PRIMARY_KEY, write_disposition="merge")
        for resource in RESOURCES
    ]
    return _as_source(shapes, SOURCE_NAME)


def undeclared_columns(columns: TTableSchemaColumns, resource: Resource) -> dict[str, str]:
    """The columns of a table in dlt's schema that are for fields which the catalogue does not know, by field."""
    # dlt keeps hints that begin with x-, and does not type them.
    untyped: Mapping[str, Mapping[str, Any]] = columns
    declared = {column_name(column.name) for column in resource.columns}
    return {hints[FIELD]: name for name, hints in untyped.items() if FIELD in hints and name not in declared}


def _as_source(resources: list[DltResource], name: str) -> DltSource:
    # Nested values stay JSON in their column. A field that is new becomes a column.
    contract: TSchemaContractDict = {"tables": "evolve", "columns": "evolve", "data_type": "freeze"}
    source = dlt.source(
        lambda: resources, name=name, section=SOURCE_NAME, max_table_nesting=0, schema_contract=contract
    )
    return source()


def _build_resource(listing: Listing, reading: Reading) -> DltResource:
    from analytics_assets.api.pages import PageReader, PageSettler  # noqa: PLC0415 - definitions need no Arrow

    resource, settings = listing.resource, listing.settings
    session = requests.Session()
    session.trust_env = False
    for scheme in ("http://", "https://"):
        session.mount(scheme, ListingAdapter(listing))
    # Credentials are the wire's: what dlt sends goes no further than to the adapter.
    client: ClientConfig = {"base_url": settings.base_url, "session": session}
    [built] = rest_api_resources({"client": client, "resources": [_endpoint(listing, reading)]})
    lag = _lag(resource, settings, reading)
    start = _start(settings, reading)
    reader = PageReader(listing, start, lag, stateful=not reading.is_window)
    built.add_step(reader, insert_at=1)
    if reader.cursor and not reading.is_window:
        usual = _lag(resource, settings, Reading())
        settler = PageSettler(reader, reader.cursor, usual, reload=reading.everything, keep=reading.gap is not None)
        built.add_step(settler, insert_at=3)
    return built


def _endpoint(listing: Listing, reading: Reading) -> EndpointResource:
    resource = listing.resource
    endpoint: Endpoint = {
        "path": listing.endpoint.path.removeprefix("/"),
        "data_selector": _compiled_rows(),
        "paginator": UntilLast(listing),
    }
    if resource.cursor:
        endpoint["incremental"] = _incremental(resource, column_name(resource.cursor), listing.settings, reading)
        endpoint["params"] = _filters(listing, reading)
    return {
        "name": resource.name,
        "primary_key": PRIMARY_KEY,
        "write_disposition": "merge",
        "columns": column_hints(resource),
        "endpoint": endpoint,
    }


@cache
def _compiled_rows() -> TJsonPath:
    """The selector of the rows; dlt would otherwise parse it again for every page."""
    return compile_path(ROWS)


def _filters(listing: Listing, reading: Reading) -> dict[str, Any]:
    filters: dict[str, Any] = {}
    if listing.endpoint.since_param:
        filters[listing.endpoint.since_param] = "{incremental.start_value}"
    if listing.endpoint.until_param and reading.end:
        # A little later, as dialects may spell it coarsely; dlt leaves out what is too new.
        filters[listing.endpoint.until_param] = listing.settings.wire.spell(reading.end + timedelta(seconds=2))
    paging = listing.endpoint.paging
    if reading.gap and isinstance(paging, ById):
        filters[paging.param] = reading.gap.below
    return filters


def _incremental(resource: Resource, cursor: str, settings: Settings, reading: Reading) -> IncrementalConfig:
    incremental: IncrementalConfig = {
        "cursor_path": cursor,
        "initial_value": _start(settings, reading),
        "on_cursor_value_missing": "include",
        # Only in the request, if the API has a parameter for it.
        "convert": settings.wire.spell,
        # No deduplication by key on the boundary: a row that was edited within its cursor's resolution is news.
        "primary_key": [],
    }
    if reading.is_window:
        incremental["end_value"] = reading.end or datetime.now(UTC)
    else:
        incremental["lag"] = _lag(resource, settings, reading).total_seconds()
    return incremental


def _start(settings: Settings, reading: Reading) -> datetime:
    return reading.start or (reading.gap.since if reading.gap else settings.start)


def _lag(resource: Resource, settings: Settings, reading: Reading) -> timedelta:
    if reading.everything or reading.gap:
        return EVERYTHING
    return timedelta(seconds=resource.lag_seconds if settings.lag_seconds is None else settings.lag_seconds)


def column_hints(resource: Resource) -> TTableSchemaColumns:
    """The columns of a resource's table by name, as dlt wants them.

    Only the key must not be null: no row is kept out for want of a value. A check tells of columns declared otherwise.

    Raises:
        ValueError: Two fields, or a field and a column of ours, dlt's or a database's, have one name.
    """
    hints: dict[str, TColumnSchema] = {}
    for column in resource.table_columns:
        name = column_name(column.name)
        if name in hints or name.startswith("_dlt") or (name in RESERVED and column in resource.columns):
            raise ValueError(f"{resource.name}: {column.name!r} cannot be declared, as {name} is another column.")
        hints[name] = {
            "name": name,
            "data_type": column.type,
            "nullable": column.name != PRIMARY_KEY,
            "description": column.description,
        }
    if resource.cursor:
        # Of two versions of a row in one listing, the newer one is merged.
        hints[column_name(resource.cursor)]["dedup_sort"] = "desc"
    return hints
