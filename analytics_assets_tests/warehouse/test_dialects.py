"""SQL for warehouses that cannot be reached here: sqlglot reads all that the product says as they would.

What it reads is then asked of a DuckDB, which has to answer as it answers the product's SQL for DuckDB.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import sqlglot
from dlt.common.destination import DestinationCapabilitiesContext
from dlt.common.destination.reference import DestinationReference
from dlt.destinations.impl.duckdb.sql_client import DuckDbSqlClient
from sqlglot import exp

from analytics_assets.api.settings_reader import read_settings
from analytics_assets.defs.reports.assets import REPORTS
from analytics_assets.warehouse.client import SqlClient
from analytics_assets.warehouse.deletions import mark_deleted
from analytics_assets.warehouse.leftovers import find_leftovers
from analytics_assets.warehouse.portable_sql import spell
from analytics_assets.warehouse.profile import measure
from analytics_assets.warehouse.replace_table import create_as, replace_table
from analytics_assets.warehouse.report_table import count, first_rows
from analytics_assets.warehouse.samples import newest_rows, rows_per_day
from analytics_assets.warehouse.session import Session, open_session
from analytics_assets.warehouse.sync import begin_sync, sync
from analytics_assets.warehouse.table_state import read_table_state
from analytics_assets.warehouse.target import Target
from analytics_assets_tests.servers.fake_api import FakeApi
from analytics_assets_tests.support.eight import BY_NAME, EIGHT
from analytics_assets_tests.support.rows import activity, group, location

CLOUD = ("snowflake", "bigquery", "redshift", "databricks", "clickhouse", "mssql")

NOW = datetime(2026, 1, 1, tzinfo=UTC)

NOT_DUCKDBS = {
    # What sqlglot leaves as it is, because it does not know it.
    re.compile(r"^EXEC sp_rename '\"(\w+)\"\.\"(\w+)\"', '(\w+)'$"): r'ALTER TABLE "\1"."\2" RENAME TO "\3"',
    re.compile(r"^ALTER TABLE (\S+) UPDATE (.*) SETTINGS mutations_sync = 1$"): r"UPDATE \1 SET \2",
    re.compile(r"^(CREATE OR REPLACE TABLE \S+) ENGINE = MergeTree ORDER BY tuple\(\) AS"): r"\1 AS",
}


def capabilities_of(name: str) -> DestinationCapabilitiesContext:
    """What dlt knows of a destination. No driver is needed."""
    destination = DestinationReference.from_reference(name)
    assert destination is not None
    return destination.capabilities()


def read(statement: str, dialect: str) -> exp.Expression:
    """A statement as sqlglot reads it in a dialect. It must be spelled as that dialect spells it, too."""
    [tree] = sqlglot.parse(statement, read=dialect, error_level=sqlglot.ErrorLevel.RAISE)
    assert isinstance(tree, exp.Expression)
    assert not isinstance(tree, exp.Command), statement
    spelled = tree.sql(dialect).upper()
    for word in ("LIMIT", "TOP", "INTO", "FILTER", "QUALIFY"):
        assert bool(re.search(rf"\b{word}\b", statement.upper())) == bool(re.search(rf"\b{word}\b", spelled)), statement
    for cast in tree.find_all(exp.Cast):
        type_ = cast.to.sql(dialect)
        assert type_.upper() in statement.upper(), f"{type_} is how {dialect} spells it: {statement}"
        assert dialect != "tsql" or not type_.endswith("VARCHAR"), "it would be cut after 30 characters"
    return tree


class Foreign(DuckDbSqlClient):
    """A DuckDB that takes the SQL of another database."""

    def __init__(self, own: DuckDbSqlClient, capabilities: DestinationCapabilitiesContext) -> None:
        super().__init__(own.dataset_name, own.staging_dataset_name, own.credentials, capabilities)
        self._conn = own.native_connection

    @contextmanager
    def execute_query(self, query: Any, *args: Any, **kwargs: Any) -> Iterator[Any]:
        with super().execute_query(self._translate(query), *args, **kwargs) as cursor:
            yield cursor

    def _translate(self, query: str) -> str:
        for foreign, own in NOT_DUCKDBS.items():
            if foreign.search(query):
                return foreign.sub(own, query).replace("`", '"')
        tree = read(query.replace("%s", "'%s'"), str(self.capabilities.sqlglot_dialect))
        # What sqlglot makes of NVARCHAR(MAX), DuckDB does not know.
        return tree.sql("duckdb").replace("'%s'", "%s").replace("TEXT(MAX)", "TEXT")


class Abroad(SqlClient):
    """Asks a `Foreign`. What dlt itself asks is dlt's."""

    def __init__(self, own: SqlClient, capabilities: DestinationCapabilitiesContext) -> None:
        super().__init__(own.dlt)
        assert isinstance(own.sql_client, DuckDbSqlClient)
        self.capabilities = capabilities
        self._foreign = Foreign(own.sql_client, capabilities)

    @property
    def sql_client(self) -> Foreign:
        return self._foreign


