"""What `dagster dev` loads: the code location `analytics_assets`."""

import dagster as dg

from analytics_assets.defs.assets.assets import build_assets
from analytics_assets.defs.assets.resource import AnalyticsResource
from analytics_assets.defs.assets.specs import upstream_specs
from analytics_assets.defs.automation.alerts import build_alert_sensor
from analytics_assets.defs.automation.schedules import build_jobs, build_schedules
from analytics_assets.defs.automation.signs_of_life import build_watch
from analytics_assets.defs.quality.checks import build_checks
from analytics_assets.defs.quality.connection_check import build_check_job
from analytics_assets.defs.reports.assets import build_reports
from analytics_assets.project import use_project_config


@dg.definitions
def defs() -> dg.Definitions:
    """All assets, checks, jobs, schedules and sensors. Building them reads `.dlt` and the environment, nothing else."""
    use_project_config()
    assets = [build_assets(), *build_reports()]
    jobs = [*build_jobs(), build_check_job()]
    watch = build_watch({job.name for job in jobs}, {key for each in assets for key in each.keys})
    return dg.Definitions(
        assets=[*upstream_specs(), *assets],
        asset_checks=[build_checks()],
        jobs=jobs,
        schedules=build_schedules(),
        sensors=[build_alert_sensor(), watch],
        resources={"analytics": AnalyticsResource()},
        # The assets are one step. A process for each step would add seconds to every run and gain nothing.
        executor=dg.in_process_executor,
    )
