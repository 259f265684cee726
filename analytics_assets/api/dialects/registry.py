"""All dialects, by name."""

from collections.abc import Callable

from analytics_assets.api.catalog import RESOURCES
from analytics_assets.api.dialects.analytics import ANALYTICS
from analytics_assets.api.dialects.base import Endpoint
from analytics_assets.api.dialects.ninjaone import NINJAONE
from analytics_assets.api.mistakes import check_catalog

DIALECTS = {dialect.name: dialect for dialect in (ANALYTICS, NINJAONE)}


def suggest_dialect(resource_name: str, fits: Callable[[Endpoint], bool]) -> str:
    """Returns advice for an error message: the dialects whose endpoint of a resource `fits` what the API does.

    The text begins with a space; it is empty if no dialect fits.
    """
    names = [
        dialect.name
        for dialect in DIALECTS.values()
        if (endpoint := dialect.endpoints.get(resource_name)) and fits(endpoint)
    ]
    choices = " or ".join(f'"{name}"' for name in names)
    return f" This looks like another dialect: set sources.analytics.dialect = {choices}." if names else ""


check_catalog(RESOURCES, DIALECTS.values())
