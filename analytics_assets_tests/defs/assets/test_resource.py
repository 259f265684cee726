"""The Dagster resource `analytics`."""

from analytics_assets.api.settings import NO_FIELDS, Settings
from analytics_assets.defs.assets.resource import AnalyticsResource


def test_the_resource_has_a_field_for_every_setting_and_shows_no_secret() -> None:
    assert set(Settings()) - {"connector", *NO_FIELDS} <= set(AnalyticsResource.model_fields)
    # Run config sets fields, and it may not lead the copy elsewhere.
    assert NO_FIELDS.isdisjoint(AnalyticsResource.model_fields)
    shown = repr(AnalyticsResource(api_key="token-canary", destination_credentials="postgresql://u:pw-canary@h/d"))
    assert "canary" not in shown
