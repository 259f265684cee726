"""Other tools that load REST APIs. Each has an environment of its own, and nothing here imports it."""
