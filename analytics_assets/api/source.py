"""The catalog as a dlt source: dlt's `rest_api` builds the resources, and this module adds steps to their pipes."""

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

from analytics_assets.api.catalog import Resource
from analytics_assets.api.connector import Connector
from analytics_assets.api.dialects.base import ById
from analytics_assets.api.listing import Listing
from analytics_assets.api.reading import Reading, usual_lag
from analytics_assets.api.rest_adapter import ROWS_KEY, ListingAdapter, UntilLast
from analytics_assets.api.settings import Settings
from analytics_assets.api.values.columns import column_hints, column_name, key_columns

EVERYTHING = timedelta(days=365 * 1000)
"""A lag that is longer than any history: dlt then reads from the start date, and does not reset the cursor."""


class Position(IntEnum):
    """Positions of our steps in the pipe of a resource, for `insert_at` of `add_step`.

    `rest_api` has the requests at 0, and adds dlt's incremental, which filters by the cursor, as the last step. So the
    order is: requests, reader, incremental, change filter, writer.
    """

    READER = 1
    CHANGE_FILTER = 3
    WRITER = 1_000
    """Beyond the last step. Without `insert_at`, dlt would insert the step before its incremental."""


def read_listing(listing: Listing, reading: Reading | None = None) -> DltSource:
    """Returns a dlt source with one resource, which yields the listing as Arrow tables. It is called as its pipeline.

    The stats of the listing are counted while dlt runs the source.

    Args:
        listing: The listing; it may have been started already.
        reading: How much to read; by default only what is new.
    """
    # Resources are built outside of the `dlt.source` function: inside it dlt looks for each of its own settings in more
    # sections, which takes 40 ms per sync.
    connector = listing.settings.connector
    name = connector.pipeline_name(listing.resource)
    return _as_source([_build_resource(listing, reading or Reading())], name, connector.name)


def source_shape(connector: Connector) -> DltSource:
    """Returns an empty source with the names and tables of all resources, for definitions: it needs no settings."""
    shapes: list[DltResource] = [
        dlt.resource([], name=resource.name, primary_key=key_columns(resource), write_disposition="merge")
        for resource in connector.resources
    ]
    return _as_source(shapes, connector.name, connector.name)


def _as_source(resources: list[DltResource], name: str, section: str) -> DltSource:
    # Nested values stay JSON in their column. A new field becomes a new column. A column never changes its type.
    contract: TSchemaContractDict = {"tables": "evolve", "columns": "evolve", "data_type": "freeze"}
    source = dlt.source(lambda: resources, name=name, section=section, max_table_nesting=0, schema_contract=contract)
    return source()


def _build_resource(listing: Listing, reading: Reading) -> DltResource:
    from analytics_assets.api.incremental import BatchReader, ChangeFilter  # noqa: PLC0415 - definitions need no Arrow

    resource, settings = listing.resource, listing.settings
    session = requests.Session()
    session.trust_env = False
    for scheme in ("http://", "https://"):
        session.mount(scheme, ListingAdapter(listing))
    # No credentials: dlt's requests go no further than the adapter, and the transport has the token.
    client: ClientConfig = {"base_url": settings.base_url, "session": session}
    [built] = rest_api_resources({"client": client, "resources": [_endpoint(listing, reading)]})
    lag = _lag(resource, settings, reading)
    start = _start(settings, reading)
    reader = BatchReader(listing, start, lag, stateful=not reading.is_window)
    built.add_step(reader, insert_at=Position.READER)
    if reader.cursor and not reading.is_window:
        reload, keep = reading.everything, reading.gap is not None
        change_filter = ChangeFilter(reader, reader.cursor, usual_lag(resource, settings), reload=reload, keep=keep)
        built.add_step(change_filter, insert_at=Position.CHANGE_FILTER)
    return built


def _endpoint(listing: Listing, reading: Reading) -> EndpointResource:
    resource = listing.resource
    endpoint: Endpoint = {
        # dlt would look for the values of placeholders in its own resources.
        "path": listing.endpoint.path.removeprefix("/").translate(str.maketrans("", "", "{}")),
        "data_selector": _compiled_rows(),
        "paginator": UntilLast(listing),
    }
    if resource.cursor:
        endpoint["incremental"] = _incremental(resource, column_name(resource.cursor), listing.settings, reading)
        endpoint["params"] = _filters(listing, reading)
    return {
        "name": resource.name,
        "primary_key": key_columns(resource),
        "write_disposition": "merge",
        "columns": column_hints(resource),
        "endpoint": endpoint,
    }


@cache
def _compiled_rows() -> TJsonPath:
    """Returns the compiled selector of the rows. Given as text, dlt would parse it again for every batch."""
    return compile_path(ROWS_KEY)


def _filters(listing: Listing, reading: Reading) -> dict[str, Any]:
    filters: dict[str, Any] = {}
    if listing.endpoint.since_param:
        filters[listing.endpoint.since_param] = "{incremental.start_value}"
    if listing.endpoint.until_param and reading.end:
        # Two seconds later, because a dialect may round it down to whole seconds. dlt drops rows that are too new.
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
        # Converts the value in the request only, and only if the endpoint has a `since_param`.
        "convert": settings.wire_format.format_datetime,
        # Without keys dlt does not deduplicate rows at the cursor value: a row that was edited again within the
        # cursor's resolution has to be loaded.
        "primary_key": [],
    }
    if reading.is_window:
        incremental["end_value"] = reading.end or datetime.now(UTC)
    else:
        incremental["lag"] = _lag(resource, settings, reading).total_seconds()
    return incremental


def _start(settings: Settings, reading: Reading) -> datetime:
    return reading.start or reading.since or (reading.gap.since if reading.gap else settings.start)


def _lag(resource: Resource, settings: Settings, reading: Reading) -> timedelta:
    if reading.everything or reading.gap:
        return EVERYTHING
    return usual_lag(resource, settings)
