"""A file for each dialect, and `registry` with all of them."""
