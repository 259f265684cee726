"""Tests of what becomes of a value, by the contract in docs/values.md."""
