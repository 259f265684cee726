"""The options with which a sync opens a DuckDB file."""

from typing import Any

DUCKDB_MEMORY = "512MB"
"""Most memory that DuckDB uses, unless the setting `duckdb_memory` says otherwise; beyond it DuckDB writes to disk.

DuckDB works on 2,048 rows at a time and needs all of them in memory, whatever their size. Measured with row groups of
8 MB: 4,000 rows of 20 KB need 96 MB to load and merge, one row of 20 MB needs 160 MB, and 200 rows of 1 MB need 320 MB
to load and 400 MB to read.
"""

DUCKDB_FLUSH = "1MB"
"""DuckDB gives freed memory beyond this back to the system. By default it would keep 512 MB, up to 300 MB more than it
needs."""

DUCKDB_CHECKPOINT = "16KB"
"""DuckDB writes a transaction that it estimates to be larger than this straight into the file, not into its log first.

dlt sets 1 GB. For the log DuckDB packs 2,048 rows at a time, which took 400 MB on top of the memory limit for 200 MB of
rows. DuckDB estimates a text at a few bytes, whatever its length, so 16 KB are about a hundred rows.
"""

DUCKDB_THREADS = 2
"""Each thread needs memory of its own, and a sync waits for Python more than for DuckDB."""

DUCKDB_STORAGE = "v1.4.0"
"""DuckDB 1.4 and later can read new files. Without this option DuckDB 2.0 would create files that no older one reads.

An existing file keeps its storage version, with this option or without: DuckDB neither upgrades nor refuses it.
"""


def duckdb_options(memory_limit: str | None = None) -> dict[str, Any]:
    """DuckDB's `config` for a sync. `memory_limit` is a size as DuckDB spells it; `DUCKDB_MEMORY` by default."""
    return {
        # All connections of a process need the same options, and `DuckDBResource` would set a user agent of its own.
        "custom_user_agent": "analytics_assets",
        "memory_limit": memory_limit or DUCKDB_MEMORY,
        "threads": DUCKDB_THREADS,
        # Each Parquet file is read once.
        "enable_external_file_cache": False,
        "allocator_flush_threshold": DUCKDB_FLUSH,
        "allocator_bulk_deallocation_flush_threshold": DUCKDB_FLUSH,
        # By default DuckDB still writes a transaction into the log that it estimates to be small.
        "auto_checkpoint_skip_wal_threshold": 0,
        "storage_compatibility_version": DUCKDB_STORAGE,
    }
