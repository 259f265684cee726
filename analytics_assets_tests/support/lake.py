"""Delta and Iceberg tables, read by their own libraries, and the S3 server that has some of them."""

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import duckdb
import fsspec
import pyarrow as pa
from deltalake import DeltaTable
from pyiceberg.table import StaticTable

from analytics_assets_tests.support.postgres import free_port

KEY, SECRET, REGION = "key", "secret-canary", "eu-central-1"


def serve_s3() -> Iterator[str]:
    """Runs an S3 server, and yields its URL. It has a process of its own: Delta asks it while it holds the GIL."""
    port = free_port()
    command = [sys.executable, "-m", "moto.server", "-p", str(port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            while process.poll() is None:
                try:
                    socket.create_connection(("127.0.0.1", port)).close()
                except ConnectionRefusedError:
                    time.sleep(0.05)
                else:
                    break
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()


@dataclass(frozen=True)
class Lake:
    """A directory or a bucket with tables."""

    table_format: str
    url: str
    s3: str | None = None
    """URL of the S3 server."""

    @property
    def environment(self) -> dict[str, str]:
        """The configuration that points to it."""
        found = {"DESTINATION_TYPE": "filesystem", "TABLE_FORMAT": self.table_format}
        filesystem = {"BUCKET_URL": self.url}
        if self.s3:
            filesystem |= {
                "CREDENTIALS__AWS_ACCESS_KEY_ID": KEY,
                "CREDENTIALS__AWS_SECRET_ACCESS_KEY": SECRET,
                "CREDENTIALS__REGION_NAME": REGION,
                "CREDENTIALS__ENDPOINT_URL": self.s3,
            }
        return found | {f"DESTINATION__FILESYSTEM__{key}": value for key, value in filesystem.items()}

    @property
    def _files(self) -> Any:
        if self.s3 is None:
            return fsspec.filesystem("file")
        access = {"key": KEY, "secret": SECRET, "endpoint_url": self.s3, "client_kwargs": {"region_name": REGION}}
        return fsspec.filesystem("s3", use_listings_cache=False, **access)

    def create(self) -> None:
        """Makes the directory or bucket."""
        self._files.mkdir(self.url)

    def remove(self, files: str) -> None:
        """Removes files of the dataset, given by a pattern."""
        self._files.rm(self._files.glob(f"{self.url}/analytics/{files}"))

    def connect(self, names: list[str], dataset: str = "analytics") -> duckdb.DuckDBPyConnection:
        """A DuckDB that has those of the tables of a dataset that exist."""
        connection = duckdb.connect()
        connection.execute("SET TimeZone = 'UTC'")
        for name in names:
            rows = self._read(f"{self.url}/{dataset}/{name}")
            if rows is not None:
                connection.register("rows", rows)
                connection.execute(f"CREATE TABLE {name} AS SELECT * FROM rows")
        return connection

    def _read(self, location: str) -> pa.Table | None:
        if self.table_format == "delta":
            options = {"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_REGION": REGION}
            options |= {"AWS_ENDPOINT_URL": self.s3, "AWS_ALLOW_HTTP": "true"} if self.s3 else {}
            exists = DeltaTable.is_deltatable(location, options)
            return DeltaTable(location, storage_options=options).to_pyarrow_table() if exists else None
        metadata = sorted(self._files.glob(f"{location}/metadata/*.metadata.json"))
        if not metadata:
            return None
        s3 = {"s3.access-key-id": KEY, "s3.secret-access-key": SECRET, "s3.region": REGION}
        newest = f"s3://{metadata[-1]}" if self.s3 else metadata[-1]
        return StaticTable.from_metadata(newest, s3 | ({"s3.endpoint": self.s3} if self.s3 else {})).scan().to_arrow()
