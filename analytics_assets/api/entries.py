"""A list in the configuration: a list in TOML, a JSON list in the environment, or a text with commas."""

import json


def read_entries(configured: object) -> list[str]:
    """Returns the entries of a list, or of a text with commas between them, without blank ones.

    Raises:
        ValueError: The text begins like a JSON list and is none.
    """
    if isinstance(configured, str):
        text = configured.strip()
        configured = json.loads(text) if text.startswith("[") else text.split(",")
    entries = configured if isinstance(configured, list | tuple) else [configured]
    return [text for entry in entries if (text := str(entry or "").strip())]
