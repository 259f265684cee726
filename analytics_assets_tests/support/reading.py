"""A resource of the configured API as dlt reads it, without a load."""

from typing import Any

import pytest
from dlt.extract.exceptions import ResourceExtractionError
from dlt.extract.resource import DltResource

from analytics_assets.api.listing import open_listings
from analytics_assets.api.settings_reader import read_settings
from analytics_assets.api.source import read_listing
from analytics_assets_tests.support.eight import BY_NAME, EIGHT


def read_resource(name: str) -> DltResource:
    """Yields tables, the last of which is the mark of the end."""
    [listing] = open_listings(read_settings(EIGHT), [BY_NAME[name]]).values()
    return read_listing(listing).resources[name]


def read_ids(name: str) -> list[Any]:
    """The ids that a source reads, in the order of the pages."""
    return [key for table in read_resource(name) for key in table["id"].to_pylist()]


def refusal(name: str) -> str:
    """What is said of a resource that cannot be read."""
    with pytest.raises(ResourceExtractionError) as caught:
        read_ids(name)
    return str(caught.value)
