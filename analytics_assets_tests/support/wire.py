"""Rows as they are on the wire, and the tables that they became, in any destination, to hold against the oracle."""

import json
import re
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

import dagster as dg
import duckdb
import psycopg2
import psycopg2.extras
import pytest
from dlt.common.normalizers.naming.snake_case import NamingConvention

from analytics_assets.demo.exchange import Request
from analytics_assets.demo.paging import requested_rows
from analytics_assets_tests.servers.fake_api import ENDPOINTS, TOKEN, Answer, FakeApi, serve
from analytics_assets_tests.support.eight import BY_NAME
from analytics_assets_tests.support.oracle import (
    RESCUED,
    Key,
    Refused,
    Row,
    canonical,
    expect,
    parse,
    read_key,
    value_of,
)
from analytics_assets_tests.support.project import Project, failure_message, materialized

Kind = Literal["duckdb", "postgres", "sqlite"]
Table = dict[Key, Row]

START = "1900-01-01T00:00:00Z"
"""Rows with a cursor before it are not read."""

OURS = {"deleted_at", "_dlt_id", "_dlt_load_id"}
LONG_RUN = re.compile(r"(.)\1{9,}")
NO_ROWS = b'{"data": [], "activities": []}'


def row(id_: Any, /, **fields: str) -> str:
    """A row of a raw id and raw values."""
    return "{" + ", ".join(f"{json.dumps(name)}: {value}" for name, value in {"id": id_, **fields}.items()) + "}"


def serve_rows(api: FakeApi, resource: str, rows: Sequence[str]) -> None:
    """Answers with these rows as they are spelled."""

    def answer(request: Request) -> Answer:
        return Answer(body=body_of(resource, rows[requested_rows(ENDPOINTS[resource].pagination, request.query)]))

    api.faults[resource][:] = [answer]


def serve_body(api: FakeApi, resource: str, answer: Answer) -> None:
    """Answers with this, and with no rows after it."""
    api.faults[resource][:] = [lambda request: Answer(body=NO_ROWS) if int(request.query.get("after", 0)) else answer]


def body_of(resource: str, rows: Sequence[str]) -> bytes:
    return f'{{"{ENDPOINTS[resource].selector}": [{", ".join(rows)}]}}'.encode("utf-8", "surrogatepass")


def declared(resource: str) -> dict[str, str]:
    """The types of the declared columns by field."""
    return {column.name: column.type for column in BY_NAME[resource].columns}


def column_name(field: str) -> str:
    return NamingConvention().normalize_identifier(field)


@dataclass(frozen=True)
class Warehouse:
    """Where the tables are; `where` is a URL of Postgres, or the path of a file."""

    kind: Kind
    where: str

    def configure(self, patch: pytest.MonkeyPatch) -> None:
        if self.kind == "sqlite":
            patch.setenv("DESTINATION_TYPE", "sqlalchemy")
            patch.setenv("DESTINATION__SQLALCHEMY__CREDENTIALS", f"sqlite:///{self.where}")
        else:
            patch.setenv("DESTINATION_TYPE", self.kind)
            patch.setenv(f"DESTINATION__{self.kind.upper()}__CREDENTIALS", self.where)

    def query(self, sql: str) -> list[Row]:
        """Rows by column; json is text, as it is stored. `analytics.` stands before the tables."""
        with closing(self._connect()) as connection:
            cursor = connection.cursor()
            cursor.execute(sql.replace("analytics.", "") if self.kind == "sqlite" else sql)
            names = [column[0] for column in cursor.description or ()]
            return [dict(zip(names, cells, strict=True)) for cells in cursor.fetchall()]

    def has(self, resource: str) -> bool:
        if self.kind == "sqlite":
            found = f"SELECT 1 FROM sqlite_master WHERE name = '{resource}'"
            return Path(self._file()).exists() and bool(self.query(found))
        found = "SELECT 1 FROM information_schema.tables WHERE table_schema = 'analytics' AND table_name = "
        return bool(self.query(f"{found}'{resource}'"))

    def columns(self, resource: str) -> dict[str, dict[str, Any]]:
        """The columns as dlt has stored them with the table."""
        query = f"SELECT schema FROM analytics._dlt_version WHERE schema_name = 'analytics_{resource}' ORDER BY version"
        columns: dict[str, dict[str, Any]] = json.loads(self.query(query)[-1]["schema"])["tables"][resource]["columns"]
        return {name: column for name, column in columns.items() if "data_type" in column}

    def undeclared(self, resource: str) -> dict[str, str]:
        """The columns by the fields that the catalog does not know."""
        found = {name: column["x-field"] for name, column in self.columns(resource).items() if "x-field" in column}
        assert len(set(found.values())) == len(found), f"a field has two columns: {found}"
        return {field: name for name, field in found.items() if field not in declared(resource)}

    def table(self, resource: str) -> Table:
        """The rows by key, as the oracle gives them."""
        hints = self.columns(resource)
        fields = {"_rescued_data": RESCUED, **{column_name(field): field for field in declared(resource)}}
        fields |= {name: field for field, name in self.undeclared(resource).items()}
        rows = self.query(f"SELECT * FROM analytics.{resource}")
        table = {}
        for cells in rows:
            found = {
                name: normalize(hints[name]["data_type"], cell) for name, cell in cells.items() if cell is not None
            }
            assert "deleted_at" not in found, f"marked as deleted: {found}"
            table[found["id"]] = {fields.get(name, name): cell for name, cell in found.items() if name not in OURS}
        assert len(table) == len(rows), f"{resource} has a key twice"
        return table

    def _file(self) -> str:
        # dlt has a file for each dataset.
        path = Path(self.where)
        return str(path.with_name(f"{path.stem}__analytics{path.suffix}")) if self.kind == "sqlite" else self.where

    def _connect(self) -> Any:
        if self.kind == "duckdb":
            connection = duckdb.connect(self.where)
            connection.execute("SET TimeZone = 'UTC'")
            return connection
        if self.kind == "sqlite":
            return sqlite3.connect(self._file())
        server = psycopg2.connect(self.where, options="-c TimeZone=UTC")
        psycopg2.extras.register_default_jsonb(server, loads=lambda text: text)
        return server


