"""The API's HTTP: requests, retries, tokens, and what a response must satisfy."""
