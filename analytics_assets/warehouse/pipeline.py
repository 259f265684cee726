"""The dlt pipeline of a resource, what is asked of its table around a load, and the marks of deleted rows."""

import time
from typing import Any

import dlt
from dlt.common.destination.reference import Destination
from dlt.destinations.job_client_impl import SqlJobClientBase

from analytics_assets.api.catalog import Resource
from analytics_assets.api.source import SOURCE_NAME
from analytics_assets.warehouse.errors import DestinationError
from analytics_assets.warehouse.target import DATASET, DUCKDB


def pipeline_name(resource: Resource) -> str:
    """Name of the pipeline and the schema of a resource.

    One each, since dlt keeps a pipeline's cursors in one document: concurrent runs of two resources that shared it
    would overwrite each other's.
    """
    return f"{SOURCE_NAME}_{resource.name}"


def build_pipeline(resource: Resource, destination: Destination[Any, Any], working_dir: str) -> dlt.Pipeline:
    """A new pipeline for one run; cursors and schema are restored from the destination when it runs."""
    pipeline = dlt.pipeline(
        pipeline_name(resource), destination=destination, dataset_name=DATASET, pipelines_dir=working_dir
    )
    # dlt would take note of Ctrl-C, and of Dagster's termination, and go on, or fail this resource alone.
    pipeline.runtime_config.intercept_signals = False
    return pipeline


def load_options(target_type: str) -> dict[str, Any]:
    """Arguments of `pipeline.run` that suit the destination.

    dlt loads into DuckDB by INSERT statements by default; parquet takes a seventh of the time, a tenth of the memory.
    """
    return {"loader_file_format": "parquet"} if target_type == DUCKDB else {}


def loads_once(target_type: str) -> bool:
    """Whether the rows of a file are in their table, or the staging table, just once when they are loaded.

    Not where the warehouse is across a network: a load that is tried again, as its commit was not heard of, would have
    its rows there twice.
    """
    return target_type == DUCKDB


def can_append(target_type: str, *, into_empty: bool) -> bool:
    """Whether a load may append its rows instead of merging them, if it holds none twice.

    Into a table that is empty the outcome is the same, without a staging table, in less time and memory.

    Args:
        target_type: The destination's.
        into_empty: Whether the table is empty, new, or dropped before the load.
    """
    return into_empty and loads_once(target_type)


def build_client(destination: Destination[Any, Any], working_dir: str) -> SqlJobClientBase:
    """A client for the questions below. `with client:` connects it, as often as needed.

    Raises:
        DestinationError: The destination does not speak SQL.
    """
    name = f"{SOURCE_NAME}_probe"
    probe = dlt.pipeline(name, destination=destination, dataset_name=DATASET, pipelines_dir=working_dir)
    client = probe.destination_client()
    if not isinstance(client, SqlJobClientBase):
        raise DestinationError(f"destination_type: {type(client).__name__} does not speak SQL.")
    return client


def rows_loaded(pipeline: dlt.Pipeline, resource: Resource) -> int:
    """Rows that the last run of the pipeline brought to the table; 0 when there was nothing new."""
    trace = pipeline.last_trace
    counts = trace.last_normalize_info.row_counts if trace and trace.last_normalize_info else {}
    return counts.get(resource.name, 0)


def last_load_id(pipeline: dlt.Pipeline) -> str:
    """The load that the last run made, or the present if it had nothing to load. Ids are epoch seconds."""
    trace = pipeline.last_trace
    loads = trace.last_load_info.loads_ids if trace and trace.last_load_info else []
    return min(loads) if loads else str(time.time())
