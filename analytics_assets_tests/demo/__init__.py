"""Tests of the demo API: its rows, and whether it is what NinjaOne publishes."""
