"""A loopback API whose answers are made beforehand, so that it is never the bottleneck. Prints its URL and serves.

python -m benchmarks.server --activities 100000 --others 500
"""

import argparse
import json
from datetime import datetime, timedelta, timezone
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from analytics_assets.api.catalog import RESOURCES, Column

FIRST = datetime(2024, 1, 1, tzinfo=timezone.utc)
SAMPLES: dict[str, Any] = {
    "bool": True,
    "json": {"message": {"code": "started", "params": {"attempt": 1, "user": "someone"}}},
}


def value(column: Column, number: int) -> Any:  # noqa: ANN401 - whatever JSON holds
    """What row `number` has in a column: ids count, times are a second apart, texts are of usual length."""
    match column.type:
        case "bigint":
            return number if column.name == "id" else number % 977
        case "timestamp":
            return (FIRST + timedelta(seconds=number)).strftime("%Y-%m-%dT%H:%M:%SZ")
        case "text":
            return f"{column.name} {number}"
        case _:
            return SAMPLES[column.type]


class Server(ThreadingHTTPServer):
    """Serves `counts[resource]` rows of each resource."""

    daemon_threads = True

    def __init__(self, counts: dict[str, int]) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.rows = {
            resource.path: [
                json.dumps({column.name: value(column, number) for column in resource.columns})
                for number in range(1, counts[resource.name] + 1)
            ]
            for resource in RESOURCES
        }
        self.keys = {resource.path: (resource.selector, resource.paged) for resource in RESOURCES}

        @cache
        def page(path: str, after: int, limit: int | None) -> bytes:
            rows = self.rows[path][after:] if limit is None else self.rows[path][after : after + limit]
            return f'{{"{self.keys[path][0]}": [{",".join(rows)}]}}'.encode()

        self.page = page


class Handler(BaseHTTPRequestHandler):
    """Answers without checking anything."""

    server: Server
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1

    def do_GET(self) -> None:
        """Sends a page."""
        url = urlsplit(self.path)
        query = {name: int(values[-1]) for name, values in parse_qs(url.query).items()}
        paged = self.server.keys[url.path][1]
        payload = self.server.page(url.path, query.get("after", 0), query.get("limit", 20) if paged else None)
        self.wfile.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(payload)
        )
        self.wfile.write(payload)
        self.wfile.flush()


def main() -> None:
    """Serves until it is killed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.server")
    parser.add_argument("--activities", type=int, default=100_000)
    parser.add_argument("--others", type=int, default=500, help="rows of each other resource")
    arguments = parser.parse_args()
    counts = {resource.name: arguments.others for resource in RESOURCES} | {"activities": arguments.activities}
    with Server(counts) as server:
        print(f"http://127.0.0.1:{server.server_address[1]}", flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main()
