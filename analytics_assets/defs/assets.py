"""The eight assets: one `@dlt_assets` definition, in which each resource succeeds or fails by itself."""

import gc
import time
import warnings
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import dagster as dg
from dagster_dlt.translator import DltResourceTranslatorData
from dlt.destinations.exceptions import DatabaseException
from dlt.destinations.job_client_impl import SqlJobClientBase

from analytics_assets.api.catalog import BY_NAME, RESCUED, RESOURCES, Resource, in_turn
from analytics_assets.api.listing import Listing, open_listings
from analytics_assets.api.redaction import redact
from analytics_assets.api.settings import SettingsError
from analytics_assets.api.source import Reading, read_listings, slices, source_shape, undeclared_columns
from analytics_assets.collector import seldom_collected
from analytics_assets.defs.checks import LONGEST_FIELD, UNDECLARED
from analytics_assets.defs.config import Mode, RunConfigError, SyncConfig
from analytics_assets.defs.failures import (
    NO_RUN_RETRY,
    explain,
    first_lines_only,
    is_out_of_memory,
    is_permanent,
    list_reasons,
)
from analytics_assets.defs.freshness import freshness_policy
from analytics_assets.defs.previews import chart_per_day, preview
from analytics_assets.defs.progress import Progress, count
from analytics_assets.defs.resources import AnalyticsResource, Session
from analytics_assets.defs.schedules import SYNC, read_cron
from analytics_assets.defs.signs_of_life import tag_run
from analytics_assets.defs.specs import (
    GROUP,
    OP_NAME,
    OWNER,
    POOL,
    asset_key,
    code_reference,
    column_lineage,
    describe,
    docs_link,
    table_name,
    table_schema,
    tags,
    upstream_key,
)
from analytics_assets.warehouse.destination import DestinationError, destination_type
from analytics_assets.warehouse.pipeline import (
    appends,
    build_pipeline,
    count_rows,
    exclusive,
    has_rows,
    has_table,
    is_torn,
    last_load_id,
    left_out,
    load_options,
    loads_once,
    mark_deleted,
    pipeline_name,
    prepare_drop,
    rows_loaded,
)

with warnings.catch_warnings():
    # The package announces at import that it is deprecated; README, "Moving past Dagster 1.13.1".
    warnings.simplefilter("ignore", DeprecationWarning)
    from dagster_embedded_elt.dlt import DagsterDltResource, DagsterDltTranslator, dlt_assets


HEAVY = 100_000_000
"""Bytes, about, of a resource's rows after which the collector of cycles is called before the next resource."""


class AnalyticsTranslator(DagsterDltTranslator):
    """Makes the asset of a dlt resource say what the catalogue knows of it."""

    def get_asset_spec(self, data: DltResourceTranslatorData) -> dg.AssetSpec:
        """The spec of one resource's asset."""
        resource = BY_NAME[data.resource.name]
        destination = destination_type()
        spec = super().get_asset_spec(data)
        return spec.replace_attributes(
            key=asset_key(resource.name),
            deps=[upstream_key(resource.name)],
            group_name=GROUP,
            description=describe(resource),
            kinds={"dlt", destination},
            owners=[OWNER],
            tags=tags(resource),
            freshness_policy=freshness_policy(resource, read_cron(SYNC)),
            metadata={
                "dagster/table_name": table_name(resource),
                "dagster/column_schema": table_schema(resource),
                "dagster/column_lineage": column_lineage(resource),
                "dagster/code_references": code_reference(resource),
                "dagster/storage_kind": destination,
                "docs": docs_link(),
            },
        )


