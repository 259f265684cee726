"""Definitions of your own in this code location: what `dg scaffold defs` writes, and any other files of Dagster.

The project itself has nothing here. docs/your-api.md says what may be here.
"""
