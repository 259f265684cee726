"""Syncs by PyAirbyte, with a declarative manifest, into its DuckDB cache. It runs in an environment of its own.

Locked: uv pip compile --no-annotate --no-header, of airbyte==0.71.3.
"""

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

# No registry is asked, nothing is sent, and PyAirbyte's files go beside the database. It is read by the import.
os.environ |= {
    "AIRBYTE_OFFLINE_MODE": "1",
    "DO_NOT_TRACK": "1",
    "AIRBYTE_PROJECT_DIR": str(Path(sys.argv[3]).parent),
    "AIRBYTE_CACHE_ROOT": str(Path(sys.argv[3]).parent),
}

import airbyte
from airbyte.caches import DuckDBCache

MOMENT = "%Y-%m-%dT%H:%M:%SZ"


def manifest(catalog: list[dict[str, Any]], url: str, page_size: int, in_flight: int) -> dict[str, Any]:
    """The source as Airbyte's connector builder writes it, as a dictionary instead of YAML."""
    return {
        "version": "7.0.0",
        "type": "DeclarativeSource",
        "check": {"type": "CheckStream", "stream_names": [catalog[0]["name"]]},
        "concurrency_level": {"type": "ConcurrencyLevel", "default_concurrency": in_flight},
        "streams": [stream(declared, url, page_size) for declared in catalog],
        "spec": {"type": "Spec", "connection_specification": {"type": "object", "properties": {}}},
    }


def stream(declared: dict[str, Any], url: str, page_size: int) -> dict[str, Any]:
    """One resource."""
    retriever: dict[str, Any] = {
        "type": "SimpleRetriever",
        "requester": {
            "type": "HttpRequester",
            "url_base": url,
            "path": declared["path"],
            "authenticator": {"type": "BearerAuthenticator", "api_token": "any"},
        },
        "record_selector": {
            "type": "RecordSelector",
            "extractor": {"type": "DpathExtractor", "field_path": [declared["selector"]]},
        },
    }
    if declared["paginated"]:
        option = {"type": "RequestOption", "inject_into": "request_parameter"}
        retriever["paginator"] = {
            "type": "DefaultPaginator",
            "pagination_strategy": {"type": "OffsetIncrement", "page_size": page_size},
            "page_token_option": option | {"field_name": "after"},
            "page_size_option": option | {"field_name": "limit"},
        }
    made = {
        "type": "DeclarativeStream",
        "name": declared["name"],
        "primary_key": [declared["key"]],
        "retriever": retriever,
        "schema_loader": {"type": "InlineSchemaLoader", "schema": declared["schema"]},
    }
    if declared["cursor"]:
        made["incremental_sync"] = {
            "type": "DatetimeBasedCursor",
            "cursor_field": declared["cursor"],
            "datetime_format": MOMENT,
            "start_datetime": {"type": "MinMaxDatetime", "datetime": "2024-01-01T00:00:00Z", "datetime_format": MOMENT},
            # For an API that cannot filter. PyAirbyte 0.71.3 makes the source without its state, so nothing is dropped.
            "is_client_side_incremental": True,
        }
    return made


def main(catalog: str, url: str, database: str, page_size: str, in_flight: str) -> None:
    """Loads the API into the cache: everything in a new file, new rows in an existing one."""
    declared = json.loads(Path(catalog).read_text("utf-8"))
    started = time.perf_counter()
    made = manifest(declared, url, int(page_size), int(in_flight))
    source = airbyte.get_source("source-benchmark", config={}, source_manifest=made, streams="*")
    source.read(DuckDBCache(db_path=Path(database), schema_name="analytics"))
    print(f"work seconds: {time.perf_counter() - started:.3f}", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
