"""Plain dlt: the same resources as dlt's documentation declares such resources, with dlt's defaults.

python -m benchmarks.plain http://127.0.0.1:8000 file.duckdb --parquet
"""

import argparse
import time

import dlt
from dlt.sources.rest_api import rest_api_source
from dlt.sources.rest_api.typing import Endpoint, EndpointResource, RESTAPIConfig

from analytics_assets.api.catalog import Resource
from analytics_assets.api.connector import SHIPPED
from benchmarks.work import print_work

START = "2024-01-01T00:00:00Z"


def configuration(url: str, page_size: int) -> RESTAPIConfig:
    """The configuration of dlt's declarative REST API source."""
    return {
        "client": {
            "base_url": url,
            "auth": {"type": "bearer", "token": "any"},
            "paginator": {
                "type": "offset",
                "limit": page_size,
                "offset_param": "after",
                "limit_param": "limit",
                "total_path": None,
                "stop_after_empty_page": True,
            },
        },
        "resource_defaults": {"primary_key": "id", "write_disposition": "merge"},
        "resources": list(map(declare, SHIPPED.resources)),
    }


def declare(resource: Resource) -> EndpointResource:
    """A resource as it is declared to that source."""
    declared = SHIPPED.dialects[0].endpoints[resource.name]
    endpoint: Endpoint = {"path": declared.path.lstrip("/"), "data_selector": declared.selector or "$"}
    if not declared.pagination:
        endpoint["paginator"] = "single_page"
    if resource.cursor:
        endpoint["incremental"] = {"cursor_path": resource.cursor, "initial_value": START}
    return {"name": resource.name, "endpoint": endpoint}


def main() -> None:
    """Loads the API into a DuckDB file: everything in a new file, new rows in an existing one."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.plain")
    parser.add_argument("url")
    parser.add_argument("database")
    parser.add_argument("--page-size", type=int, default=20)
    parser.add_argument("--parquet", action="store_true", help="load by parquet files instead of INSERT statements")
    arguments = parser.parse_args()
    started = time.perf_counter()
    destination = dlt.destinations.duckdb(arguments.database)
    pipeline = dlt.pipeline("plain", destination=destination, dataset_name=SHIPPED.dataset)
    source = rest_api_source(configuration(arguments.url, arguments.page_size))
    if arguments.parquet:
        pipeline.run(source, loader_file_format="parquet")
    else:
        pipeline.run(source)
    print_work(started)


if __name__ == "__main__":
    main()
