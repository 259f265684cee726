"""Tests of where rows land, in DuckDB, Postgres and SQLite."""
