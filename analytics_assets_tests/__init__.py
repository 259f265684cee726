"""Tests of behaviour through the front door: a loopback API, a real warehouse, real Dagster runs."""
