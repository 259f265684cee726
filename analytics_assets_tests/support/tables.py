"""Tables in DuckDB, Postgres and SQLite, and what they should hold of rows of the API."""

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import psycopg2
import psycopg2.extras
import pytest

from analytics_assets.api.values.columns import column_name
from analytics_assets.api.values.timestamps import parse_timestamp
from analytics_assets_tests.support.eight import BY_NAME
from analytics_assets_tests.support.project import Project

Cells = dict[str, Any]


@dataclass(frozen=True)
class Tables:
    """The tables of a destination, as its own driver reads and writes them."""

    kind: str
    connect: Callable[[], Any]

    def execute(self, sql: str) -> list[tuple[Any, ...]]:
        with closing(self.connect()) as connection:
            cursor = connection.cursor()
            cursor.execute(sql)
            # DuckDB's cursor describes a statement without rows, too.
            rows = cursor.fetchall() if cursor.description and sql.startswith("SELECT") else []
            connection.commit()
            return [tuple(row) for row in rows]

    def name(self, table: str) -> str:
        return table if self.kind == "sqlite" else f"analytics.{table}"

    def cells(self, resource: str) -> dict[Any, Cells]:
        """The declared columns of a table, by id: JSON parsed and written again, instants in UTC."""
        columns = {column_name(column.name): column.type for column in BY_NAME[resource].table_columns}
        rows = self.execute(f"SELECT {', '.join(columns)} FROM {self.name(resource)}")
        found = [
            {name: normal(value, type_) for (name, type_), value in zip(columns.items(), row, strict=True)}
            for row in rows
        ]
        return {cells["id"]: cells for cells in found}


def normal(value: Any, type_: str) -> Any:
    if value is None:
        return None
    match type_:
        case "json":
            assert isinstance(value, str)
            return json.dumps(json.loads(value), sort_keys=True)
        case "timestamp":
            return parse_timestamp(value)
        case "bool":
            assert value in {0, 1}
            return bool(value)
    return value


def open_tables(
    kind: str, request: pytest.FixtureRequest, project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Tables:
    """A destination of a kind, to which the configuration points."""
    if kind == "duckdb":

        def connect() -> Any:
            connection = duckdb.connect(str(project.database))
            connection.execute("SET TimeZone = 'UTC'")
            return connection

    elif kind == "postgres":
        url = request.getfixturevalue("postgres")
        monkeypatch.setenv("DESTINATION_TYPE", "postgres")
        monkeypatch.setenv("DESTINATION__POSTGRES__CREDENTIALS", url)

        def connect() -> Any:
            connection = psycopg2.connect(url)
            psycopg2.extras.register_default_jsonb(connection, loads=str)
            return connection

    else:
        monkeypatch.setenv("DESTINATION_TYPE", "sqlalchemy")
        monkeypatch.setenv("DESTINATION__SQLALCHEMY__CREDENTIALS", f"sqlite:///{tmp_path}/warehouse.db")

        def connect() -> Any:
            # dlt gives each of its schemas a file.
            return sqlite3.connect(tmp_path / "warehouse__analytics.db")

    return Tables(kind, connect)


def expected(resource: str, rows: list[Cells]) -> dict[Any, Cells]:
    """What a table should hold of these rows of the API."""
    columns = BY_NAME[resource].table_columns
    return {
        row["id"]: {
            column_name(column.name): normal(
                json.dumps(row[column.name])
                if column.type == "json" and row.get(column.name) is not None
                else row.get(column.name),
                column.type,
            )
            for column in columns
        }
        for row in rows
    }
