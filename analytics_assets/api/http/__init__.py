"""HTTP to the API: requests, retries, tokens, and the validation of responses."""
