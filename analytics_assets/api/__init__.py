"""The remote API as a dlt source. Never imports Dagster."""
