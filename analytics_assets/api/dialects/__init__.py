"""One file per dialect. `api/connector.py` lists those of each connector."""
