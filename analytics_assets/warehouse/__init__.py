"""The warehouse: the destination, the sync of a resource, and questions to its table. Never imports Dagster."""
