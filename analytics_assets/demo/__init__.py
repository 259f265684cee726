"""An API with made-up data on a loopback port. Never imports Dagster."""
