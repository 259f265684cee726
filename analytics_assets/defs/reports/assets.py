"""The assets of the reports: tables in the schema `reports` of the warehouse, each made by an SQL file."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
from dlt.destinations.exceptions import DatabaseException

from analytics_assets.api.catalog import Resource
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
from analytics_assets.warehouse.access import describe_driver_error
from analytics_assets.warehouse.errors import DestinationError
from analytics_assets.warehouse.session import Session
from analytics_assets.warehouse.target import destination_type

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
    """The assets of reports."""
    return [_build(names, report) for report in reports]


def _build(names: Names, report: Report) -> dg.AssetsDefinition:
    key, destination = names.report_key(report.name), destination_type()
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
        kinds={destination, "sql"},
        metadata={
            "dagster/table_name": table,
            "dagster/column_schema": dg.TableSchema(columns=list(report.columns)),
            "dagster/code_references": file_reference(str(report.sql_file), 1, "Query"),
            "dagster/storage_kind": destination,
        },
        check_specs=[check],
        automation_condition=after_inputs(),
        pool=names.pool,
    )
    @given_resource(names)
    # Dagster does not know a parametrized MaterializeResult.
    def refresh(context: dg.AssetExecutionContext, analytics: AnalyticsResource) -> dg.MaterializeResult:  # type: ignore[type-arg]
        try:
            with analytics.session(names, context.log.warning, patience(names, context)) as session:
                if missing := _missing(session, report):
                    tag_run(context.instance, context.run.run_id, NO_RUN_RETRY)
                    raise dg.Failure(f"{table} cannot be made before {', '.join(missing)} is there: sync it first.")
                made = _make(names, session, report, [*analytics.secrets(names.connector), *session.secrets])
                session.publish()
                return made
        except (SettingsError, DestinationError) as error:
            raise dg.Failure(redact(str(error), analytics.secrets(names.connector))) from None

    return refresh


def _missing(session: Session, report: Report) -> list[str]:
    """The tables that the report reads and that do not exist, with their schema."""
    connector = session.connector
    with session.client as client:
        return [f"{connector.dataset}.{name}" for name in report.inputs if not client.has_table(name)]


def _make(names: Names, session: Session, report: Report, secrets: Sequence[str | None]) -> dg.MaterializeResult[Any]:
    """Makes the table anew, and judges it."""
    # Only a refresh needs sqlglot.
    from analytics_assets.warehouse.report_table import count, first_rows, make_table  # noqa: PLC0415

    inputs = [names.connector.by_name[name] for name in report.inputs]
    query = report.sql_file.read_text(encoding="utf-8")
    try:
        with session.client as client:
            table = make_table(client, names.reports, report.name, query, inputs)
            numbers = count(client, table, report.key, report.counts, inputs[0])
            types = {column.name: column.type for column in report.columns}
            preview = as_table(first_rows(client, table, report.key, types, PREVIEW_ROWS), secrets)
    except DatabaseException as error:
        said = describe_driver_error(error, session.client)
        raise DestinationError(f"{names.reports}.{report.name} cannot be made: {said}") from error
    return _describe(numbers, preview)


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
