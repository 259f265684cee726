"""One sync of all eight resources with the project's source and pipelines, without Dagster."""

import tempfile
import time

import dlt

from analytics_assets.api.catalog import RESOURCES
from analytics_assets.api.settings import read_settings
from analytics_assets.api.source import analytics_source
from analytics_assets.project import use_project_config
from analytics_assets.warehouse.destination import read_target
from analytics_assets.warehouse.pipeline import build_pipeline, load_options, pipeline_name
from benchmarks.work import print_work


def main() -> None:
    """Loads them into the configured DuckDB file."""
    started = time.perf_counter()
    use_project_config()
    settings = read_settings()
    target = read_target(settings)
    destination = dlt.destinations.duckdb(str(target.duckdb_path))
    with tempfile.TemporaryDirectory() as directory:
        for resource in RESOURCES:
            pipeline = build_pipeline(resource, destination, directory)
            source = analytics_source(settings, [resource], name=pipeline_name(resource))
            pipeline.run(source, **load_options(target.type))
    print_work(started)


if __name__ == "__main__":
    main()
