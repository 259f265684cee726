"""The wire format of the specification."""

from analytics_assets.api.dialects.base import ByOffset, Dialect, Endpoint

OFFSET = ByOffset("after", size_param="limit")

ANALYTICS = Dialect(
    name="analytics",
    page_size=20,
    endpoints={
        "organizations": Endpoint("/v2/organizations", "data", OFFSET),
        "policies": Endpoint("/v2/policies", "data"),
        "activities": Endpoint("/v2/activities", "activities", OFFSET),
        "automation_scripts": Endpoint("/v2/automation/scripts", "data"),
        "groups": Endpoint("/v2/groups", "data"),
        "locations": Endpoint("/v2/locations", "data", OFFSET),
        "roles": Endpoint("/v2/roles", "data"),
        "software_products": Endpoint("/v2/software-products", "data"),
    },
)
