"""How a DuckDB file is opened for a sync."""

from typing import Any

DUCKDB_MEMORY = "512MB"
"""What DuckDB keeps in memory at most, unless `duckdb_memory` says otherwise; beyond it, it writes to disk.

It works on 2,048 rows at a time, and needs all of them in memory, whatever their size. Measured, with row groups of
8 MB: 4,000 rows of 20 KB load and merge with 96 MB, one of 20 MB with 160, 200 of 1 MB with 320 and can be read with
400.
"""

DUCKDB_FLUSH = "1MB"
"""Memory that DuckDB has freed is given back to the system beyond this. It would keep 512 MB, up to 300 MB more than it
needs."""

DUCKDB_CHECKPOINT = "16KB"
"""A transaction that DuckDB takes to be larger goes into the file at its commit, and not into the log before that.

dlt has it at 1 GB. For the log, rows are packed 2,048 at a time, 200 MB in 400 MB beside the limit. DuckDB counts some
bytes for a text, whatever its length, so that this is about a hundred rows.
"""

DUCKDB_THREADS = 2
"""Each thread needs memory of its own, and a sync waits for Python more than for DuckDB."""

DUCKDB_STORAGE = "v1.4.0"
"""New files are written for DuckDB 1.4 and later; DuckDB 2.0 would make files that no version before it reads.

A file that exists keeps the storage version it has, older or newer, with this option and without: DuckDB neither
upgrades nor refuses it.
"""


def duckdb_options(memory_limit: str | None = None) -> dict[str, Any]:
    """How a DuckDB file is opened for a sync."""
    return {
        # `DuckDBResource` has a name of its own unless there is one, and all connections of a process have to be alike.
        "custom_user_agent": "analytics_assets",
        "memory_limit": memory_limit or DUCKDB_MEMORY,
        "threads": DUCKDB_THREADS,
        "allocator_flush_threshold": DUCKDB_FLUSH,
        "allocator_bulk_deallocation_flush_threshold": DUCKDB_FLUSH,
        # By its own default it writes a transaction that it takes for small into the log as well.
        "auto_checkpoint_skip_wal_threshold": 0,
        "storage_compatibility_version": DUCKDB_STORAGE,
    }
