"""Tables in each kind of warehouse, and what they should hold of rows of the API."""

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any
from uuid import uuid4

import duckdb
import psycopg2
import psycopg2.extras
import pymysql
import pytest
from sqlalchemy import make_url

from analytics_assets.api.values.columns import column_name
from analytics_assets.api.values.timestamps import parse_timestamp
from analytics_assets_tests.support.eight import BY_NAME
from analytics_assets_tests.support.lake import Lake
from analytics_assets_tests.support.needs import absent
from analytics_assets_tests.support.project import Project

Cells = dict[str, Any]

LAKES = ("delta", "iceberg", "delta on s3", "iceberg on s3")
"""Kinds whose tables are files."""


@dataclass(frozen=True)
class Tables:
    """The tables of a destination, as its own driver reads and writes them."""

    kind: str
    connect: Callable[[], Any]
    lake: Lake | None = None

    def execute(self, sql: str) -> list[tuple[Any, ...]]:
        with closing(self.connect()) as connection:
            cursor = connection.cursor()
            cursor.execute(sql)
            # DuckDB's cursor describes a statement without rows, too.
            rows = cursor.fetchall() if cursor.description and sql.startswith("SELECT") else []
            connection.commit()
            return [tuple(row) for row in rows]

    def name(self, table: str) -> str:
        if self.kind in {"sqlite", *LAKES}:
            return table
        return f"lake.analytics.{table}" if self.kind == "ducklake" else f"analytics.{table}"

    def cells(self, resource: str) -> dict[Any, Cells]:
        """The declared columns of a table, by id: JSON parsed and written again, instants in UTC."""
        columns = {column_name(column.name): column.type for column in BY_NAME[resource].table_columns}
        rows = self.execute(f"SELECT {', '.join(columns)} FROM {self.name(resource)}")
        found = [
            {name: normal(value, type_) for (name, type_), value in zip(columns.items(), row, strict=True)}
            for row in rows
        ]
        return {cells["id"]: cells for cells in found}

    def forget_loads(self, resource: str) -> None:
        """Deletes what dlt has recorded of the loads of a resource."""
        if self.lake:
            self.lake.remove(f"_dlt_loads/analytics_{resource}__*")
        else:
            self.execute(f"DELETE FROM {self.name('_dlt_loads')} WHERE schema_name = 'analytics_{resource}'")

    def new_field(self, resource: str) -> dict[Any, str]:
        """The values of `brandNew`, which nobody has declared, by id."""
        query = f"SELECT id, brand_new FROM {self.name(resource)} WHERE brand_new IS NOT NULL"
        return {key: normal(value, "json") for key, value in self.execute(query)}


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
    if kind in LAKES:
        table_format = kind.split(maxsplit=1)[0]
        server = request.getfixturevalue("s3_server") if kind.endswith("on s3") else None
        lake = Lake(table_format, f"s3://lake-{uuid4().hex}" if server else str(tmp_path / "lake"), server)
        lake.create()
        for name, value in lake.environment.items():
            monkeypatch.setenv(name, value)
        return Tables(kind, lambda: lake.connect(list(BY_NAME)), lake)
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

    elif kind == "ducklake":
        install_ducklake(tmp_path / "home")
        monkeypatch.setenv("HOME", str(tmp_path / "home"))
        catalog = request.getfixturevalue("postgres")
        monkeypatch.setenv("DESTINATION_TYPE", "ducklake")
        monkeypatch.setenv("DESTINATION__DUCKLAKE__CREDENTIALS__CATALOG", catalog)
        # By default dlt makes it of other names.
        monkeypatch.setenv("DESTINATION__DUCKLAKE__CREDENTIALS__METADATA_SCHEMA", "lake")
        monkeypatch.setenv("DESTINATION__DUCKLAKE__CREDENTIALS__STORAGE", f"file://{tmp_path}/lake")
        trust_extensions(monkeypatch)

        def connect() -> Any:
            connection = duckdb.connect()
            connection.execute(f"ATTACH 'ducklake:postgres:{catalog}' AS lake (METADATA_SCHEMA 'lake')")
            connection.execute("SET TimeZone = 'UTC'")
            return connection

    elif kind == "mariadb":
        where = make_url(request.getfixturevalue("mariadb_server"))
        monkeypatch.setenv("DESTINATION_TYPE", "sqlalchemy")
        monkeypatch.setenv("DESTINATION__SQLALCHEMY__CREDENTIALS", where.render_as_string(hide_password=False))

        def connect() -> Any:
            user, password = where.username, where.password or ""
            return pymysql.connect(host=where.host, port=where.port or 0, user=user, password=password)

        with closing(connect()) as connection:
            for name in ("analytics", "analytics_staging", "reports"):
                connection.cursor().execute(f"DROP DATABASE IF EXISTS {name}")

    else:
        monkeypatch.setenv("DESTINATION_TYPE", "sqlalchemy")
        monkeypatch.setenv("DESTINATION__SQLALCHEMY__CREDENTIALS", f"sqlite:///{tmp_path}/warehouse.db")

        def connect() -> Any:
            # dlt gives each of its schemas a file.
            return sqlite3.connect(tmp_path / "warehouse__analytics.db")

    return Tables(kind, connect)


def install_ducklake(home: Path) -> None:
    """Puts the extensions that DuckLake needs where DuckDB looks for them, below a home directory."""
    [(platform,)] = duckdb.sql("PRAGMA platform").fetchall()
    directory = home / f".duckdb/extensions/v{duckdb.__version__}/{platform}"
    directory.mkdir(parents=True)
    for name in ("ducklake", "postgres_scanner"):
        file = files(f"duckdb_extension_{name}") / f"extensions/v{duckdb.__version__}/{name}.duckdb_extension"
        if not file.is_file():
            absent(f"There is no DuckDB extension {name} of the version {duckdb.__version__}.")
        (directory / file.name).symlink_to(str(file))


def trust_extensions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets DuckDB load extensions without a look at their signatures, which takes 0.26 s of the CPU each time it opens.

    dlt opens one for each connection to DuckLake, dozens in a sync, and has no setting for it.
    """
    usual = duckdb.connect

    def connect(*args: Any, **options: Any) -> duckdb.DuckDBPyConnection:
        options["config"] = {**options.get("config", {}), "allow_unsigned_extensions": "true"}
        return usual(*args, **options)

    monkeypatch.setattr(duckdb, "connect", connect)


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
