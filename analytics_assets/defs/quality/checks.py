"""The asset checks, evaluated after each sync. A check that fails blocks nothing."""

from collections.abc import Container, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime

import dagster as dg

from analytics_assets.api.catalog import Resource
from analytics_assets.api.redaction import redact
from analytics_assets.api.settings import SettingsError
from analytics_assets.api.values.timestamps import CLOCK_SKEW
from analytics_assets.defs.assets.resource import AnalyticsResource
from analytics_assets.defs.assets.specs import LONGEST_FIELD
from analytics_assets.defs.automation.conditions import after_inputs
from analytics_assets.defs.automation.crons import Crons
from analytics_assets.defs.automation.run_tags import NO_RUN_RETRY, tag_run
from analytics_assets.defs.execution import patience
from analytics_assets.defs.names import Names, given_resource
from analytics_assets.defs.quality.rules import Check, checks_of, no_table
from analytics_assets.warehouse.errors import DestinationError
from analytics_assets.warehouse.profile import TableProfile, measure
from analytics_assets.warehouse.session import Session

Checks = Mapping[dg.AssetCheckKey, tuple[Resource, Check]]
"""Checks and their resources, by key."""


def find_checks(names: Names, crons: Crons) -> Checks:
    """All checks of a connector whose assets are synced by `crons`."""
    return {
        dg.AssetCheckKey(names.asset_key(resource.name), check.name): (resource, check)
        for resource in names.connector.resources
        for check in checks_of(names, resource, crons.of(resource.name))
    }


def build_checks(names: Names, checks: Checks) -> list[dg.AssetChecksDefinition]:
    """One step with all checks of all assets, or one a resource. It measures each table once for all its checks.

    Args:
        names: Names of the connector.
        checks: The checks of all tables.
    """
    if not names.split:
        return [_build(names, names.derived("checks"), checks)]
    return [
        _build(
            names,
            names.derived(f"checks_{resource.name}"),
            {key: found for key, found in checks.items() if found[0] is resource},
        )
        for resource in names.connector.resources
    ]


def _build(names: Names, step: str, checks: Checks) -> dg.AssetChecksDefinition:
    # If a resource fails, Dagster skips this step. The sync has judged the other tables then, but reports of a host, or
    # a run that died, are left to the condition.
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
        name=step,
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
        try:
            with analytics.session(names, context.log.warning, patience(names, context)) as session:
                profiles = _measure(names, session, wanted)
        except (SettingsError, DestinationError) as error:
            if isinstance(error, SettingsError):
                tag_run(context.instance, context.run.run_id, NO_RUN_RETRY)
            # Not chained: the message says the cause, and the cause's own text may quote secrets.
            raise dg.Failure(redact(str(error), analytics.secrets(names.connector))) from None
        # The warehouse is closed by now.
        yield from _judge(names, wanted, profiles)

    return analytics_checks


def evaluate_in_sync(
    names: Names, context: dg.OpExecutionContext, session: Session, checks: Checks, failed: Container[str]
) -> Iterator[dg.AssetCheckEvaluation]:
    """Evaluates the checks of a run some of whose resources have failed, in the step that has synced them.

    Dagster skips the steps behind a failed one, and would show the checks of loaded tables as failed to execute. The
    checks of failed resources are left out: the retry evaluates what the failed run has not.

    Args:
        names: Names of the connector.
        context: Context of the step.
        session: Session of the sync.
        checks: All checks of the connector.
        failed: Names of the resources that have failed.
    """
    planned = {
        entry.dagster_event.asset_check_planned_data.asset_check_key
        for entry in context.instance.all_logs(
            context.run.run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION_PLANNED
        )
        if entry.dagster_event
    }
    wanted = {
        key: (resource, check)
        for key, (resource, check) in checks.items()
        if key in planned and resource.name not in failed
    }
    yield from evaluate(names, session, wanted)


def evaluate(names: Names, session: Session, wanted: Checks) -> Iterator[dg.AssetCheckEvaluation]:
    """Evaluates checks in a step that is none of checks.

    Args:
        names: Names of the connector.
        session: An open session.
        wanted: The checks.
    """
    results = _judge(names, wanted, _measure(names, session, wanted))
    for key, result in zip(wanted, results, strict=True):
        yield dg.AssetCheckEvaluation(
            asset_key=key.asset_key,
            check_name=key.name,
            passed=result.passed,
            severity=result.severity,
            description=result.description,
            metadata=result.metadata,
        )


def _judge(names: Names, wanted: Checks, profiles: Mapping[dg.AssetKey, TableProfile]) -> Iterator[dg.AssetCheckResult]:
    for key, (resource, check) in wanted.items():
        profile = profiles[key.asset_key]
        metadata, wrong = check.judge(profile)
        yield dg.AssetCheckResult(
            asset_key=key.asset_key,
            check_name=key.name,
            passed=wrong is None,
            severity=check.severity,
            description=wrong if profile.has_table else no_table(names.table(resource)),
            metadata=metadata,
        )


def _measure(names: Names, session: Session, wanted: Checks) -> dict[dg.AssetKey, TableProfile]:
    """Measures the tables of the checks, and takes secrets out of what will be shown."""
    by_name = {resource.name: resource for resource, _ in wanted.values()}
    with session.client:
        measured = measure(session, list(by_name.values()), datetime.now(UTC) + CLOCK_SKEW)
    secrets = [*session.settings.secrets(), *session.secrets]

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
