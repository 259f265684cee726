"""All hosts have to be configured alike: a run compares its own host with the one whose code location launched it.

What is configured stands in a tag of the op. Dagster stores it with the job when a run is launched, and the host that
does the run has loaded definitions of its own.
"""

import json
from collections.abc import Mapping
from socket import gethostname

import dagster as dg

from analytics_assets.defs.assets.resource import AnalyticsResource
from analytics_assets.defs.assets.run_facts import find_configured
from analytics_assets.defs.names import Names


def configured_tag(names: Names, resource: AnalyticsResource) -> dict[str, str]:
    """The tag of an op that syncs. It has no secrets, and what it shows the assets' pages show, too."""
    return {names.configured: json.dumps(find_configured(names, resource))}


def check_configuration(names: Names, context: dg.OpExecutionContext) -> None:
    """Compares the configuration of this host with that of the host whose code location launched the run.

    On one host nothing is compared: a file that has changed since the code location was loaded counts from the next
    run.

    Raises:
        Failure: They differ. The message names the keys.
    """
    instance, snapshot_id = context.instance, context.run.job_snapshot_id
    if snapshot_id is None or isinstance(instance.run_launcher, dg.DefaultRunLauncher):
        return
    launched = instance.get_job_snapshot(snapshot_id).node_defs_snapshot.op_def_snaps
    # Without such a step, the code location has been loaded anew since, with another `split`.
    there = next((_configured(names, op.tags) for op in launched if op.name == context.op_def.name), {})
    here = _configured(names, context.op_def.tags)
    differ = [
        f"{key} is {here.get(key, 'not set')} here and {there.get(key, 'not set')} there"
        for key in sorted(here.keys() | there.keys())
        if here.get(key) != there.get(key)
    ]
    if differ:
        raise dg.Failure(
            f"The host {gethostname()} is configured otherwise than the code location that launched this run:"
            f" {'; '.join(differ)}. Nothing was read or loaded. Give both the same .dlt and the same variables. If the"
            " code location was loaded before its own .dlt was changed, reload it."
        )


def _configured(names: Names, tags: Mapping[str, str]) -> dict[str, str]:
    found: dict[str, str] = json.loads(tags.get(names.configured, "{}"))
    return found
