"""The catalog as a dlt source: dlt's `rest_api` does the work, guards and steps of ours stand around it."""

from datetime import UTC, datetime, timedelta
from enum import IntEnum
from functools import cache
from typing import Any

import dlt
import requests
from dlt.common.jsonpath import TJsonPath, compile_path
from dlt.common.schema.typing import TSchemaContractDict
from dlt.extract.resource import DltResource
from dlt.extract.source import DltSource
from dlt.sources.rest_api import rest_api_resources
from dlt.sources.rest_api.typing import ClientConfig, Endpoint, EndpointResource, IncrementalConfig

from analytics_assets.api.catalog import PRIMARY_KEY, RESOURCES, Resource
from analytics_assets.api.dialects.base import ById
from analytics_assets.api.listing import Listing
from analytics_assets.api.reading import Reading
from analytics_assets.api.rest_adapter import ROWS_KEY, ListingAdapter, UntilLast
from analytics_assets.api.settings import Settings
from analytics_assets.api.values.columns import column_hints, column_name

SOURCE_NAME = "analytics"

EVERYTHING = timedelta(days=365 * 1000)
"""A lag that reaches behind every start date: dlt then starts at the start date and keeps the cursor."""


class Position(IntEnum):
    """Where our steps stand in the pipe of a resource that `rest_api` has built, given as `insert_at` of `add_step`.

    `rest_api` itself has the requests at 0 and dlt's incremental, which filters by the cursor, behind all that is there
    when it is added. So: requests, reader, incremental, change filter, writer.
    """

    READER = 1
    CHANGE_FILTER = 3
    WRITER = 1_000
    """Beyond the last. Without a position a step comes before dlt's incremental."""


def read_listing(listing: Listing, *, name: str = SOURCE_NAME, reading: Reading | None = None) -> DltSource:
    """A listing as a dlt source of Arrow tables; its stats are filled while it is run.

    Args:
        listing: What to read, perhaps started already.
        name: Name of the source, and so of dlt's schema.
        reading: How much to read; what is new by default.
    """
    # Built outside of the source's function: in it, dlt seeks each of its own settings in more places, 40 ms a sync.
    return _as_source([_build_resource(listing, reading or Reading())], name)


def source_shape() -> DltSource:
    """The source's names and tables alone, for definitions: needs no settings and cannot be read."""
    shapes: list[DltResource] = [
        dlt.resource([], name=resource.name, primary_key=PRIMARY_KEY, write_disposition="merge")
        for resource in RESOURCES
    ]
    return _as_source(shapes, SOURCE_NAME)


def _as_source(resources: list[DltResource], name: str) -> DltSource:
    # Nested values stay JSON in their column. A field that is new becomes a column.
    contract: TSchemaContractDict = {"tables": "evolve", "columns": "evolve", "data_type": "freeze"}
    source = dlt.source(
        lambda: resources, name=name, section=SOURCE_NAME, max_table_nesting=0, schema_contract=contract
    )
    return source()


def _build_resource(listing: Listing, reading: Reading) -> DltResource:
    from analytics_assets.api.incremental import BatchReader, ChangeFilter  # noqa: PLC0415 - definitions need no Arrow

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
    reader = BatchReader(listing, start, lag, stateful=not reading.is_window)
    built.add_step(reader, insert_at=Position.READER)
    if reader.cursor and not reading.is_window:
        usual = _lag(resource, settings, Reading())
        settler = ChangeFilter(reader, reader.cursor, usual, reload=reading.everything, keep=reading.gap is not None)
        built.add_step(settler, insert_at=Position.CHANGE_FILTER)
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
    return compile_path(ROWS_KEY)


def _filters(listing: Listing, reading: Reading) -> dict[str, Any]:
    filters: dict[str, Any] = {}
    if listing.endpoint.since_param:
        filters[listing.endpoint.since_param] = "{incremental.start_value}"
    if listing.endpoint.until_param and reading.end:
        # A little later, as dialects may spell it coarsely; dlt leaves out what is too new.
        filters[listing.endpoint.until_param] = listing.settings.wire_format.format_datetime(
            reading.end + timedelta(seconds=2)
        )
    pagination = listing.endpoint.pagination
    if reading.gap and isinstance(pagination, ById):
        filters[pagination.param] = reading.gap.below
    return filters


def _incremental(resource: Resource, cursor: str, settings: Settings, reading: Reading) -> IncrementalConfig:
    incremental: IncrementalConfig = {
        "cursor_path": cursor,
        "initial_value": _start(settings, reading),
        "on_cursor_value_missing": "include",
        # Only in the request, if the API has a parameter for it.
        "convert": settings.wire_format.format_datetime,
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
