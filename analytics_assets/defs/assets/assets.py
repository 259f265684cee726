"""The assets of a connector: one `@dlt_assets` definition, in which each resource succeeds or fails on its own.

With `split` each resource has a definition, and so a step, of its own.
"""

import gc
import warnings
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import dagster as dg
import dlt
from dagster_dlt.translator import DltResourceTranslatorData
from dlt.extract.source import DltSource

from analytics_assets.api.catalog import RESCUED, Resource
from analytics_assets.api.reading import Reading
from analytics_assets.api.redaction import redact
from analytics_assets.api.settings import SettingsError
from analytics_assets.api.source import source_shape
from analytics_assets.defs.assets.config import Mode, RunConfigError, SyncConfig
from analytics_assets.defs.assets.materialization import (
    describe_sync,
    note_endpoint,
    observe_endpoint,
    rows_last_time,
)
from analytics_assets.defs.assets.one_configuration import check_configuration
from analytics_assets.defs.assets.resource import AnalyticsResource
from analytics_assets.defs.assets.run_facts import run_facts, say_what, tabulate_configured, tabulate_settings
from analytics_assets.defs.assets.specs import spec_attributes
from analytics_assets.defs.assets.windows import after_windows, describe_window, warn_of_listings
from analytics_assets.defs.automation.crons import Crons
from analytics_assets.defs.automation.freshness import freshness_policy
from analytics_assets.defs.automation.run_tags import NO_RUN_RETRY, RETRY_WHAT_FAILED, tag_failed_step, tag_run
from analytics_assets.defs.display.errors import explain, first_lines_only, is_permanent, list_reasons, raise_interrupt
from analytics_assets.defs.display.progress import Progress, also_shown, count
from analytics_assets.defs.execution import divide, patience
from analytics_assets.defs.names import Names, given_resource
from analytics_assets.defs.quality.checks import Checks, evaluate_in_sync
from analytics_assets.warehouse.errors import DestinationError
from analytics_assets.warehouse.session import Session
from analytics_assets.warehouse.sync import Run, Synced, begin_sync, sync

with warnings.catch_warnings():
    # The package warns at import that it is deprecated. docs/decisions/embedded-elt.md says why it is used.
    warnings.simplefilter("ignore", DeprecationWarning)
    from dagster_embedded_elt.dlt import DagsterDltResource, DagsterDltTranslator, dlt_assets

HEAVY = 100_000_000
"""Estimated bytes of a resource's rows, above which garbage is collected before the next resource is loaded."""


Events = Iterator[dg.MaterializeResult[Any] | dg.AssetObservation | dg.AssetCheckEvaluation]

Syncs = Callable[[dg.OpExecutionContext, SyncConfig, AnalyticsResource, Sequence[Resource], Run], Events]
"""Syncs resources in a step, given its context, its run config, the Dagster resource, and how to run a pipeline."""


class AnalyticsTranslator(DagsterDltTranslator):
    """Fills the spec of an asset from the catalog.

    Args:
        names: Names of the connector.
        crons: When the assets are synced.
        configuration: The configured settings, in Markdown.
    """

    def __init__(self, names: Names, crons: Crons, configuration: str) -> None:
        super().__init__()
        self._names, self._crons, self._configuration = names, crons, configuration

    def get_asset_spec(self, data: DltResourceTranslatorData) -> dg.AssetSpec:
        """The spec of the asset of one resource."""
        resource = self._names.connector.by_name[data.resource.name]
        cron = self._crons.of(resource.name)
        policy = freshness_policy(resource, cron)
        attributes = spec_attributes(self._names, resource, cron, self._configuration)
        return super().get_asset_spec(data).replace_attributes(**attributes, freshness_policy=policy)


def build_assets(
    names: Names, crons: Crons, resource: AnalyticsResource, syncs: Syncs, tags: dict[str, str]
) -> list[dg.AssetsDefinition]:
    """The definitions of a connector's assets: one, or one a resource. Building them makes no request.

    Args:
        names: Names of the connector.
        crons: When the assets are synced; their freshness policies follow from it.
        resource: The Dagster resource, of whose configuration the assets' pages tell.
        syncs: What a step does.
        tags: Tags of the ops.
    """
    translator = AnalyticsTranslator(names, crons, tabulate_configured(names, resource))
    every = [each.name for each in names.connector.resources]
    steps = [[name] for name in every] if names.split else [every]
    return [_build(names, step, syncs, translator, tags) for step in steps]


