"""The connector that the tests use: the eight resources as specified, in both dialects, whatever the project ships."""

from collections.abc import Sequence
from dataclasses import replace

import dagster as dg

from analytics_assets.api.catalog import Resource
from analytics_assets.definitions import build_definitions
from analytics_assets.defs.execution import read_executor
from analytics_assets.defs.names import Names, name_all
from analytics_assets.defs.reports.assets import Report
from analytics_assets_tests.support import specification
from analytics_assets_tests.support.reports import REPORTS

EIGHT = specification.EIGHT
RESOURCES = EIGHT.resources
BY_NAME = EIGHT.by_name
DIALECTS = EIGHT.dialects_by_name
NAMES = name_all(EIGHT)
asset_key = NAMES.asset_key
upstream_key = NAMES.upstream_key


def defs(names: Names = NAMES, reports: Sequence[Report] = REPORTS) -> dg.Definitions:
    """The definitions of the connector, as a code location of its own has them."""
    executor = dg.Definitions(executor=read_executor())
    return dg.Definitions.merge(build_definitions(names, reports=reports), executor)


def with_changed(*changed: Resource) -> Names:
    """The connector with other entries in place of those of the same name."""
    by_name = {resource.name: resource for resource in changed}
    resources = tuple(by_name.get(resource.name, resource) for resource in RESOURCES)
    return name_all(replace(EIGHT, resources=resources))
