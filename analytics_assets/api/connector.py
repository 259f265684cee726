"""A connector: an API as data, and the names under which it is configured and loaded.

Everything that reads an API is given a connector, so one process can have several: one for each API, or for each
tenant of an API.
"""

import re
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from analytics_assets.api.catalog import DOCS_URL, RESOURCES, Resource
from analytics_assets.api.declared_types import wrong_types
from analytics_assets.api.dialects.analytics import ANALYTICS
from analytics_assets.api.dialects.base import Dialect, Endpoint
from analytics_assets.api.dialects.ninjaone import NINJAONE
from analytics_assets.api.values.columns import LONGEST_NAME, column_name


@dataclass(frozen=True, eq=False)
class Connector:
    """An API as data: what it offers, how it is spoken to, and where its settings and its tables are."""

    name: str
    """Begins the names of pipelines, jobs and ops. It is a word in snake case."""
    resources: Sequence[Resource]
    """What the API offers."""
    dialects: Sequence[Dialect]
    """Its wire formats, of which the setting `dialect` selects one. The first is the default."""
    docs_url: str | None = None
    """Documentation of the API, to which assets link."""
    config_section: str | None = None
    """Section of dlt's configuration that holds the settings, such as `sources.crm`; by default `sources.<name>`."""
    dataset_name: str | None = None
    """Schema of the tables; by default the name."""
    left_out: frozenset[str] = frozenset()
    """Names of further resources that the API has and another connector may load. Their tables are no leftovers."""

    @property
    def section(self) -> tuple[str, ...]:
        """Section of dlt's configuration, in its parts."""
        return tuple((self.config_section or f"sources.{self.name}").split("."))

    @property
    def dataset(self) -> str:
        """Schema of the tables."""
        return self.dataset_name or self.name

    @cached_property
    def by_name(self) -> dict[str, Resource]:
        """The resources by name."""
        return {resource.name: resource for resource in self.resources}

    @cached_property
    def dialects_by_name(self) -> dict[str, Dialect]:
        """The dialects by name."""
        return {dialect.name: dialect for dialect in self.dialects}

    def mistakes(self) -> Iterator[str]:
        """Yields what is wrong in the connector itself. What is in resources and dialects, `mistakes.py` says."""
        entries = ("resources", "dialects")
        is_named = isinstance(self.name, str)
        place = f"connector {self.name}" if is_named else "connector"
        yield from (f"{place}: {mistake}" for mistake in wrong_types(self) if not mistake.startswith(entries))
        yield from (f"{place}: it has no {name}" for name in entries if getattr(self, name) in ((), []))
        if is_named and not (re.fullmatch("[a-z][a-z0-9_]*", self.name) and column_name(self.name) == self.name):
            yield f"connector {self.name!r:.60}: its name is no word in snake case, such as crm or crm_eu"
        for resource in self.resources if isinstance(self.resources, tuple | list) else ():
            length = len(self.pipeline_name(resource)) if isinstance(resource, Resource) else 0
            if length > LONGEST_NAME:
                yield (
                    f"{place}: with the resource {resource.name} it makes a name of {length} characters, and dlt's"
                    f" schemas have {LONGEST_NAME} at most: shorten one of the two"
                )

    def only(self, names: Collection[str]) -> "Connector":
        """Returns the connector with these resources alone. A column that references another one references none.

        Raises:
            ValueError: A name is not that of a resource, or the resource's parent is not among the names.
        """
        if unknown := set(names) - self.by_name.keys():
            raise ValueError(
                f"{self.name} has no resource {', '.join(sorted(unknown))}. It has {', '.join(sorted(self.by_name))}."
            )
        if self.by_name.keys() <= set(names):
            return self
        for dialect in self.dialects:
            for name in names:
                parent = dialect.endpoints[name].parent
                if parent and parent.resource not in names:
                    raise ValueError(f"{name} is listed {parent}: add {parent.resource!r} to resources.")
        return replace(
            self,
            resources=tuple(_refer_to(resource, names) for resource in self.resources if resource.name in names),
            left_out=self.left_out | self.by_name.keys() - set(names),
            dialects=tuple(
                replace(dialect, endpoints={name: dialect.endpoints[name] for name in self.by_name if name in names})
                for dialect in self.dialects
            ),
        )

    def setting(self, key: str) -> str:
        """Where a setting stands in dlt's configuration, such as `sources.analytics.page_size`."""
        return ".".join((*self.section, key))

    def pipeline_name(self, resource: Resource) -> str:
        """Name of the pipeline, the source and the schema of a resource.

        Each resource has a pipeline of its own, because dlt keeps all cursors of a pipeline in one document: two
        concurrent runs of different resources would overwrite each other's cursor.
        """
        return f"{self.name}_{resource.name}"

    def suggest_dialect(self, resource_name: str, fits: Callable[[Endpoint], bool]) -> str:
        """Returns advice for an error message: the dialects whose endpoint of a resource `fits` what the API does.

        The text begins with a space; it is empty if no dialect fits.
        """
        names = [
            dialect.name
            for dialect in self.dialects
            if (endpoint := dialect.endpoints.get(resource_name)) and fits(endpoint)
        ]
        choices = " or ".join(f'"{name}"' for name in names)
        return f" This looks like another dialect: set {self.setting('dialect')} = {choices}." if names else ""


def _refer_to(resource: Resource, names: Collection[str]) -> Resource:
    """The resource without references to others than these."""
    if all(column.references in {None, *names} for column in resource.columns):
        return resource
    return replace(
        resource,
        columns=tuple(
            column if column.references in names else replace(column, references=None) for column in resource.columns
        ),
    )


SHIPPED = Connector("analytics", RESOURCES, (ANALYTICS, NINJAONE), DOCS_URL)
"""The connector of this project: the eight resources of `api/catalog.py`."""