def build_assets() -> dg.AssetsDefinition:
    """The definition of the eight assets. Needs no credentials and makes no request."""

    @dlt_assets(
        dlt_source=source_shape(),
        # A real pipeline would create its working directory at once; each run has its own.
        dlt_pipeline=None,  # type: ignore[arg-type]
        name=OP_NAME,
        dagster_dlt_translator=AnalyticsTranslator(),
        pool=POOL,
    )
    def analytics_api(
        context: dg.AssetExecutionContext, config: SyncConfig, analytics: AnalyticsResource
    ) -> Iterator[dg.MaterializeResult[Any]]:
        first_lines_only()
        names = {key.path[-1] for key in context.selected_asset_keys}
        selected = in_turn(resource for resource in RESOURCES if resource.name in names)
        failures: dict[str, str] = {}
        permanent = True
        try:
            # First, as the values of a wrong window are shown.
            analytics.check_run_config()
            reading = config.reading()
            with ExitStack() as stack:
                session = stack.enter_context(analytics.session(context.log.warning, **config.overrides()))
                patience, say = analytics.busy_timeout, context.log.warning
                stack.enter_context(exclusive(session.destination, session.working_dir, selected, patience, say))
                stack.enter_context(seldom_collected())
                listings = open_listings(session.settings, selected)
                for listing in listings.values():
                    listing.start_ahead()
                    stack.callback(listing.stop)
                progress = Progress(listings, context.log.info)
                for resource in selected:
                    progress.begin(resource.name)
                    try:
                        result = sync(context, listings[resource.name], session, reading, config.mode)
                    except Exception as error:  # noqa: BLE001 - a resource costs only itself, whatever happens to it
                        secrets = (*listings[resource.name].secrets(), *session.secrets)
                        failures[resource.name] = explain(error, secrets)
                        permanent = permanent and is_permanent(error)
                        context.log.error(f"{resource.name} failed: {failures[resource.name]}")
                        progress.end(resource.name)
                    else:
                        progress.end(resource.name, result.metadata)
                        yield result
                    if resource.name in failures or listings[resource.name].report.weight > HEAVY:
                        # What it had read is tied to its error, or to dlt's pipes, in circles.
                        gc.collect()
                context.log.info(f"What this run did:\n{progress.summary()}")
        except (SettingsError, RunConfigError, DestinationError) as error:
            if not isinstance(error, DestinationError):
                tag_run(context.instance, context.run.run_id, NO_RUN_RETRY)
            # Not chained: the cause is in the message, and its own text may quote more than is meant to be seen.
            raise dg.Failure(redact(str(error), analytics.secrets())) from None
        if failures:
            if permanent:
                tag_run(context.instance, context.run.run_id, NO_RUN_RETRY)
            raise dg.Failure(_summary(failures, len(selected)), metadata=failures)

    return analytics_api


