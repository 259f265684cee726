"""The dlt pipeline of a resource, and how it loads into each destination."""

import time
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, cast

import dlt
from dlt.common.destination.reference import Destination, DestinationReference
from dlt.destinations.job_client_impl import SqlJobClientBase

from analytics_assets.api.catalog import Resource
from analytics_assets.api.connector import Connector
from analytics_assets.warehouse.client import Client, SqlClient
from analytics_assets.warehouse.credentials import secrets_of
from analytics_assets.warehouse.errors import DestinationError
from analytics_assets.warehouse.sql import POSTGRES
from analytics_assets.warehouse.target import DUCKDB, FILESYSTEM

if TYPE_CHECKING:
    from dlt.destinations.impl.filesystem.filesystem import FilesystemClient

OWN_DEFAULTS = {"load.truncate_staging_dataset": True, "extract.futures_poll_interval": 0.001}
"""Values of dlt's configuration that are better here than dlt's own defaults.

dlt merges rows through staging tables: rows left there would double the size of the warehouse. And dlt sleeps that many
seconds at the end of each of the sixteen extracts of a sync; its default is ten times as long.
"""


TAKE_JSON_TEXT = frozenset(
    {
        (DUCKDB, "duckdb"),
        ("ducklake", "duckdb"),
        ("filesystem", "duckdb"),
        (POSTGRES, "postgres"),
        ("sqlalchemy", "sqlite"),
        ("sqlalchemy", "mysql"),
    }
)
"""Destinations, and sqlglot's names of what they speak, for which `takes_json_text` was tried."""

INSTALL_ADBC = "install its driver: uv pip install adbc-driver-postgresql"


def build_pipeline(
    connector: Connector, resource: Resource, destination: Destination[Any, Any], working_dir: str
) -> dlt.Pipeline:
    """A new pipeline for one run. When it runs, dlt restores its cursor and schema from the destination."""
    pipeline = dlt.pipeline(
        connector.pipeline_name(resource),
        destination=destination,
        dataset_name=connector.dataset,
        pipelines_dir=working_dir,
    )
    # Otherwise dlt catches Ctrl-C and Dagster's termination, and goes on or fails this resource alone.
    pipeline.runtime_config.intercept_signals = False
    return pipeline


def own_defaults(pipeline: dlt.Pipeline) -> AbstractContextManager[None]:
    """Sets, for this pipeline alone and while it runs, what is not configured: other pipelines are the host's."""
    name = pipeline.pipeline_name
    return dlt.config.values(
        {
            f"{name}.{key}": value
            for key, value in OWN_DEFAULTS.items()
            if dlt.config.get(key) is None and dlt.config.get(f"{name}.{key}") is None
        }
    )


def file_format(destination: Destination[Any, Any]) -> str | None:
    """The format of the files that are loaded; `None` leaves it to dlt.

    It is what `loader_file_format` of the section `normalize` says. Without it, Parquet where that is measured: dlt's
    INSERT statements into DuckDB take seven times as long and ten times the memory, and its CSV files into Postgres
    twice as long.

    Raises:
        DestinationError: The destination does not load files of the configured format.
    """
    supported = _supported_formats(destination)
    configured: str | None = dlt.config.get("normalize.loader_file_format", str)
    if configured is None:
        return "parquet" if "parquet" in supported and _short_type(destination) in {DUCKDB, POSTGRES} else None
    # Files that are staged elsewhere have formats of their own.
    if configured not in supported and not dlt.config.get("staging_type"):
        raise DestinationError(
            f"normalize.loader_file_format = {configured!r}: the destination {_short_type(destination)} loads files of"
            f" {', '.join(supported)}."
            + (
                f" For parquet {INSTALL_ADBC}."
                if configured == "parquet" and _short_type(destination) == POSTGRES
                else ""
            )
        )
    return configured


