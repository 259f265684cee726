"""Turns fields into columns and values into cells, by the rules V1 to V9 of docs/values.md."""
