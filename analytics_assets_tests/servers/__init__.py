"""Loopback servers that tests fill with rows, break, and ask what they were asked."""
