"""The assets of the reports: tables in the schema `reports` of the DuckDB file, each made by an SQL file."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg

from analytics_assets.api.catalog import DELETED_AT, Resource
from analytics_assets.api.connector import Connector
from analytics_assets.api.redaction import redact
from analytics_assets.api.settings import SettingsError
from analytics_assets.defs.assets.resource import AnalyticsResource
from analytics_assets.defs.assets.specs import file_reference
from analytics_assets.defs.automation.conditions import after_inputs
from analytics_assets.defs.automation.run_tags import NO_RUN_RETRY, tag_run
from analytics_assets.defs.display.previews import PREVIEW_ROWS, as_table
from analytics_assets.defs.execution import patience
from analytics_assets.defs.names import Names, given_resource
from analytics_assets.warehouse.errors import DestinationError
from analytics_assets.warehouse.target import DUCKDB, destination_type

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

COMPLETE = "complete"
"""Name of the check that each report has."""


@dataclass(frozen=True, slots=True)
class Report:
    """A report."""

    name: str
    """Name of the table, and of the SQL file."""
    description: str
    inputs: tuple[str, ...]
    """Names of the resources that the SQL reads. Each live row of the first belongs to one row of the report."""
    key: tuple[str, ...]
    """Columns that tell the report's rows apart."""
    columns: tuple[dg.TableColumn, ...]
    """Columns of the table."""
    counts: str | None = None
    """Column that says how many live rows of the first input belong to a row; `None` if there is one for each."""
    directory: Path = Path(__file__).parent
    """Where the SQL file is."""

    @property
    def sql_file(self) -> Path:
        """The SQL file with the query."""
        return self.directory / f"{self.name}.sql"


def _column(name: str, type_: str, description: str) -> dg.TableColumn:
    return dg.TableColumn(name, type_, description)


REPORTS = (
    Report(
        name="activity_daily",
        description="Activities per day, type and result: how many, on how many devices, and how many of them severe.",
        inputs=("activities",),
        key=("day", "activity_type", "activity_result"),
        counts="activities",
        columns=(
            _column("day", "DATE", "Day in UTC; null for activities without a time"),
            _column("activity_type", "VARCHAR", "Code of the type, for example ACTION; an open set"),
            _column(
                "activity_result", "VARCHAR", "SUCCESS, FAILURE, UNSUPPORTED or UNCOMPLETED; null if not known yet"
            ),
            _column("activities", "BIGINT", "Number of activities"),
            _column("devices", "BIGINT", "Number of different devices; activities of none are not counted"),
            _column("severe", "BIGINT", "Number of activities whose severity is MAJOR or CRITICAL"),
        ),
    ),
    Report(
        name="organization_overview",
        description="One row per live organization, with the number of its live locations.",
        inputs=("organizations", "locations"),
        key=("organization_id",),
        columns=(
            _column("organization_id", "BIGINT", "Organization identifier"),
            _column("name", "VARCHAR", "Full name"),
            _column("node_approval_mode", "VARCHAR", "How new devices are approved: AUTOMATIC, MANUAL or REJECT"),
            _column("locations", "BIGINT", "Number of live locations"),
            _column("locations_with_address", "BIGINT", "Number of those that have an address"),
        ),
    ),
    Report(
        name="automation_inventory",
        description="Live scripts per language, operating systems and state, and when they were edited.",
        inputs=("automation_scripts",),
        key=("language", "operating_systems", "active"),
        counts="scripts",
        columns=(
            _column("language", "VARCHAR", "Language of the scripts"),
            _column("operating_systems", "VARCHAR", "All systems that the scripts run on, for example Linux, Mac"),
            _column("active", "BOOLEAN", "Whether the scripts can be run"),
            _column("scripts", "BIGINT", "Number of scripts"),
            _column("editors", "BIGINT", "Number of different people who edited one of them last"),
            _column("first_edit", "TIMESTAMP WITH TIME ZONE", "When the one that rests longest was last edited"),
            _column("last_edit", "TIMESTAMP WITH TIME ZONE", "When one of them was last edited"),
        ),
    ),
)


def find_report_mistakes(connector: Connector, reports: Sequence[Report]) -> Iterator[str]:
    """Yields what is wrong in reports: inputs that the connector neither has nor has left out."""
    names = {resource.name for resource in connector.resources if isinstance(resource, Resource)} | connector.left_out
    for report in reports:
        for name in report.inputs:
            if name not in names:
                yield (
                    f"report {report.name}: it reads {name!r}, which is no resource. Remove the report from REPORTS, or"
                    " its input"
                )


def build_reports(names: Names, reports: Sequence[Report]) -> list[dg.AssetsDefinition]:
    """The assets of reports. Without DuckDB there are none, because the queries are DuckDB's SQL."""
    return [_build(names, report) for report in reports] if destination_type() == DUCKDB else []


