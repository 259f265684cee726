"""One sync of all eight resources with the project's source and pipelines, without Dagster."""

import importlib
import os
import tempfile
import time
from contextlib import closing
from dataclasses import replace

import duckdb

from analytics_assets.api.catalog import RESOURCES, in_turn
from analytics_assets.api.dialects.analytics import ANALYTICS
from analytics_assets.api.dialects.registry import DIALECTS
from analytics_assets.api.listing import open_listings
from analytics_assets.api.settings import read_settings
from analytics_assets.api.source import read_listings
from analytics_assets.collector import seldom_collected
from analytics_assets.project import use_project_config
from analytics_assets.warehouse.destination import build_destination, duckdb_options, read_target
from analytics_assets.warehouse.parquet import write_parquet
from analytics_assets.warehouse.pipeline import (
    appends,
    build_client,
    build_pipeline,
    has_rows,
    load_options,
    loads_once,
    pipeline_name,
)
from benchmarks.work import print_work

IMPORTED_LATE = (
    "analytics_assets.api.client",
    "analytics_assets.api.pages",
    "dlt.destinations.impl.duckdb.duck",
    "dlt.sources.rest_api",
    "pyarrow.parquet",
    "sqlalchemy",
    "uvloop",
)
"""What is imported when it is first needed: imports, as those above."""


def main() -> None:
    """Loads them into the configured DuckDB file."""
    for module in IMPORTED_LATE:
        importlib.import_module(module)
    if since := os.environ.get("BENCHMARKS_SINCE"):
        # The specification's API has no filter; the data of a dialect are all that it takes where there is one.
        filtered = replace(ANALYTICS.endpoints["activities"], since_param=since)
        DIALECTS["analytics"] = replace(ANALYTICS, endpoints={**ANALYTICS.endpoints, "activities": filtered})
    started = time.perf_counter()
    use_project_config()
    settings = read_settings()
    target = read_target(settings)
    with (
        closing(duckdb.connect(str(target.duckdb_path), config=duckdb_options(settings.duckdb_memory))) as connection,
        tempfile.TemporaryDirectory() as directory,
        seldom_collected(),
    ):
        destination = build_destination(target, connection)
        listings = open_listings(settings, RESOURCES)
        for listing in listings.values():
            listing.start_ahead()
        client = build_client(destination, directory)
        for resource in in_turn(RESOURCES):
            source = read_listings([listings[resource.name]], name=pipeline_name(resource))
            with client:
                may_append = appends(target.type, into_empty=not has_rows(client, resource))
            write_parquet(source, resource, directory, once=loads_once(target.type), may_append=may_append)
            build_pipeline(resource, destination, directory).run(source, **load_options(target.type))
    print_work(started)


if __name__ == "__main__":
    main()
