"""Tests of requests and responses: retries, credentials, sizes, encodings."""
