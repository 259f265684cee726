"""What becomes of a value: the rules V1 to V9 of docs/values.md."""
