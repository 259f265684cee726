"""When checks and reports are brought up to date by themselves."""

from typing import Any

import dagster as dg


def after_inputs() -> Any:  # noqa: ANN401 - Dagster exports no name for a condition of assets and of checks alike
    """Once the assets that it looks at have been updated, and none of them is still being loaded.

    Unlike `AutomationCondition.eager()`, also if the run that updated them was to do it, too, but failed before: a
    resource that fails skips the steps that follow, and they would wait for a run without any failure.
    """
    updated = dg.AutomationCondition.any_deps_match(dg.AutomationCondition.newly_updated())
    return (
        updated.since_last_handled()
        & ~dg.AutomationCondition.any_deps_missing()
        & ~dg.AutomationCondition.any_deps_in_progress()
        & ~dg.AutomationCondition.in_progress()
    ).with_label("after its inputs")
