"""The asset checks, evaluated after each sync. A check that fails blocks nothing."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime

import dagster as dg

from analytics_assets.api.redaction import redact
from analytics_assets.api.settings import SettingsError
from analytics_assets.api.values.timestamps import CLOCK_SKEW
from analytics_assets.defs.assets.resource import AnalyticsResource
from analytics_assets.defs.assets.specs import LONGEST_FIELD
from analytics_assets.defs.automation.conditions import after_inputs
from analytics_assets.defs.names import Names, given_resource
from analytics_assets.defs.quality.rules import checks_of, no_table
from analytics_assets.warehouse.errors import DestinationError
from analytics_assets.warehouse.profile import TableProfile, measure


def build_checks(names: Names, cron: str) -> dg.AssetChecksDefinition:
    """One step with all checks of all assets. It measures each table once for all its checks.

    Args:
        names: Names of the connector.
        cron: When the assets are synced.
    """
    checks = {
        dg.AssetCheckKey(names.asset_key(resource.name), check.name): (resource, check)
        for resource in names.connector.resources
        for check in checks_of(names, resource, cron)
    }
    # If a resource fails, the run skips this step although the other tables changed. The condition makes up for it.
    condition = after_inputs()
    specs = [
        dg.AssetCheckSpec(
            check.name,
            asset=key.asset_key,
            additional_deps=[names.asset_key(name) for name in check.other_inputs],
            description=check.description,
            automation_condition=condition,
        )
        for key, (_, check) in checks.items()
    ]

    @dg.multi_asset_check(
        name=names.derived("checks"),
        specs=specs,
        description="Measures each loaded table once, and judges all its checks. A check that fails blocks nothing.",
        can_subset=True,
        pool=names.pool,
    )
    @given_resource(names)
    def analytics_checks(
        context: dg.AssetCheckExecutionContext, analytics: AnalyticsResource
    ) -> Iterator[dg.AssetCheckResult]:
        wanted = {key: found for key, found in checks.items() if key in context.selected_asset_check_keys}
        measured = _measure(names, context, analytics, {key.asset_key for key in wanted})
        for key, (resource, check) in wanted.items():
            profile = measured[key.asset_key]
            metadata, wrong = check.judge(profile)
            yield dg.AssetCheckResult(
                asset_key=key.asset_key,
                check_name=key.name,
                passed=wrong is None,
                severity=check.severity,
                description=wrong if profile.has_table else no_table(names.table(resource)),
                metadata=metadata,
            )

    return analytics_checks


def _measure(
    names: Names, context: dg.AssetCheckExecutionContext, analytics: AnalyticsResource, keys: set[dg.AssetKey]
) -> dict[dg.AssetKey, TableProfile]:
    """Measures the tables of some assets. The warehouse is closed before the checks are judged.

    Raises:
        Failure: A setting is wrong, or the destination cannot be used.
    """
    resources = [each for each in names.connector.resources if names.asset_key(each.name) in keys]
    try:
        with analytics.session(names, context.log.warning) as session, session.client:
            measured = measure(session, resources, datetime.now(UTC) + CLOCK_SKEW)
            secrets = [*session.settings.secrets(), *session.secrets]
    except (SettingsError, DestinationError) as error:
        # Not chained: the message says the cause, and the cause's own text may quote secrets.
        raise dg.Failure(redact(str(error), analytics.secrets(names.connector))) from None

    def shown(field: str) -> str:
        # The API chooses the names of undeclared fields, so they may hold anything.
        return redact(field, secrets)[:LONGEST_FIELD]

    return {
        names.asset_key(name): replace(
            profile,
            undeclared={shown(field): redact(column, secrets) for field, column in profile.undeclared.items()},
            columnless={shown(field) for field in profile.columnless},
            rescued={shown(field): odd for field, odd in profile.rescued.items()},
            replaced={redact(column, secrets): odd for column, odd in profile.replaced.items()},
        )
        for name, profile in measured.items()
    }
