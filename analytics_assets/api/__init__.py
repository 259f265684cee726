"""The remote API as a dlt source. This package never imports Dagster."""
