"""Checks of the assets. They warn and block nothing."""

from collections.abc import Iterator
from typing import Any

import dagster as dg

from analytics_assets.api.catalog import RESOURCES
from analytics_assets.defs.specs import asset_key

UNDECLARED = "undeclared_columns"
"""Metadata of a materialization: columns that the catalogue does not know. Also the name of the check."""


def build_checks() -> dg.AssetChecksDefinition:
    """One step with a check of each asset: has the API begun to send a field that the catalogue does not know?"""
    specs = [
        dg.AssetCheckSpec(
            UNDECLARED,
            asset=asset_key(resource.name),
            description=(
                "Warns when the API sends fields that the catalogue does not declare. They are loaded into columns of"
                " their own; declare them in api/catalog.py, with a type and a description."
            ),
        )
        for resource in RESOURCES
    ]

    @dg.multi_asset_check(name="analytics_checks", specs=specs, can_subset=True)
    def analytics_checks(context: dg.AssetCheckExecutionContext) -> Iterator[dg.AssetCheckResult]:
        for key in context.selected_asset_check_keys:
            columns = _undeclared(context.instance, key.asset_key)
            yield dg.AssetCheckResult(
                asset_key=key.asset_key,
                check_name=key.name,
                passed=not columns,
                severity=dg.AssetCheckSeverity.WARN,
                metadata={"columns": columns, "count": len(columns)},
            )

    return analytics_checks


def _undeclared(instance: dg.DagsterInstance, key: dg.AssetKey) -> list[Any]:
    event = instance.get_latest_materialization_event(key)
    materialization = event.asset_materialization if event else None
    value = materialization.metadata.get(UNDECLARED) if materialization else None
    return list(value.value) if value and isinstance(value.value, list) else []
