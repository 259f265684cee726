"""The names that Dagster shows for a connector, and under which a host finds its definitions."""

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import wraps
from keyword import iskeyword
from typing import Any

import dagster as dg

from analytics_assets.api.catalog import Resource
from analytics_assets.api.connector import SHIPPED, Connector
from analytics_assets.warehouse.target import reports_schema

TAKEN = ("config", "context", "io_manager")
"""Names of parameters and resources that have a meaning of their own in Dagster."""


@dataclass(frozen=True, eq=False)
class Names:
    """A connector and its names in Dagster. What follows from the connector's name is derived."""

    connector: Connector
    prefix: tuple[str, ...]
    """Asset keys are `[*prefix, resource]`."""
    upstream_prefix: tuple[str, ...]
    """Keys of the external assets that stand for the endpoints are `[*upstream_prefix, resource]`."""
    group: str
    """Asset group of the resources' assets."""
    owner: str
    """Owner of all assets: `team:...` or an email address."""
    resource_key: str
    """Key of the Dagster resource, in the definitions and in run config."""
    pool: str
    """Concurrency pool of all steps that open the warehouse. `dagster.yaml` limits it to one run at a time."""
    split: bool = False
    """Whether each resource is a step of its own."""

    def op(self, resource_name: str) -> str:
        """The op that syncs a resource; run config is given by this name. Without `split` there is one for all."""
        return f"{self.connector.name}_api_{resource_name}" if self.split else f"{self.connector.name}_api"

    def run_config(self, **config: Any) -> dict[str, Any]:  # noqa: ANN401 - what SyncConfig has, which differs in type
        """Run config that gives each op that syncs these fields of `SyncConfig`."""
        ops = {self.op(resource.name) for resource in self.connector.resources}
        return {"ops": {op: {"config": dict(config)} for op in sorted(ops)}}

    @property
    def window_op(self) -> str:
        """The op that loads a partition of a backfill."""
        return self.derived("window")

    @property
    def sync(self) -> str:
        """The job, and its schedule, that syncs all resources incrementally."""
        return f"{self.connector.name}_sync"

    @property
    def reconcile(self) -> str:
        """The job, and its schedule, that reads all resources in full."""
        return f"{self.connector.name}_reconcile"

    @property
    def reports(self) -> str:
        """Schema of the reports' tables, and beginning of their asset keys."""
        return reports_schema(self.connector)

    @property
    def configured(self) -> str:
        """Key of the op's tag that says what is configured where the code location is loaded."""
        return f"{self.connector.name}/configured"

    @property
    def upstream_group(self) -> str:
        """Asset group of the endpoints."""
        return "api" if self.connector.name == SHIPPED.name else self.derived("upstream")

    def derived(self, suffix: str) -> str:
        """The name of a job, an op, a sensor or a group of this connector, such as `analytics_check`."""
        return f"{self.connector.name}_{suffix}"

    def asset_key(self, resource_name: str) -> dg.AssetKey:
        """The key of a resource's asset."""
        return dg.AssetKey([*self.prefix, resource_name])

    def asset_keys(self) -> list[dg.AssetKey]:
        """The keys of all resources' assets."""
        return [self.asset_key(resource.name) for resource in self.connector.resources]

    def upstream_key(self, resource_name: str) -> dg.AssetKey:
        """The key of the external asset that stands for a resource's endpoint."""
        return dg.AssetKey([*self.upstream_prefix, resource_name])

    def report_key(self, report_name: str) -> dg.AssetKey:
        """The key of a report's asset."""
        return dg.AssetKey([self.reports, report_name])

    def table(self, resource: Resource) -> str:
        """The resource's table with its dataset, such as `analytics.roles`."""
        return f"{self.connector.dataset}.{resource.name}"


def name_all(  # noqa: PLR0913 - what a host may want to name otherwise
    connector: Connector = SHIPPED,
    *,
    prefix: tuple[str, ...] = (),
    upstream_prefix: tuple[str, ...] = (),
    group: str | None = None,
    owner: str | None = None,
    resource_key: str | None = None,
    pool: str | None = None,
) -> Names:
    """The names of a connector: those that are given, and defaults that follow from its own name."""
    name = connector.name
    return Names(
        connector=connector,
        prefix=prefix or (name,),
        upstream_prefix=upstream_prefix or (("api",) if name == SHIPPED.name else ("api", name)),
        group=group or f"{name}_api",
        owner=owner or "team:data-platform",
        resource_key=resource_key or name,
        # One pool for all connectors: they may load into one DuckDB file, which has one writer at a time.
        pool=pool or "analytics_warehouse",
    )


def find_name_mistakes(names: Names) -> Iterator[str]:
    """Yields which names Dagster would refuse, with errors that do not say where they come from."""
    key = names.resource_key
    if not key.isidentifier() or iskeyword(key) or key in TAKEN:
        yield (
            f"resource_key {key!r:.60}: functions have a parameter of this name, so it has to be a word in snake case,"
            f" no keyword of Python, and none of {', '.join(TAKEN)}. By default it is the name of the connector"
        )
    for field, value, accepted in (
        ("owner", {"owners": [names.owner]}, "an email address, or a team such as team:sales"),
        ("group", {"group_name": names.group}, "a word of letters, digits and underscores"),
    ):
        try:
            dg.AssetSpec("any", **value)
        except dg.DagsterInvalidDefinitionError:
            yield f"{field} {getattr(names, field)!r:.60} is not accepted by Dagster: it has to be {accepted}"


def given_resource(names: Names) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Renames the parameter `analytics` of a function to the resource key.

    Dagster gives a function the resource whose key is the name of the parameter.
    """

    def rename(function: Callable[..., Any]) -> Callable[..., Any]:
        if names.resource_key == "analytics":
            return function

        @wraps(function)
        def renamed(*args: Any, **given: Any) -> Any:  # noqa: ANN401 - as the function has it
            return function(*args, analytics=given.pop(names.resource_key), **given)

        signature = inspect.signature(function)
        parameters = [
            each.replace(name=names.resource_key) if each.name == "analytics" else each
            for each in signature.parameters.values()
        ]
        renamed.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined] # of every function
        renamed.__annotations__ = {each.name: each.annotation for each in parameters}
        return renamed

    return rename