def _supported_formats(destination: Destination[Any, Any]) -> list[str]:
    """The formats that the destination loads here: Postgres loads Parquet only with an ADBC driver."""
    capabilities = destination.capabilities()
    formats = list(capabilities.supported_loader_file_formats or ())
    if select := capabilities.loader_file_format_selector:
        _, selected = select(capabilities.preferred_loader_file_format, formats, table_schema={"name": "any"})
        formats = list(selected)
    return [each for each in formats if each != "model"]


def takes_json_text(destination: Destination[Any, Any]) -> bool:
    """Whether JSON that is text in an Arrow table is JSON in the destination. Elsewhere it would be a text in JSON."""
    kind = _short_type(destination), destination.capabilities().sqlglot_dialect
    return kind in TAKE_JSON_TEXT and file_format(destination) != "jsonl"


def staging_secrets() -> list[str]:
    """The secrets of the destination in which files are staged, where one is configured."""
    type_ = dlt.config.get("staging_type", str)
    if not type_:
        return []
    staging = cast("Destination[Any, Any]", DestinationReference.from_reference(type_))
    return secrets_of(staging.configuration(staging.spec(), accept_partial=True))


def _short_type(destination: Destination[Any, Any]) -> str:
    return destination.destination_type.rpartition(".")[2]


def loads_once(destination: Destination[Any, Any], files: int) -> bool:
    """Whether each of so many files of a load has its rows just once in the table or the staging table.

    Across a network it may not: if the confirmation of a commit is lost, dlt loads the file again, and its rows are
    twice in the staging table. Into Postgres a single Parquet file is merged without one. Delta and Iceberg tables have
    none: files are merged from this machine's disk.
    """
    kind = _short_type(destination)
    return kind in {DUCKDB, FILESYSTEM} or (kind == POSTGRES and files == 1 and file_format(destination) == "parquet")


def build_client(connector: Connector, destination: Destination[Any, Any], working_dir: str) -> Client:
    """A client that asks the destination. It connects in `with client:`, as often as needed.

    Raises:
        DestinationError: The destination neither speaks SQL nor has tables that Arrow reads.
    """
    probe = dlt.pipeline(
        f"{connector.name}_probe", destination=destination, dataset_name=connector.dataset, pipelines_dir=working_dir
    )
    client = probe.destination_client()
    if isinstance(client, SqlJobClientBase):
        return SqlClient(client)
    if table_format := client.capabilities.preferred_table_format:
        from analytics_assets.warehouse.tables_client import TablesClient  # noqa: PLC0415 - definitions need no Arrow

        return TablesClient(cast("FilesystemClient", client), table_format, working_dir)
    raise DestinationError(
        f"The destination does not speak SQL ({type(client).__name__}), in which its tables are measured. Set"
        " destination_type to another, for example duckdb or postgres."
    )


def connect_beside(client: Client) -> SqlClient:
    """A client of the same database with a connection of its own.

    Raises:
        DestinationError: The destination is no database.
    """
    if isinstance(client, SqlClient):
        return client.beside()
    raise DestinationError(f"{type(client).__name__} has no connection of its own")


def rows_loaded(pipeline: dlt.Pipeline, resource: Resource) -> int:
    """Number of rows that the last run of the pipeline appended or merged; 0 if there was nothing new."""
    trace = pipeline.last_trace
    counts = trace.last_normalize_info.row_counts if trace and trace.last_normalize_info else {}
    return counts.get(resource.name, 0)


def last_load_id(pipeline: dlt.Pipeline) -> str:
    """Id of the load that the last run made; if it loaded nothing, the present time as one. Ids are epoch seconds."""
    return min(load_ids(pipeline), default=str(time.time()))


def load_ids(pipeline: dlt.Pipeline) -> list[str]:
    """Ids of the loads that the last run made."""
    trace = pipeline.last_trace
    return list(trace.last_load_info.loads_ids) if trace and trace.last_load_info else []
