"""What `dagster dev` loads: the code location `analytics_assets`. `build_definitions` is for other projects, too."""

import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import chain
from pathlib import Path

import dagster as dg
import dlt

from analytics_assets import own
from analytics_assets.api.configured import configure
from analytics_assets.api.connector import SHIPPED
from analytics_assets.api.misspelled import refuse_alike
from analytics_assets.api.mistakes import check_catalog
from analytics_assets.defs.assets.assets import build_assets
from analytics_assets.defs.assets.one_configuration import configured_tag
from analytics_assets.defs.assets.resource import AnalyticsResource
from analytics_assets.defs.assets.specs import upstream_specs
from analytics_assets.defs.assets.step import build_syncs
from analytics_assets.defs.automation.alerts import build_alert_sensor
from analytics_assets.defs.automation.backfill import build_backfill
from analytics_assets.defs.automation.crons import OF_RESOURCES, check_names, read_crons
from analytics_assets.defs.automation.health import build_health
from analytics_assets.defs.automation.purge import Scope, build_purge_job, build_purge_schedule
from analytics_assets.defs.automation.schedules import build_jobs, build_schedules
from analytics_assets.defs.automation.signs_of_life import build_watch
from analytics_assets.defs.automation.watched import watched_of
from analytics_assets.defs.execution import read_executor, read_split
from analytics_assets.defs.names import Names, find_name_mistakes, name_all
from analytics_assets.defs.quality.checks import build_checks, find_checks
from analytics_assets.defs.quality.connection_check import build_check_job
from analytics_assets.defs.reports.assets import REPORTS, Report, build_reports, find_report_mistakes
from analytics_assets.garbage import rarely_collected
from analytics_assets.project import use_project_config

SECTIONS = {
    "alerts": ("heartbeat_url", "ui_url", "webhook_url"),
    "execution": ("config", "executor", "split"),
    "history": ("keep_days",),
    "schedules": (OF_RESOURCES, "timezone"),
}
"""Keys of the sections beside that of the connector. The names of schedules are others for each connector."""

# A mistake in the catalog is said as soon as anything loads it, with all the others.
check_catalog(SHIPPED, find_report_mistakes(SHIPPED, REPORTS))


def project_names() -> Names:
    """The shipped connector as it is configured, and its names. Reads `.dlt` and the environment, nothing else.

    Raises:
        SettingsError: A setting names something that the catalog does not have, or does not fit it.
    """
    use_project_config()
    return replace(name_all(configure(SHIPPED)), split=read_split())


@dg.definitions
def defs() -> dg.Definitions:
    """All that the project shows in Dagster, and what is added in `own/`.

    Building the project's own part reads `.dlt` and the environment, nothing else.
    """
    use_project_config()
    # Dagster's command line asks six times in a process. dlt has other providers once it has read its files again.
    return dg.Definitions.merge(_shipped(frozenset(os.environ.items()), *dlt.config.config_providers), *_own())


@lru_cache(maxsize=1)
def _shipped(*_: object) -> dg.Definitions:
    """The project's own part. It is built once for what is configured."""
    with rarely_collected():
        names = project_names()
        check_names(names)
        for section, keys in SECTIONS.items():
            refuse_alike([section], keys)
        # Runs that are launched from assets, not from a job, have the location's executor.
        executor = dg.Definitions(executor=read_executor())
        return dg.Definitions.merge(build_definitions(names, reports=REPORTS), executor)


def _own() -> list[dg.Definitions]:
    """What somebody has added in `own/`. Nothing is loaded while that has nothing to load."""
    directory = Path(own.__file__).parent
    if not {path.name for path in directory.iterdir()} - {"__init__.py", "__pycache__"}:
        return []
    with warnings.catch_warnings():
        # Dagster's own loading of YAML and modules makes it warn of functions that may change.
        warnings.simplefilter("ignore", dg.BetaWarning)
        warnings.simplefilter("ignore", dg.PreviewWarning)
        return [dg.ComponentTree.from_module(own, directory.parents[1]).build_defs()]


def build_definitions(  # noqa: PLR0913 - what a host may want to set in code
    names: Names,
    *,
    resource: AnalyticsResource | None = None,
    sync_cron: str | None = None,
    reconcile_cron: str | None = None,
    resource_crons: Mapping[str, str] | None = None,
    reports: Sequence[Report] = (),
) -> dg.Definitions:
    """Returns the definitions of a connector, to be merged with others (`dg.Definitions.merge`).

    They set nothing for the process. Their jobs have the configured executor, and whatever else is launched from assets
    has that of the host. dlt reads its configuration where the host's dlt reads it.

    Args:
        names: The connector and its names, as `name_all` returns them.
        resource: The Dagster resource; by default one that takes every value from dlt's configuration.
        sync_cron: Cron of the sync, from which freshness policies follow; by default the configured one, or hourly.
        reconcile_cron: Cron of the reconcile; by default the configured one, or weekly.
        resource_crons: Crons of single resources, by name; by default the configured ones, or that of the sync.
        reports: Tables to be made of the resources' tables by SQL. One that reads a resource which is off is left out.

    Raises:
        CatalogError: The connector, a name or a report has mistakes. The message lists all of them.
        SettingsError: A setting names something that the connector does not have, or does not fit it.
        ScheduleConfigError: A cron or the time zone is not valid.
    """
    check_catalog(names.connector, chain(find_report_mistakes(names.connector, reports), find_name_mistakes(names)))
    names = replace(names, connector=configure(names.connector), split=read_split())
    reports = [report for report in reports if names.connector.left_out.isdisjoint(report.inputs)]
    crons = read_crons(names, sync_cron, reconcile_cron, resource_crons)
    resource = resource or AnalyticsResource()
    found = find_checks(names, crons)
    syncs, tags = build_syncs(names, found), configured_tag(names, resource)
    assets = [*build_assets(names, crons, resource, syncs, tags), *build_reports(names, reports)]
    checks = build_checks(names, found)
    backfill = build_backfill(names, resource, syncs, found, tags)
    jobs = [*build_jobs(names), build_check_job(names), *([backfill] if backfill else [])]
    watched = {names.derived("purge"), *(job.name for job in jobs)}, {key for each in assets for key in each.keys}
    retried = [job for job in jobs if job.name in (names.sync, names.derived("backfill"))]
    upstream = upstream_specs(names)
    observed = {spec.key for spec in upstream}
    scope = Scope(*watched, observed=observed, checks={key for each in [*assets, *checks] for key in each.check_keys})
    watchable = dg.Definitions(
        assets=[*upstream, *assets],
        asset_checks=checks,
        jobs=[*jobs, build_purge_job(names, scope)],
        schedules=[*build_schedules(names, crons), build_purge_schedule(names)],
        sensors=[build_alert_sensor(names, *watched), build_watch(names, *watched, retried)],
        resources={names.resource_key: resource},
    )
    return dg.Definitions.merge(watchable, dg.Definitions(sensors=[build_health(names, watched_of(watchable))]))
