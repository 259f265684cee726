"""What the step of the assets does, and that of a backfill: each resource succeeds or fails on its own."""

import gc
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import dagster as dg

from analytics_assets.api.catalog import RESCUED, Resource
from analytics_assets.api.reading import Reading
from analytics_assets.api.redaction import redact
from analytics_assets.api.settings import Settings, SettingsError
from analytics_assets.defs.assets.config import Mode, RunConfigError, SyncConfig
from analytics_assets.defs.assets.materialization import (
    describe_sync,
    note_endpoint,
    observe_endpoint,
    rows_last_time,
)
from analytics_assets.defs.assets.one_configuration import check_configuration
from analytics_assets.defs.assets.resource import AnalyticsResource
from analytics_assets.defs.assets.run_facts import run_facts, say_what, tabulate_settings
from analytics_assets.defs.assets.windows import after_windows, describe_window, warn_of_listings
from analytics_assets.defs.automation.run_tags import NO_RUN_RETRY, RETRY_WHAT_FAILED, tag_failed_step, tag_run
from analytics_assets.defs.display.errors import explain, first_lines_only, is_permanent, list_reasons, raise_interrupt
from analytics_assets.defs.display.progress import Progress, also_shown, count
from analytics_assets.defs.execution import divide, patience
from analytics_assets.defs.names import Names
from analytics_assets.defs.quality.checks import Checks, evaluate_in_sync
from analytics_assets.garbage import rarely_collected
from analytics_assets.warehouse.errors import DestinationError
from analytics_assets.warehouse.session import Session
from analytics_assets.warehouse.sync import Pending, Run, Synced, begin_sync, sync
from analytics_assets.warehouse.target import Target

HEAVY = 100_000_000
"""Estimated bytes of a resource's rows, above which garbage is collected before the next resource is loaded."""

Events = Iterator[dg.MaterializeResult[Any] | dg.AssetObservation | dg.AssetCheckEvaluation]

Syncs = Callable[[dg.OpExecutionContext, SyncConfig, AnalyticsResource, Sequence[Resource], Run], Events]
"""Syncs resources in a step, given its context, its run config, the Dagster resource, and how to run a pipeline."""


@dataclass(slots=True)
class Step:
    """A step that runs, and what has failed in it."""

    names: Names
    context: dg.OpExecutionContext
    run: Run
    failures: dict[str, str] = field(default_factory=dict)
    """Why a resource failed, by resource."""
    permanent: bool = True
    """Whether another run would meet each of these failures again."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a step does, decided before anything is opened or requested."""

    settings: Settings
    target: Target
    reading: Reading
    rebuild: bool
    facts: Mapping[str, str]
    """What the run was given, as `run_facts` says."""
    by_hand: bool
    """Whether run config leads the run to another URL than the configured one."""
    began: datetime


def build_syncs(names: Names, checks: Checks) -> Syncs:
    """What the step of the assets does, and that of a backfill.

    Args:
        names: Names of the connector.
        checks: The checks that it evaluates if resources fail.
    """

    def sync_all(
        context: dg.OpExecutionContext,
        config: SyncConfig,
        analytics: AnalyticsResource,
        selected: Sequence[Resource],
        run: Run,
    ) -> Events:
        check_configuration(names, context)
        step = Step(names, context, run)
        try:
            plan = _plan(step, config, analytics, selected)
            read_ahead = Reading(everything=True) if plan.rebuild else plan.reading
            log, most = also_shown(context.log.warning), patience(names, context, plan.target.duckdb_path)
            with (
                rarely_collected(),
                first_lines_only(),
                analytics.open(plan.settings, plan.target, log, most) as session,
                begin_sync(session, selected, analytics.busy_timeout, read_ahead) as pending,
            ):
                yield from _sync_each(step, plan, session, pending)
                if step.failures and not names.split:
                    yield from _check_the_others(step, session, checks)
        except (SettingsError, RunConfigError, DestinationError) as error:
            if not isinstance(error, DestinationError):
                tag_run(context.instance, context.run.run_id, NO_RUN_RETRY)
            # Not chained: the message says the cause, and the cause's own text may quote secrets.
            raise dg.Failure(redact(str(error), analytics.secrets(names.connector))) from None
        if step.failures:
            raise _failure(step, len(selected))

    return sync_all


def _plan(step: Step, config: SyncConfig, analytics: AnalyticsResource, selected: Sequence[Resource]) -> Plan:
    """Decides what the step does, and says it in the log and in the tags of the run."""
    names, context = step.names, step.context
    # Before `config.reading()`, whose errors show the values of start and end: they may come from a variable.
    analytics.check_run_config(names)
    reading, overrides = config.reading(), config.overrides()
    settings, target = analytics.plan(names, **overrides)
    divide(names, context, settings)
    facts = run_facts(config.mode, reading, settings, target)
    context.log.info(say_what(facts, [each.name for each in selected]))
    context.log.info(f"The settings of this run:\n{tabulate_settings(settings, target)}")
    _tag(names, context, facts)
    warn_of_listings(names, context, settings, selected, reading)
    return Plan(
        settings=settings,
        target=target,
        reading=reading,
        rebuild=config.mode is Mode.rebuild,
        facts=facts,
        by_hand=analytics.leads_elsewhere(names),
        # Before the session, which reads ahead.
        began=datetime.now(UTC),
    )


