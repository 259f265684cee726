"""How the steps of a run are executed: the executor, whether each resource is a step, and how many work at once."""

import importlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dagster as dg
import dlt
from dlt.common.configuration.exceptions import ConfigValueCannotBeCoercedException

from analytics_assets.api.settings import Settings, SettingsError
from analytics_assets.defs.names import Names

IN_THIS_PROCESS = "execute_in_process_executor"
"""Dagster's name of the executor of `materialize` and `execute_in_process`, whatever the job has."""

IN_PROCESS = "in_process"

EXECUTORS = {
    IN_PROCESS: ("dagster", "in_process_executor", ""),
    "multiprocess": ("dagster", "multiprocess_executor", ""),
    "celery": ("dagster_celery", "celery_executor", "celery"),
    "k8s": ("dagster_k8s", "k8s_job_executor", "kubernetes"),
    "dask": ("dagster_dask", "dask_executor", "dask"),
}
"""Module and name of the executors, and the extra of this project that installs the module."""

LONGEST_RUN = 86_400.0
"""Seconds that a step waits for a DuckDB file which other steps of its run load: `max_runtime_seconds` of a run."""


def read_split() -> bool:
    """Whether each resource is a step of its own: `split` in `[execution]` (`EXECUTION__SPLIT`).

    Raises:
        SettingsError: The value is neither true nor false.
    """
    value: object = dlt.config.get("execution.split")
    known = {"": False, "false": False, "true": True}
    if (text := str(value if value is not None else "").strip().lower()) in known:
        return known[text]
    raise _error("split", "is neither true nor false", value)


def read_executor() -> dg.ExecutorDefinition:
    """The executor of all jobs that sync or check: `executor` in `[execution]` (`EXECUTION__EXECUTOR`).

    What stands in `[execution.config]` is the executor's configuration, unless run config says otherwise.

    Raises:
        SettingsError: The executor is unknown, or its package is not installed.
    """
    name = _read_name()
    if name not in EXECUTORS:
        raise _error("executor", f"is unknown; known: {', '.join(EXECUTORS)}", name)
    module, attribute, extra = EXECUTORS[name]
    try:
        definition: dg.ExecutorDefinition = getattr(importlib.import_module(module), attribute)
    except ModuleNotFoundError as error:
        remedy = f"Install it: pip install 'analytics-assets[{extra}]'."
        raise _error("executor", f"needs a package that is missing: {error.name}", name, remedy) from error
    configured = _read_config()
    if not configured:
        return definition

    def with_run_config(given: Mapping[str, Any]) -> dict[str, Any]:
        return {**configured, **given}

    any_config: Any = dg.Permissive
    return definition.configured(with_run_config, config_schema=any_config())


def have_steps_to_wait() -> bool:
    """Whether steps may wait for a worker for long, as with Celery, Kubernetes and Dask."""
    return _read_name() not in {IN_PROCESS, "multiprocess"}


def _read_name() -> str:
    configured: Any = dlt.config.get("execution.executor")
    return str(configured or IN_PROCESS)


def _read_config() -> dict[str, Any]:
    try:
        # From the environment it comes as JSON.
        configured = dlt.config.get("execution.config", dict)
    except ConfigValueCannotBeCoercedException as error:
        raise _error("config", "is no table, nor a JSON object", error.field_value) from error
    return {} if configured is None else dict(configured)


def _error(key: str, problem: str, value: object, remedy: str | None = None) -> SettingsError:
    variable = f"EXECUTION__{key.upper()}"
    remedy = remedy or f"Correct it in [execution] of .dlt/config.toml, or as {variable} in the environment."
    return SettingsError(("execution",), key, problem, value, remedy)


def has_own_process(context: dg.OpExecutionContext | dg.AssetExecutionContext | dg.AssetCheckExecutionContext) -> bool:
    """Whether the steps of a run have processes of their own, so that several may be at work at once."""
    return context.job_def.executor_def.name not in {IN_PROCESS, IN_THIS_PROCESS}


def patience(
    names: Names,
    context: dg.OpExecutionContext | dg.AssetExecutionContext | dg.AssetCheckExecutionContext,
    shared_file: Path | None = None,
) -> float | None:
    """Seconds to wait for a DuckDB file; `None` for what is configured.

    Steps that have processes of their own wait for each other, as the file has one process at a time.

    Args:
        names: Names of the connector.
        context: Context of the step.
        shared_file: The file, if other steps of the run load into it at the same time. The log says what that means.
    """
    if not (names.split and has_own_process(context)):
        return None
    if shared_file:
        context.log.warning(
            f"The DuckDB file {shared_file} has one process at a time, so the steps of this run load one after the"
            " other. With DuckDB, executor = in_process in [execution] is faster."
        )
    return LONGEST_RUN


def register_pool(instance: dg.DagsterInstance, pool: str) -> None:
    """Gives a pool the default limit of the instance, if it has no limit yet.

    Dagster 1.13.1 does so when it looks at its queue for the first time, and launches all runs that it finds there
    before the limit counts.
    """
    storage = instance.event_log_storage
    if not storage.supports_global_concurrency_limits or instance.global_op_concurrency_default_limit is None:
        return
    if pool not in {each.name for each in storage.get_pool_limits()}:
        storage.initialize_concurrency_limit_to_default(pool)


def divide(names: Names, context: dg.OpExecutionContext, settings: Settings) -> None:
    """Tells the settings of a run how many workers divide the limits of the API, and the log what that means.

    A configured `workers` stays. Otherwise it is what Dagster lets run at once: runs by the limit of the pool, steps of
    this run by its executor.

    Args:
        names: Names of the connector.
        context: Context of the step.
        settings: The settings, whose `workers` is set.
    """
    settings.workers = workers = settings.workers or _most_at_once(names, context)
    if workers == 1:
        return
    rate = settings.requests_per_second
    shared = "" if rate is None else f", all of which share {rate:g} requests a second"
    if rate is not None and settings.rate_limit_url is None:
        shared = f", and {rate / workers:g} of {rate:g} requests a second"
    part, whole = max(1, settings.requests_in_flight // workers), settings.requests_in_flight
    context.log.info(f"Up to {workers} workers read the API at once. This one has {part} of {whole} in flight{shared}.")


def _most_at_once(names: Names, context: dg.OpExecutionContext) -> int:
    storage, pools = context.instance.event_log_storage, context.instance.get_concurrency_config().pool_config
    limit: int | None = None
    if storage.supports_global_concurrency_limits:
        limits = {each.name: each.limit for each in storage.get_pool_limits()}
        limit = limits.get(names.pool, pools.default_pool_limit)
    steps = _steps_at_once(names, context)
    if limit and (pools.pool_granularity is None or pools.pool_granularity.value == "op"):
        # The pool counts steps.
        return limit
    return (limit or 1) * steps


def _steps_at_once(names: Names, context: dg.OpExecutionContext) -> int:
    if not (names.split and has_own_process(context)):
        return 1
    selected = context.run.asset_selection
    steps = sum(selected is None or key in selected for key in names.asset_keys())
    run_config: Mapping[str, Any] = context.run.run_config
    given = run_config.get("execution", {}).get("config") or {}
    most: int | None = (_read_config() | given).get("max_concurrent")
    if not most and context.job_def.executor_def.name == "multiprocess":
        # As Dagster has it.
        most = os.cpu_count()
    return max(1, min(steps, most or steps))
