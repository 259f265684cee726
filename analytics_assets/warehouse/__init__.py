"""Where the rows land. Never imports Dagster."""
