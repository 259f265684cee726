"""Programs that write documents, and the suite on the newest Dagster."""