def _build(
    names: Names, step: list[str], syncs: Syncs, translator: AnalyticsTranslator, tags: dict[str, str]
) -> dg.AssetsDefinition:
    @dlt_assets(
        dlt_source=source_shape(names.connector).with_resources(*step),
        # A pipeline would create its working directory here; each run makes pipelines and a directory of its own.
        dlt_pipeline=None,  # type: ignore[arg-type]
        name=names.op(step[0]),
        dagster_dlt_translator=translator,
        pool=names.pool,
        op_tags=tags,
    )
    @given_resource(names)
    def analytics_api(context: dg.AssetExecutionContext, config: SyncConfig, analytics: AnalyticsResource) -> Events:
        wanted = context.selected_asset_keys
        selected = [each for each in names.connector.resources if names.asset_key(each.name) in wanted]
        yield from syncs(context.op_execution_context, config, analytics, selected, run_by_dagster(context, translator))

    return _without_internals(analytics_api)


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
        # Whether every failure so far is one that another run would meet again.
        failures, permanent = dict[str, str](), True
        try:
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
            # Before the session, which reads ahead.
            expected = Reading(everything=True) if config.mode is Mode.rebuild else reading
            by_hand, began = analytics.leads_elsewhere(names), datetime.now(UTC)
            with (
                first_lines_only(),
                analytics.open(
                    settings, target, also_shown(context.log.warning), patience(names, context, target.duckdb_path)
                ) as session,
                begin_sync(session, selected, analytics.busy_timeout, expected) as pending,
            ):
                last_time = {
                    each.name: rows_last_time(context.instance, names.asset_key(each.name), facts) for each in selected
                }
                progress = Progress([each.listing for each in pending], context.log.info, last_time)
                for each in pending:
                    listing = each.listing
                    name = listing.resource.name
                    progress.begin(name)
                    done = None
                    try:
                        own = after_windows(names, context, each, session, facts)
                        done = sync(each, session, own or reading, rebuild=config.mode is Mode.rebuild, run=run)
                        metadata = describe_sync(names, done, session, [*listing.secrets(), *session.secrets], facts)
                        metadata |= describe_window(reading, began)
                    except Exception as error:  # noqa: BLE001 - a resource that fails must not fail the others
                        raise_interrupt(error)
                        failures[name] = explain(error, (*listing.secrets(), *session.secrets))
                        permanent = permanent and is_permanent(error, by_hand=by_hand)
                        context.log.error(f"{name} failed: {failures[name].removeprefix(f'{name}: ')}")
                    progress.end(name, done)
                    yield from observe_endpoint(names, listing, failures.get(name))
                    if done:
                        _log_outcome(context, done)
                        yield _materialize(names, context, done, metadata)
                    if not done or listing.stats.weight > HEAVY:
                        # The error, or dlt's pipes, hold the rows in reference cycles.
                        gc.collect()
                context.log.info(f"What this run did:\n{progress.summary()}")
                if failures and not names.split:
                    yield from _check_the_others(names, context, session, checks, failures)
        except (SettingsError, RunConfigError, DestinationError) as error:
            if not isinstance(error, DestinationError):
                tag_run(context.instance, context.run.run_id, NO_RUN_RETRY)
            # Not chained: the message says the cause, and the cause's own text may quote secrets.
            raise dg.Failure(redact(str(error), analytics.secrets(names.connector))) from None
        if failures:
            raise _failure(names, context, failures, len(selected), permanent=permanent)

    return sync_all


def _without_internals(assets: dg.AssetsDefinition) -> dg.AssetsDefinition:
    """The assets without objects of dagster-dlt, which the UI shows as unserializable and each run is given anew."""

    def keep(metadata: Mapping[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in metadata.items() if not name.startswith("dagster_dlt/")}

    for output in assets.op.output_defs:
        # Dagster adds the metadata of the outputs to that of the specs.
        own: Any = output.metadata
        for name in own.keys() - keep(own).keys():
            del own[name]
    return assets.map_asset_specs(lambda spec: spec.replace_attributes(metadata=keep(spec.metadata)))


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


def _check_the_others(
    names: Names, context: dg.OpExecutionContext, session: Session, checks: Checks, failed: Container[str]
) -> Iterator[dg.AssetCheckEvaluation]:
    try:
        yield from list(evaluate_in_sync(names, context, session, checks, failed))
    except Exception as error:  # noqa: BLE001 - the message of the run is about the resources that failed
        raise_interrupt(error)
        why = explain(error, (*session.settings.secrets(), *session.secrets))
        context.log.error(f"The checks of the other tables could not be evaluated: {why}")


def run_by_dagster(context: dg.AssetExecutionContext, translator: DagsterDltTranslator) -> Run:
    """Runs pipelines through Dagster's resource for dlt. Its own result is dropped: `describe_sync` says more."""

    def run(pipeline: dlt.Pipeline, source: DltSource, options: Mapping[str, Any]) -> None:
        given: Any = {"dlt_source": source, "dlt_pipeline": pipeline, "dagster_dlt_translator": translator}
        list(DagsterDltResource().run(context=context, **given, **options))

    return run


def _log_outcome(context: dg.OpExecutionContext, done: Synced) -> None:
    name, stats = done.resource.name, done.stats
    requests = count(stats.requests, "request")
    context.log.info(f"{name}: {done.rows_loaded} rows loaded, {stats.rows_read} read in {requests}")
    if stats.values_rescued:
        context.log.warning(
            f"{name}: {count(stats.values_rescued, 'value')} not fitting the column, kept in {RESCUED}. The check"
            " values_fit names the rows."
        )


def _failure(
    names: Names, context: dg.OpExecutionContext, failures: dict[str, str], selected: int, *, permanent: bool
) -> dg.Failure:
    """Tags the run with whether a retry may help, and returns what its step raises."""
    instance, run_id = context.instance, context.run.run_id
    if names.split:
        tag_failed_step(instance, run_id, permanent=permanent)
        return dg.Failure("\n".join(list_reasons(failures)), metadata=failures)
    if permanent:
        tag_run(instance, run_id, NO_RUN_RETRY)
    return dg.Failure(_summary(failures, selected), metadata=failures)


def _summary(failures: dict[str, str], selected: int) -> str:
    if len(failures) < selected:
        first = f"{len(failures)} of {selected} resources failed; the others are loaded."
    else:
        first = f"All {selected} resources failed." if selected > 1 else "The only selected resource failed."
    return "\n".join([first, *list_reasons(failures)])
