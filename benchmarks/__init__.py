"""Measurements on this machine. `make overhead` runs what there is."""
