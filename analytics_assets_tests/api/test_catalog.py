"""The catalog against the specification, entry by entry."""

import pytest

from analytics_assets.api.catalog import Resource
from analytics_assets.api.dialects.analytics import ANALYTICS
from analytics_assets.api.dialects.base import ByOffset
from analytics_assets_tests.support.eight import RESOURCES

SPECIFIED = [
    # name, path, selector, paged by offset in `after`, cursor
    ("organizations", "/v2/organizations", "data", True, None),
    ("policies", "/v2/policies", "data", False, "updated"),
    ("activities", "/v2/activities", "activities", True, "activityTime"),
    ("automation_scripts", "/v2/automation/scripts", "data", False, "updatedOn"),
    ("groups", "/v2/groups", "data", False, "updated"),
    ("locations", "/v2/locations", "data", True, None),
    ("roles", "/v2/roles", "data", False, "created"),
    ("software_products", "/v2/software-products", "data", False, None),
]


def test_the_eight_entries_are_the_specifications() -> None:
    found = []
    for resource in RESOURCES:
        endpoint = ANALYTICS.endpoints[resource.name]
        assert endpoint.pagination in {None, ByOffset("after", "limit")}
        found.append(
            (resource.name, endpoint.path, endpoint.selector, endpoint.pagination is not None, resource.cursor)
        )
    assert found == SPECIFIED
    assert ANALYTICS.page_size == 20


@pytest.mark.parametrize("resource", RESOURCES, ids=lambda resource: resource.name)
def test_columns_are_described_and_the_key_is_never_null(resource: Resource) -> None:
    assert all(column.description for column in resource.columns)
    assert [column.name for column in resource.columns if not column.nullable] == ["id"]
