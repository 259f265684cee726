"""Whether the tables are right (checks of the assets), and whether a sync would succeed (the connection check)."""
