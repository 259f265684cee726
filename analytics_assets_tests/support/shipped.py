"""The connector that the project ships, whatever its catalog lists, and rows of each of its resources."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb

from analytics_assets.api.connector import SHIPPED
from analytics_assets.api.values.columns import column_name
from analytics_assets.defs.names import name_all
from analytics_assets.defs.reports.assets import REPORTS
from analytics_assets.demo.exchange import Row
from analytics_assets.demo.made_up import make_rows
from analytics_assets_tests.support.project import Project

NAMES = name_all()
"""The shipped connector and its names, whatever is configured."""

RESOURCES = [resource.name for resource in SHIPPED.resources]
DIALECTS = list(SHIPPED.dialects_by_name)


def as_shipped(project: Project) -> Project:
    """The project with what it ships, in place of the tests' own."""
    return replace(project, names=NAMES, reports=REPORTS)


def shipped_rows() -> dict[str, list[Row]]:
    """Dozens of rows of each resource, and hundreds of events."""
    return {resource.name: make_rows(resource, datetime(2026, 1, 12, tzinfo=UTC)) for resource in SHIPPED.resources}


def keys(resource: str, rows: list[Row]) -> list[tuple[Any, ...]]:
    """The keys of rows, in their order."""
    return sorted(tuple(row[name] for name in SHIPPED.by_name[resource].key_names) for row in rows)


def loaded_keys(database: Path, resource: str) -> list[tuple[Any, ...]]:
    """The keys in a table of a DuckDB file, in their order."""
    columns = ", ".join(map(column_name, SHIPPED.by_name[resource].key_names))
    with duckdb.connect(str(database), read_only=True) as connection:
        table = NAMES.table(SHIPPED.by_name[resource])
        return connection.execute(f"SELECT {columns} FROM {table} ORDER BY ALL").fetchall()
