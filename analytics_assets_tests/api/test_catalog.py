"""What the shipped catalog has to be, whatever it lists; `test_the_eight.py` has what it lists."""

import pytest

from analytics_assets.api.catalog import Resource
from analytics_assets.api.connector import SHIPPED


def test_every_dialect_has_every_resource() -> None:
    names = set(SHIPPED.by_name)
    found = {dialect.name: set(dialect.endpoints) for dialect in SHIPPED.dialects}
    assert found == dict.fromkeys(SHIPPED.dialects_by_name, names)


@pytest.mark.parametrize("resource", SHIPPED.resources, ids=lambda resource: resource.name)
def test_columns_are_described_and_fit_the_cursor(resource: Resource) -> None:
    columns = {column.name: column for column in resource.columns}
    assert len(columns) == len(resource.columns)
    assert all(column.description for column in resource.columns)
    assert not columns["id"].nullable
    if resource.cursor:
        assert columns[resource.cursor].type == "timestamp"
