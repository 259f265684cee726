"""The assets of a connector: one `@dlt_assets` definition, in which each resource succeeds or fails on its own.

With `split` each resource has a definition, and so a step, of its own.
"""

import warnings
from collections.abc import Mapping
from typing import Any

import dagster as dg
import dlt
from dagster_dlt.translator import DltResourceTranslatorData
from dlt.extract.source import DltSource

from analytics_assets.api.source import source_shape
from analytics_assets.defs.assets.config import SyncConfig
from analytics_assets.defs.assets.resource import AnalyticsResource
from analytics_assets.defs.assets.run_facts import tabulate_configured
from analytics_assets.defs.assets.specs import spec_attributes
from analytics_assets.defs.assets.step import Events, Syncs
from analytics_assets.defs.automation.crons import Crons
from analytics_assets.defs.automation.freshness import freshness_policy
from analytics_assets.defs.names import Names, given_resource
from analytics_assets.warehouse.sync import Run

with warnings.catch_warnings():
    # The package warns at import that it is deprecated. docs/decisions/embedded-elt.md says why it is used.
    warnings.simplefilter("ignore", DeprecationWarning)
    from dagster_embedded_elt.dlt import DagsterDltResource, DagsterDltTranslator, dlt_assets


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


def run_by_dagster(context: dg.AssetExecutionContext, translator: DagsterDltTranslator) -> Run:
    """Runs pipelines through Dagster's resource for dlt. Its own result is dropped: `describe_sync` says more."""

    def run(pipeline: dlt.Pipeline, source: DltSource, options: Mapping[str, Any]) -> None:
        given: Any = {"dlt_source": source, "dlt_pipeline": pipeline, "dagster_dlt_translator": translator}
        list(DagsterDltResource().run(context=context, **given, **options))

    return run
