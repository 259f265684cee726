"""What `dagster dev` loads: the code location `analytics_assets`. `build_definitions` is for other projects, too."""

from collections.abc import Sequence
from itertools import chain

import dagster as dg

from analytics_assets.api.mistakes import check_catalog
from analytics_assets.defs.assets.assets import build_assets
from analytics_assets.defs.assets.resource import AnalyticsResource
from analytics_assets.defs.assets.specs import upstream_specs
from analytics_assets.defs.automation.alerts import build_alert_sensor
from analytics_assets.defs.automation.health import build_health
from analytics_assets.defs.automation.purge import Scope, build_purge_job, build_purge_schedule
from analytics_assets.defs.automation.schedules import build_jobs, build_schedules, read_crons
from analytics_assets.defs.automation.signs_of_life import build_watch
from analytics_assets.defs.automation.watched import watched_of
from analytics_assets.defs.names import Names, find_name_mistakes, name_all
from analytics_assets.defs.quality.checks import build_checks
from analytics_assets.defs.quality.connection_check import build_check_job
from analytics_assets.defs.reports.assets import REPORTS, Report, build_reports, find_report_mistakes
from analytics_assets.project import use_project_config

NAMES = name_all()
"""The shipped connector and its names."""

# A mistake in the catalog is said as soon as anything loads it, with all the others.
check_catalog(NAMES.connector, find_report_mistakes(NAMES.connector, REPORTS))


@dg.definitions
def defs() -> dg.Definitions:
    """All that the project shows in Dagster. Building it reads `.dlt` and the environment, nothing else."""
    use_project_config()
    # Runs that are launched from assets, not from a job, have the location's executor.
    executor = dg.Definitions(executor=dg.in_process_executor)
    return dg.Definitions.merge(build_definitions(NAMES, reports=REPORTS), executor)


def build_definitions(
    names: Names,
    *,
    resource: AnalyticsResource | None = None,
    sync_cron: str | None = None,
    reconcile_cron: str | None = None,
    reports: Sequence[Report] = (),
) -> dg.Definitions:
    """Returns the definitions of a connector, to be merged with others (`dg.Definitions.merge`).

    They have no executor and set nothing for the process. dlt reads its configuration where the host's dlt reads it.

    Args:
        names: The connector and its names, as `name_all` returns them.
        resource: The Dagster resource; by default one that takes every value from dlt's configuration.
        sync_cron: Cron of the sync, from which freshness policies follow; by default the configured one, or hourly.
        reconcile_cron: Cron of the reconcile; by default the configured one, or weekly.
        reports: Tables to be made of the resources' tables by SQL.

    Raises:
        CatalogError: The connector, a name or a report has mistakes. The message lists all of them.
        ScheduleConfigError: A cron or the time zone is not valid.
    """
    check_catalog(names.connector, chain(find_report_mistakes(names.connector, reports), find_name_mistakes(names)))
    crons = read_crons(names, sync_cron, reconcile_cron)
    resource = resource or AnalyticsResource()
    assets = [build_assets(names, crons.sync, resource), *build_reports(names, reports)]
    checks = build_checks(names, crons.sync)
    jobs = [*build_jobs(names), build_check_job(names)]
    watched = {names.derived("purge"), *(job.name for job in jobs)}, {key for each in assets for key in each.keys}
    upstream = {spec.key for spec in upstream_specs(names)}
    scope = Scope(*watched, observed=upstream, checks={key for each in [*assets, checks] for key in each.check_keys})
    own = dg.Definitions(
        assets=[*upstream_specs(names), *assets],
        asset_checks=[checks],
        jobs=[*jobs, build_purge_job(names, scope)],
        schedules=[*build_schedules(names, crons), build_purge_schedule(names)],
        sensors=[build_alert_sensor(names, *watched), build_watch(names, *watched)],
        resources={names.resource_key: resource},
    )
    return dg.Definitions.merge(own, dg.Definitions(sensors=[build_health(names, watched_of(own))]))
