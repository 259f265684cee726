"""When Dagster evaluates checks and refreshes reports by itself."""

from typing import Any

import dagster as dg


def after_inputs() -> Any:  # noqa: ANN401 - Dagster exports no name for a condition of assets and of checks alike
    """The condition to run after all inputs of a check or report exist, one was updated, and none is in progress.

    `AutomationCondition.eager()` would not do. It leaves an asset to the run that updated the input if that run was to
    refresh the asset as well. But a failed resource skips the steps that follow, so checks and reports would wait for a
    run without any failure.
    """
    updated = dg.AutomationCondition.any_deps_match(dg.AutomationCondition.newly_updated())
    return (
        updated.since_last_handled()
        & ~dg.AutomationCondition.any_deps_missing()
        & ~dg.AutomationCondition.any_deps_in_progress()
        & ~dg.AutomationCondition.in_progress()
    ).with_label("after its inputs")
