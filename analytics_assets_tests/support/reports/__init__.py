"""Reports of the tests' own: one on two tables with a row for each row, and one that counts rows."""

from pathlib import Path

import dagster as dg

from analytics_assets.defs.reports.assets import Report


def _columns(**types: str) -> tuple[dg.TableColumn, ...]:
    return tuple(dg.TableColumn(name, type_, f"The {name}") for name, type_ in types.items())


HERE = Path(__file__).parent
REPORTS = (
    Report(
        name="organization_overview",
        description="Live organizations, with the number of their live locations.",
        inputs=("organizations", "locations"),
        key=("organization_id",),
        columns=_columns(organization_id="BIGINT", locations="BIGINT"),
        directory=HERE,
    ),
    Report(
        name="automation_inventory",
        description="Live scripts per language.",
        inputs=("automation_scripts",),
        key=("language",),
        columns=_columns(language="VARCHAR", scripts="BIGINT"),
        counts="scripts",
        directory=HERE,
    ),
)
