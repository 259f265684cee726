"""Measures how fast the project is and how much memory it takes, on the machine on which `make bench` runs."""
