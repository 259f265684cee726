"""Plain dlt: the eight resources as dlt's documentation declares such resources, with dlt's defaults.

python -m benchmarks.plain http://127.0.0.1:8000 file.duckdb --parquet
"""

import argparse
import time

import dlt
from dlt.sources.rest_api import rest_api_source
from dlt.sources.rest_api.typing import RESTAPIConfig

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
        "resources": [
            {"name": "organizations", "endpoint": {"path": "v2/organizations", "data_selector": "data"}},
            {
                "name": "policies",
                "endpoint": {
                    "path": "v2/policies",
                    "data_selector": "data",
                    "paginator": "single_page",
                    "incremental": {"cursor_path": "updated", "initial_value": START},
                },
            },
            {
                "name": "activities",
                "endpoint": {
                    "path": "v2/activities",
                    "data_selector": "activities",
                    "incremental": {"cursor_path": "activityTime", "initial_value": START},
                },
            },
            {
                "name": "automation_scripts",
                "endpoint": {
                    "path": "v2/automation/scripts",
                    "data_selector": "data",
                    "paginator": "single_page",
                    "incremental": {"cursor_path": "updatedOn", "initial_value": START},
                },
            },
            {
                "name": "groups",
                "endpoint": {
                    "path": "v2/groups",
                    "data_selector": "data",
                    "paginator": "single_page",
                    "incremental": {"cursor_path": "updated", "initial_value": START},
                },
            },
            {"name": "locations", "endpoint": {"path": "v2/locations", "data_selector": "data"}},
            {
                "name": "roles",
                "endpoint": {
                    "path": "v2/roles",
                    "data_selector": "data",
                    "paginator": "single_page",
                    "incremental": {"cursor_path": "created", "initial_value": START},
                },
            },
            {
                "name": "software_products",
                "endpoint": {"path": "v2/software-products", "data_selector": "data", "paginator": "single_page"},
            },
        ],
    }


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
    pipeline = dlt.pipeline("plain", destination=destination, dataset_name="analytics")
    source = rest_api_source(configuration(arguments.url, arguments.page_size))
    if arguments.parquet:
        pipeline.run(source, loader_file_format="parquet")
    else:
        pipeline.run(source)
    print_work(started)


if __name__ == "__main__":
    main()