def sync(
    context: dg.AssetExecutionContext, listing: Listing, session: Session, reading: Reading, mode: Mode
) -> dg.MaterializeResult[Any]:
    """Loads one resource and says what happened.

    Raises:
        ShrunkListingError: The listing is loaded, but too much of the table was not in it; nothing is marked.
        Exception: Whatever dlt, the API or the destination raises; nothing of the resource has been written then, or
            of a sliced listing the slices before.
    """
    from analytics_assets.warehouse.parquet import write_parquet  # noqa: PLC0415 - definitions need no Arrow

    started = time.monotonic()
    resource, report = listing.resource, listing.report
    with session.client as client:
        known = has_rows(client, resource)
        torn = known and is_torn(client, resource)
        into_empty = mode is Mode.rebuild or not known
        gap = None if into_empty or not listing.is_sliced else left_out(client, resource)
        if into_empty:
            prepare_drop(client)
    if torn and not reading.is_window and not listing.is_sliced:
        # The digests in the state are those of older rows, and would keep a row out that is again as it was then.
        context.log.info(
            f"{resource.name}: the last load died before it was complete, so that everything is read again"
        )
        reading = Reading(everything=True)
    options = load_options(session.target.type)
    loaded = 0
    for part in slices(listing, reading, gap):
        source = read_listings([listing], name=pipeline_name(resource), reading=part)
        once, may_append = loads_once(session.target.type), appends(session.target.type, into_empty=into_empty)
        write_parquet(source, resource, session.working_dir, once=once, may_append=may_append)
        pipeline = build_pipeline(resource, session.destination, session.working_dir)
        # Also where a table was dropped or emptied by hand, or by a rebuild that was killed: its cursor, which is older
        # than that, would make dlt leave the old rows out for ever.
        refresh = "drop_resources" if into_empty else None
        [result] = DagsterDltResource().run(
            context=context, dlt_source=source, dlt_pipeline=pipeline, refresh=refresh, **options
        )
        into_empty = False
        loaded += rows_loaded(pipeline, resource)
    complete = resource.cursor is None or reading.everything
    secrets = [*listing.secrets(), *session.secrets]
    total = deleted = 0
    shown: dict[str, str] = {}
    with session.client as client:
        if loaded or has_table(client, resource):
            if complete and not resource.append_only:
                settings = session.settings
                deleted = mark_deleted(
                    client, resource, last_load_id(pipeline), settings.start, settings.max_deleted_share
                )
            total = count_rows(client, resource)
            shown = _excerpts(context, client, resource, secrets)
    seconds = time.monotonic() - started
    undeclared = undeclared_columns(pipeline.default_schema.tables.get(resource.name, {}).get("columns", {}), resource)
    metadata: dict[str, dg.RawMetadataValue] = {
        "dagster/row_count": total,
        "dagster/table_name": table_name(resource),
        "dagster/column_schema": table_schema(resource),
        "dagster/column_lineage": column_lineage(resource),
        "rows_loaded": loaded,
        "rows_read": report.rows_read,
        "rows_unchanged": report.rows_unchanged,
        "rows_without_cursor": report.rows_without_cursor,
        "rows_in_future": report.rows_in_future,
        "rows_marked_deleted": deleted,
        "values_rescued": report.values_rescued,
        "requests": report.requests,
        "retries": report.retries,
        "seconds_waited": round(report.seconds_waited, 3),
        "bytes": report.body_bytes,
        "seconds": round(seconds, 3),
        "rows_per_second": round(report.rows_read / seconds, 1),
        UNDECLARED: {
            redact(field, secrets)[:LONGEST_FIELD]: redact(name, secrets) for field, name in undeclared.items()
        },
        "reads": _reads(listing, complete=complete),
        "destination": str(session.target.duckdb_path or session.target.type),
    }
    for name, moment in (("cursor_before", report.cursor_before), ("cursor_after", report.cursor_after)):
        if moment is not None:
            metadata[name] = dg.MetadataValue.timestamp(moment)
    for name, text in shown.items():
        metadata[name] = dg.MetadataValue.md(text)
    requests = "1 request" if report.requests == 1 else f"{report.requests} requests"
    context.log.info(f"{resource.name}: {loaded} rows loaded, {report.rows_read} read in {requests}")
    if report.values_rescued:
        context.log.warning(
            f"{resource.name}: {count(report.values_rescued, 'value')} not fitting the column: see {RESCUED}, and"
            " the check values_fit, which names them."
        )
    # dlt's own metadata is left out: it names files that are gone, and its column schema loses names (dagster#34052).
    return dg.MaterializeResult(asset_key=result.asset_key, metadata=metadata)


def _excerpts(
    context: dg.AssetExecutionContext, client: SqlJobClientBase, resource: Resource, secrets: list[str | None]
) -> dict[str, str]:
    shown = {}
    try:
        shown["preview"] = preview(client, resource, secrets)
        if resource.append_only and resource.cursor:
            shown[f"{resource.name}_per_day"] = chart_per_day(client, resource, resource.cursor)
    except DatabaseException as error:
        # The rows are in the table, and the next load can do without reading them.
        if not is_out_of_memory(error):
            raise
        context.log.warning(f"{resource.name}: loaded, and too large to be shown. {explain(error, tuple(secrets))}")
    return shown


def _reads(listing: Listing, *, complete: bool) -> str:
    if complete:
        return "everything"
    by_the_api = listing.endpoint.since_param is not None or listing.endpoint.newest_first
    return "what is new" if by_the_api else "reads everything, loads what is new"


def _summary(failures: dict[str, str], selected: int) -> str:
    if len(failures) < selected:
        first = f"{len(failures)} of {selected} resources failed; the others are loaded."
    else:
        first = f"All {selected} resources failed." if selected > 1 else "The only selected resource failed."
    return "\n".join([first, *list_reasons(failures)])
