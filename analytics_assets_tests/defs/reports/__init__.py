"""Tests of the tables that SQL files make."""
