"""Tests of facts about the project: its documents and its files."""
