"""The demo API: made-up rows on a loopback port. Never imports Dagster."""
