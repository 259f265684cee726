"""The resource with the most rows."""

from analytics_assets.api.connector import SHIPPED

EVENTS = next((resource.name for resource in SHIPPED.resources if resource.append_only), SHIPPED.resources[0].name)
"""Name of the events, which are activities; in a catalog without events, of its first resource."""
