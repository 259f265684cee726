"""Tests of what Dagster makes of it."""