@pytest.fixture
def session(api: FakeApi, tmp_path: Path) -> Iterator[Session]:
    """Tables in which the checks find something."""
    api.rows["locations"] += [location(number, organizationId=number) for number in range(300, 307)]
    api.rows["groups"] = [group(1), group(2, None), group(3, "2099-01-01T00:00:00Z"), group(4, brandNew="x\0")]
    api.rows["groups"].append(group(5, deviceCount="many", tags=["\ufffd"]))
    api.rows["activities"] = [activity(n, f"2024-05-{n:02}T23:59:59Z") for n in range(1, 30)]
    with open_session(read_settings(EIGHT), Target("duckdb", tmp_path / "x.duckdb"), log=print) as opened:
        with begin_sync(opened) as listed:
            for pending in listed:
                sync(pending, opened)
        yield opened


def ask(session: Session, dialect: str) -> dict[str, Any]:
    """The answers to all that the product asks."""
    client = session.client
    sql = client.sql_client
    replace_table(sql, dialect, "made", f"SELECT id, name FROM {sql.make_qualified_table_name('groups')}")
    made = sql.make_qualified_table_name("made")
    sql.execute_sql(
        create_as(dialect, sql.make_qualified_table_name(f"copy_{dialect}"), f"SELECT * FROM {made} WHERE 1 = 0")
    )
    client.forget(["nothing"], "no_such_schema")
    client.forget_loads("no_such_schema", "0")
    found = {
        "profiles": measure(session, session.connector.resources, NOW),
        "samples": [newest_rows(client, resource, 3) for resource in session.connector.resources],
        "days": rows_per_day(client, BY_NAME["activities"], "activityTime", NOW, 10),
        "states": [read_table_state(client, EIGHT, resource) for resource in session.connector.resources],
        "leftovers": find_leftovers(client, EIGHT),
        "count": count(client, made, ("id", "name"), None, BY_NAME["groups"]),
        "first": first_rows(client, made, ("id",), {"id": "BIGINT"}, 2),
        "marked": mark_deleted(client, BY_NAME["groups"], "9", datetime(2000, 1, 1, tzinfo=UTC), 1.0),
    }
    sql.native_connection.execute("UPDATE analytics.groups SET deleted_at = NULL")
    return found


def test_sql_for_warehouses_in_the_cloud_means_what_it_means_in_duckdb(session: Session) -> None:
    client = session.client
    assert isinstance(client, SqlClient)
    with client:
        wanted = ask(session, "duckdb")
        assert wanted["marked"] == 5
        assert wanted["profiles"]["groups"].replaced
        # Of Redshift, and of BigQuery.
        for name in ("json_serialize", "to_json_string"):
            client.sql_client.native_connection.execute(f"CREATE TEMP MACRO {name}(x) AS CAST(x AS VARCHAR)")
        for name in CLOUD:
            capabilities = capabilities_of(name)
            # DuckDB's tables have the names that dlt gives them before a database folds them.
            capabilities.casefold_identifier = str
            abroad = replace(session, client=Abroad(client, capabilities))
            found = ask(abroad, str(capabilities.sqlglot_dialect))
            assert found.pop("profiles") == wanted["profiles"], name
            assert found == {key: answer for key, answer in wanted.items() if key != "profiles"}, name


@pytest.mark.parametrize("name", CLOUD)
def test_reports_are_spelled_for_warehouses_in_the_cloud(name: str) -> None:
    dialect = str(capabilities_of(name).sqlglot_dialect)
    for report in REPORTS:
        query = spell(
            report.sql_file.read_text(encoding="utf-8"), dialect, {each: f"a.{each}" for each in report.inputs}
        )
        tree = read(query, dialect)
        assert {f"{table.db}.{table.name}" for table in tree.find_all(exp.Table) if table.db} == {
            f"a.{each}" for each in report.inputs
        }
        assert isinstance(tree, exp.Select)
        assert tree.named_selects == [column.name for column in report.columns]
        assert "ALL" not in query.split()
        read(create_as(dialect, "reports.made", query), dialect)
