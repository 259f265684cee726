"""What the shipped catalog has to be, whatever it lists; `test_the_eight.py` has what it lists."""

import pytest

from analytics_assets.api.catalog import Resource
from analytics_assets.api.connector import SHIPPED


@pytest.mark.parametrize("resource", SHIPPED.resources, ids=lambda resource: resource.name)
def test_columns_are_described(resource: Resource) -> None:
    assert all(column.description for column in resource.columns)
