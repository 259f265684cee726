"""Tests of the eight assets: their runs, specs and configuration."""
