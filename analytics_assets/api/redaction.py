"""Keeps secrets out of texts that people read."""

from collections.abc import Iterable
from itertools import takewhile

TELLING = 12
"""Characters of a secret's beginning that already count as the secret, as texts may be cut within it."""


def redact(text: str, secrets: Iterable[str | None]) -> str:
    """The text without the secrets, nor their beginnings."""
    for secret in filter(None, secrets):
        head = secret[:TELLING]
        start = text.find(head)
        while start >= 0:
            shared = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(text[start:], secret, strict=False)))
            text = f"{text[:start]}***{text[start + shared :]}"
            start = text.find(head, start + 3)
    return text