def _sync_each(step: Step, plan: Plan, session: Session, pending: Sequence[Pending]) -> Events:
    """Syncs resources one by one, and reports each."""
    names, context = step.names, step.context
    listings = [each.listing for each in pending]
    keys = {each.resource.name: names.asset_key(each.resource.name) for each in listings}
    last_time = {name: rows_last_time(context.instance, key, plan.facts) for name, key in keys.items()}
    progress = Progress(listings, context.log.info, last_time)
    for each in pending:
        listing, name = each.listing, each.listing.resource.name
        progress.begin(name)
        done = None
        try:
            done, metadata = _sync_one(step, plan, session, each)
        except Exception as error:  # noqa: BLE001 - a resource that fails must not fail the others
            raise_interrupt(error)
            reason = step.failures[name] = explain(error, (*listing.secrets(), *session.secrets))
            step.permanent = step.permanent and is_permanent(error, by_hand=plan.by_hand)
            context.log.error(f"{name} failed: {reason.removeprefix(f'{name}: ')}")
        progress.end(name, done)
        yield from observe_endpoint(names, listing, step.failures.get(name))
        if done:
            _log_outcome(context, done)
            yield _materialize(names, context, done, metadata)
        if not done or listing.stats.weight > HEAVY:
            # The error, or dlt's pipes, hold the rows in reference cycles.
            gc.collect()
    context.log.info(f"What this run did:\n{progress.summary()}")


def _sync_one(step: Step, plan: Plan, session: Session, pending: Pending) -> tuple[Synced, dict[str, Any]]:
    """Syncs a resource, and returns what that did, and the metadata of its materialization."""
    names, facts = step.names, plan.facts
    reading = after_windows(names, step.context, pending, session, facts) or plan.reading
    done = sync(pending, session, reading, rebuild=plan.rebuild, run=step.run)
    metadata = describe_sync(names, done, session, [*pending.listing.secrets(), *session.secrets], facts)
    return done, metadata | describe_window(plan.reading, plan.began)


def _tag(names: Names, context: dg.OpExecutionContext, facts: Mapping[str, str]) -> None:
    """Tags the run with what it was given, and with how to retry it: only runs of a job have the tags of a job."""
    own = {f"{names.connector.name}/{name}": value for name, value in facts.items()}
    of_job = {name: context.run.tags[name] for name in RETRY_WHAT_FAILED if name in context.run.tags}
    tag_run(context.instance, context.run.run_id, RETRY_WHAT_FAILED | of_job | own)


def _materialize(
    names: Names, context: dg.OpExecutionContext, done: Synced, metadata: Mapping[str, Any]
) -> dg.MaterializeResult[Any]:
    note_endpoint(names, done.resource, context.run, context.instance)
    # Dagster would take the code version for the version of the data, and rows that came since for none.
    version = dg.DataVersion(context.run.run_id)
    return dg.MaterializeResult(asset_key=names.asset_key(done.resource.name), metadata=metadata, data_version=version)


def _check_the_others(step: Step, session: Session, checks: Checks) -> Iterator[dg.AssetCheckEvaluation]:
    try:
        yield from list(evaluate_in_sync(step.names, step.context, session, checks, step.failures))
    except Exception as error:  # noqa: BLE001 - the message of the run is about the resources that failed
        raise_interrupt(error)
        why = explain(error, (*session.settings.secrets(), *session.secrets))
        step.context.log.error(f"The checks of the other tables could not be evaluated: {why}")


def _log_outcome(context: dg.OpExecutionContext, done: Synced) -> None:
    name, stats = done.resource.name, done.stats
    loaded, requests = count(done.rows_loaded, "row"), count(stats.requests, "request")
    as_it_was = ": all as the last load has brought them" if stats.loaded_by else ""
    context.log.info(f"{name}: {loaded} loaded, {stats.rows_read:,} read in {requests}{as_it_was}")
    if stats.values_rescued:
        context.log.warning(
            f"{name}: {count(stats.values_rescued, 'value')} not fitting the column, kept in {RESCUED}. The check"
            " values_fit names the rows."
        )


def _failure(step: Step, selected: int) -> dg.Failure:
    """Tags the run with whether a retry may help, and returns what its step raises."""
    instance, run_id, failures = step.context.instance, step.context.run.run_id, step.failures
    if step.names.split:
        tag_failed_step(instance, run_id, permanent=step.permanent)
        return dg.Failure("\n".join(list_reasons(failures)), metadata=failures)
    if step.permanent:
        tag_run(instance, run_id, NO_RUN_RETRY)
    return dg.Failure(_summary(failures, selected), metadata=failures)


def _summary(failures: dict[str, str], selected: int) -> str:
    if len(failures) < selected:
        first = f"{len(failures)} of {selected} resources failed; the others are loaded."
    else:
        first = f"All {selected} resources failed." if selected > 1 else "The only selected resource failed."
    return "\n".join([first, *list_reasons(failures)])
