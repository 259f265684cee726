"""Tests through everything: processes that are killed, histories, memory, commands and the UI."""
