"""The Dagster resource `analytics`."""

from analytics_assets.defs.assets.resource import AnalyticsResource


def test_the_resource_has_a_field_for_every_setting_and_shows_no_secret() -> None:
    from analytics_assets.api.settings import Settings  # noqa: PLC0415

    assert set(Settings()) - {"connector"} <= set(AnalyticsResource.model_fields)
    shown = repr(AnalyticsResource(api_key="token-canary", destination_credentials="postgresql://u:pw-canary@h/d"))
    assert "canary" not in shown