def _build(names: Names, report: Report) -> dg.AssetsDefinition:
    key = names.report_key(report.name)
    table = ".".join(key.path)
    check = dg.AssetCheckSpec(
        COMPLETE,
        asset=key,
        description=(
            f"Each live row of {report.inputs[0]} is counted once, and no two rows of the report have the same"
            f" {', '.join(report.key)}."
        ),
    )

    @dg.asset(
        key=key,
        deps=[names.asset_key(name) for name in report.inputs],
        group_name=names.derived("reports"),
        description=report.description,
        owners=[names.owner],
        kinds={DUCKDB, "sql"},
        metadata={
            "dagster/table_name": table,
            "dagster/column_schema": dg.TableSchema(columns=list(report.columns)),
            "dagster/code_references": file_reference(str(report.sql_file), 1, "Query"),
            "dagster/storage_kind": DUCKDB,
        },
        check_specs=[check],
        automation_condition=after_inputs(),
        pool=names.pool,
    )
    @given_resource(names)
    # Dagster does not know a parametrized MaterializeResult.
    def refresh(context: dg.AssetExecutionContext, analytics: AnalyticsResource) -> dg.MaterializeResult:  # type: ignore[type-arg]
        try:
            with analytics.duckdb(names, context.log.warning, patience(context)) as connection:
                if missing := _missing(names, connection, report):
                    tag_run(context.instance, context.run.run_id, NO_RUN_RETRY)
                    raise dg.Failure(f"{table} cannot be made before {', '.join(missing)} is there: sync it first.")
                numbers = _replace(names, connection, report, table)
                preview = as_table(_first_rows(connection, report, table), analytics.secrets(names.connector))
                return _describe(numbers, preview)
        except (SettingsError, DestinationError) as error:
            raise dg.Failure(redact(str(error), analytics.secrets(names.connector))) from None

    return refresh


def _missing(names: Names, connection: "DuckDBPyConnection", report: Report) -> list[str]:
    """The tables that the report reads and that do not exist, with their schema."""
    query = "SELECT table_name FROM duckdb_tables() WHERE schema_name = ?"
    existing = {name for (name,) in connection.execute(query, [names.connector.dataset]).fetchall()}
    return [f"{names.connector.dataset}.{name}" for name in report.inputs if name not in existing]


def _replace(names: Names, connection: "DuckDBPyConnection", report: Report, table: str) -> dict[str, int]:
    """Makes the table anew in one transaction. Returns the numbers by which the check is judged."""
    query = report.sql_file.read_text(encoding="utf-8")
    connection.begin()
    connection.execute(f"CREATE SCHEMA IF NOT EXISTS {names.reports}")
    # The queries name tables only: which schema has them is up to the connector.
    connection.execute(f"SET schema = '{names.connector.dataset}'")
    connection.execute(f"CREATE OR REPLACE TABLE {table} AS\n{query}")
    numbers = _count(names.connector.by_name[report.inputs[0]], connection, report, table)
    connection.commit()
    return numbers


def _first_rows(connection: "DuckDBPyConnection", report: Report, table: str) -> list[dict[str, Any]]:
    found = connection.execute(f"SELECT * FROM {table} ORDER BY {', '.join(report.key)} LIMIT {PREVIEW_ROWS}")
    columns = [name for name, *_ in found.description or ()]
    return [dict(zip(columns, row, strict=True)) for row in found.fetchall()]


def _describe(numbers: dict[str, int], preview: str) -> dg.MaterializeResult[Any]:
    return dg.MaterializeResult(
        metadata={"dagster/row_count": numbers["rows"], "preview": dg.MetadataValue.md(preview)},
        check_results=[
            dg.AssetCheckResult(
                check_name=COMPLETE,
                passed=numbers["counted"] == numbers["rows_of_input"] and not numbers["repeated_keys"],
                severity=dg.AssetCheckSeverity.ERROR,
                metadata=numbers,
            )
        ],
    )


def _count(source: Resource, connection: "DuckDBPyConnection", report: Report, table: str) -> dict[str, int]:
    """Counts the report's rows and repeated keys, the input rows that it accounts for, and the live input rows."""
    live = "true" if source.append_only else f"{DELETED_AT} IS NULL"
    counted = f"coalesce(sum({report.counts}), 0)" if report.counts else "count(*)"
    repeated = f"count(*) - count(DISTINCT row({', '.join(report.key)}))"
    rows_of_input = f"(SELECT count(*) FROM {source.name} WHERE {live})"
    query = f"SELECT count(*), {repeated}, {counted}, {rows_of_input} FROM {table}"
    numbers = connection.execute(query).fetchone()
    assert numbers  # noqa: S101 - an aggregate has one row
    return dict(zip(("rows", "repeated_keys", "counted", "rows_of_input"), map(int, numbers), strict=True))
