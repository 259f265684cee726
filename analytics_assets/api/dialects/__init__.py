"""One file per dialect, and `registry`, which lists them all."""
