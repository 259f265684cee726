"""The floor: the least that loading the same rows costs, without validation, retries, a cursor or a second sync.

    python -m benchmarks.floor http://127.0.0.1:8000 file.duckdb

Pages are fetched concurrently, parsed by Arrow from the received bytes, and inserted into tables with a primary key.
"""

import argparse
import asyncio
import io
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import aiohttp
import duckdb
import pyarrow as pa
import pyarrow.json

from analytics_assets.api.catalog import Resource
from analytics_assets.api.connector import SHIPPED
from benchmarks.loop import run
from benchmarks.work import print_work

SCHEMA = SHIPPED.dataset
ENDPOINTS = SHIPPED.dialects[0].endpoints
BATCH = 8 * 1024 * 1024
"""Bytes of pages that are parsed and inserted at once."""
SQL_TYPES = {
    "bigint": "BIGINT",
    "bool": "BOOLEAN",
    "json": "JSON",
    "text": "VARCHAR",
    "timestamp": "TIMESTAMPTZ",
    "date": "DATE",
    "decimal": "DECIMAL(38, 9)",
    "double": "DOUBLE",
}
# Arrow infers the type of a nested value. The database makes a date of a text.
ARROW_TYPES = {
    "bigint": pa.int64(),
    "bool": pa.bool_(),
    "text": pa.string(),
    "timestamp": pa.timestamp("us", "UTC"),
    "date": pa.string(),
    "decimal": pa.float64(),
    "double": pa.float64(),
}


class Listing:
    """The pages of a resource: those still to be requested, and those received and not loaded yet."""

    def __init__(self, resource: Resource) -> None:
        self.resource = resource
        self.endpoint = ENDPOINTS[resource.name]
        self.ended = False
        self.bodies: list[bytes] = []
        self.bytes = 0

    def offsets(self, page_size: int) -> Iterator[int]:
        """The offsets to request. Only an empty page shows the end, so a few requests beyond it are in vain."""
        offset = 0
        while not self.ended:
            yield offset
            self.ended = self.ended or not self.endpoint.pagination
            offset += page_size

    def add(self, body: bytes) -> None:
        """Keeps a page. An empty page ends the listing."""
        if body.endswith(b"[]}"):
            self.ended = True
            return
        self.bodies.append(body)
        self.bytes += len(body)

    def take(self) -> list[bytes]:
        """Returns the pages received since the last call, and forgets them."""
        bodies, self.bodies, self.bytes = self.bodies, [], 0
        return bodies


def create_table(connection: duckdb.DuckDBPyConnection, resource: Resource) -> None:
    """Creates an empty table with a primary key."""
    columns = ", ".join(f'"{column.name}" {SQL_TYPES[column.type]}' for column in resource.columns)
    connection.execute(f"CREATE TABLE {SCHEMA}.{resource.name} ({columns}, PRIMARY KEY ({resource.key_label}))")


def load(connection: duckdb.DuckDBPyConnection, resource: Resource, bodies: list[bytes]) -> None:
    """Parses pages, each of which is one line of JSON, and inserts their rows."""
    if not bodies:
        return
    declared = {column.name: ARROW_TYPES[column.type] for column in resource.columns if column.type in ARROW_TYPES}
    row = pa.struct(list(declared.items()))
    selector = ENDPOINTS[resource.name].selector
    lines = b"\n".join(bodies)
    pages = pyarrow.json.read_json(
        io.BytesIO(lines),
        pyarrow.json.ReadOptions(block_size=max(len(body) for body in bodies) + BATCH // 8),
        pyarrow.json.ParseOptions(explicit_schema=pa.schema({selector: pa.list_(row)})),
    )
    rows = pa.chunked_array([chunk.flatten() for chunk in pages[selector].chunks])
    connection.register("batch", pa.Table.from_struct_array(rows))
    columns = ", ".join(
        f'to_json("{column.name}")' if column.type == "json" else f'"{column.name}"' for column in resource.columns
    )
    connection.execute(f"INSERT INTO {SCHEMA}.{resource.name} SELECT {columns} FROM batch")
    connection.unregister("batch")


async def fetch(
    arguments: argparse.Namespace, connection: duckdb.DuckDBPyConnection, loader: ThreadPoolExecutor
) -> None:
    """Fetches all pages, `in_flight` at a time over all listings, and loads them at the same time."""
    loop = asyncio.get_running_loop()
    listings = [Listing(resource) for resource in SHIPPED.resources]
    requests = ((listing, offset) for listing in listings for offset in listing.offsets(arguments.page_size))

    async def work(session: aiohttp.ClientSession) -> None:
        for listing, offset in requests:
            query = {"after": offset, "limit": arguments.page_size} if listing.endpoint.pagination else {}
            async with session.get(listing.endpoint.path, params=query) as response:
                listing.add(await response.read())
            if listing.bytes > BATCH:
                await loop.run_in_executor(loader, load, connection, listing.resource, listing.take())

    connector = aiohttp.TCPConnector(limit=arguments.in_flight)
    headers = {"Authorization": "Bearer any"}
    async with aiohttp.ClientSession(arguments.url, connector=connector, headers=headers) as session:
        await asyncio.gather(*(work(session) for _ in range(arguments.in_flight)))
    for listing in listings:
        load(connection, listing.resource, listing.take())


def main() -> None:
    """Loads the API into a new DuckDB file."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.floor")
    parser.add_argument("url")
    parser.add_argument("database")
    parser.add_argument("--page-size", type=int, default=20)
    parser.add_argument("--in-flight", type=int, default=8)
    arguments = parser.parse_args()
    started = time.perf_counter()
    with duckdb.connect(arguments.database) as connection, ThreadPoolExecutor(1) as loader:
        connection.execute(f"CREATE SCHEMA {SCHEMA}")
        for resource in SHIPPED.resources:
            create_table(connection, resource)
        run(fetch(arguments, connection, loader))
    print_work(started)


if __name__ == "__main__":
    main()