def normalize(type_: str, cell: Any) -> Any:
    """A cell of any destination in the oracle's spelling."""
    if type_ == "json":
        # Postgres spells 1e308 with all its digits. NaN stands in no json.
        return canonical(json.loads(cell, parse_int=value_of, parse_float=value_of, parse_constant=Decimal))
    if type_ == "timestamp":
        moment = datetime.fromisoformat(cell) if isinstance(cell, str) else cell
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    if type_ == "date":
        return date.fromisoformat(cell) if isinstance(cell, str) else cell
    if type_ == "decimal":
        # SQLite has no decimals.
        return cell if isinstance(cell, Decimal) else Decimal(repr(cell))
    if type_ == "bool":
        assert cell in {0, 1}
        return bool(cell)
    assert type(cell) is {"bigint": int, "double": float, "text": str}[type_]
    return cell


@dataclass(frozen=True)
class Scene:
    """An API, and the project that syncs it into some destination."""

    api: FakeApi
    project: Project
    warehouse: Warehouse

    def sync(
        self,
        listings: Mapping[str, Sequence[str]],
        tables: dict[str, Table],
        mode: str = "incremental",
        share: float = 0.1,
    ) -> dg.ExecuteInProcessResult:
        """Syncs listings, and holds what came of it against the oracle; `tables` are those of before, and after."""
        refused = {}
        for resource, rows in listings.items():
            serve_rows(self.api, resource, rows)
            try:
                loaded = expect(declared(resource), rows, share)
            except Refused as error:
                refused[resource] = error
            else:
                tables[resource] = {**({} if mode == "rebuild" else tables.get(resource, {})), **loaded}
        result = self.project.run(*listings, config={"mode": mode})
        message = failure_message(result)
        assert sorted(materialized(result)) == sorted(listings.keys() - refused), f"expected {refused}; {message}"
        for resource, rows in listings.items():
            if resource in tables or self.warehouse.has(resource):
                found = self.warehouse.table(resource)
                wrong = differences(found, tables.get(resource, {}))
                keys = {cell[0] for cell in wrong}
                sent = [text for text in rows if read_key(declared(resource)["id"], parse(text)) in keys]
                told = [f"{resource}: (key, field, found, expected)", *map(str, wrong), "Rows:", *sent]
                assert not wrong, "\n".join(LONG_RUN.sub(r"\1...\1", line) for line in told)
        return result


def differences(found: Table, expected: Table) -> list[tuple[Any, ...]]:
    """The cells in which tables differ."""
    wrong: list[tuple[Any, ...]] = [(key, found.get(key), expected.get(key)) for key in found.keys() ^ expected.keys()]
    for key in found.keys() & expected.keys():
        fields = sorted(found[key].keys() | expected[key].keys())
        cells = [(key, field, found[key].get(field), expected[key].get(field)) for field in fields]
        wrong += [cell for cell in cells if (type(cell[2]), cell[2]) != (type(cell[3]), cell[3])]
    return wrong


@contextmanager
def scene(warehouse: Warehouse) -> Iterator[Scene]:
    """An API that serves no rows yet, and a project that has synced none."""
    with pytest.MonkeyPatch.context() as patch, serve() as api, dg.DagsterInstance.ephemeral() as instance:
        patch.setenv("SOURCES__ANALYTICS__BASE_URL", api.url)
        patch.setenv("SOURCES__ANALYTICS__API_KEY", TOKEN)
        patch.setenv("SOURCES__ANALYTICS__START_DATE", START)
        patch.setenv("SOURCES__ANALYTICS__PAGE_SIZE", "1000")
        warehouse.configure(patch)
        yield Scene(api, Project(instance, Path(warehouse.where)), warehouse)
