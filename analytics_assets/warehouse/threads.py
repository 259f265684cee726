"""Keeps threads of one process apart that load the same table: DuckDB's lock of a file lets all of a process in."""

import threading
from dataclasses import dataclass, field

from analytics_assets.api.catalog import Resource
from analytics_assets.warehouse.session import Session


@dataclass(slots=True)
class Loading:
    """What threads of this process do with a table."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    """Held by the thread that loads it."""
    loads: int = 0
    """How often it was loaded."""


_tables: dict[tuple[str, str, str], Loading] = {}


def loading_in_process(session: Session, resource: Resource) -> Loading:
    """What the threads of this process share about the table of a resource in the session's DuckDB file."""
    path = session.target.duckdb_path
    key = str(path and path.resolve()), session.connector.dataset, resource.name
    return _tables.setdefault(key, Loading())
