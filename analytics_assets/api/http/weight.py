"""Estimates how much memory the rows of a response take, before they are read."""

import re

MOST_WEIGHT = 400_000_000
"""Most bytes that the rows of one response may take in memory, by the estimate of `weigh`."""

TEXTS = re.compile(rb'"(?:[^"\\]|\\.)*+"?+')
"""A text in JSON; keys are texts, too. It need not end, because a body may be cut."""

PIECES = re.compile(rb'(?:[^"]++|"(?:[^"\\]|\\.)*+"?+){1,10000}+')
"""One piece of a JSON body; no piece ends within a text."""


def weigh(body: bytes) -> int:
    """Estimates the most bytes that the rows of a JSON body take in memory, by its length, objects and keys."""
    objects = _weigh_objects(body)
    if len(body) + objects > MOST_WEIGHT:
        # Braces and colons inside texts were counted, too. Now it matters, so the texts are taken out.
        objects = sum(_weigh_objects(TEXTS.sub(b"", piece[0])) for piece in PIECES.finditer(body))
    return len(body) + objects


def _weigh_objects(body: bytes) -> int:
    return 120 * body.count(b"{") + 250 * body.count(b":")
