"""Whether the tables are right: checks of the assets, and the connection check."""
