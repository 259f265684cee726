"""Tests of the checks of tables and connections."""
