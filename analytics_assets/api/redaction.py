"""Makes texts fit to be shown: without secrets, and without characters that a terminal would obey."""

import html
import json
import re
from base64 import b64encode
from collections.abc import Iterable
from functools import lru_cache
from urllib.parse import quote

TELLING = 12
"""Characters in a row of a secret that count as the secret, as texts may be cut within it, or show its end."""

SHORTEST = 6
"""Characters of a secret that is looked for. A shorter one, or one of letters alone that is shorter than `TELLING`, is
as likely a word of the text (`client`, `postgres`): it protects nothing, and without it nobody could read the text."""

USER_OF_URL = re.compile(r"(?<=://)(?!user:password@)[^/\s]*@")
"""The user and password of a connection string, of which a driver may quote what nobody has configured as a secret. Not
those of the example that our own messages give."""

LOWER = {code: code + 32 for code in range(ord("A"), ord("Z") + 1)}
"""Lower case that leaves a text as long as it is."""

OBEYED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufeff]")
"""Control characters but tab and new line, what turns the direction of writing, and halves of characters."""


def redact(text: str, secrets: Iterable[str | None]) -> str:
    """The text without the secrets in any usual spelling, nor any twelve characters of one; controls are spelled out.

    Spellings are those of URLs, JSON, HTML, base64 (wherever in it the secret begins), hexadecimal digits, upper and
    lower case, and back to front.
    """
    text = USER_OF_URL.sub("***@", text)
    whole, parts = _spellings(tuple(sorted({secret for secret in secrets if secret})))
    lower = text.translate(LOWER)
    covered = bytearray(len(text))
    for start in range(len(text) - TELLING + 1) if parts else ():
        if lower[start : start + TELLING] in parts:
            covered[start : start + TELLING] = b"\1" * TELLING
    for spelling in whole:
        start = lower.find(spelling)
        while start >= 0:
            covered[start : start + len(spelling)] = b"\1" * len(spelling)
            start = lower.find(spelling, start + 1)
    kept = [(match.start(), match.end()) for match in re.finditer(b"\0+", covered)]
    shown = "***".join(text[start:end] for start, end in kept)
    if covered[:1] == b"\1":
        shown = f"***{shown}"
    if covered[-1:] == b"\1" and kept:
        shown = f"{shown}***"
    return printable(shown)


def printable(text: str) -> str:
    """The text with control characters spelled out, an escape as a backslash, x, 1 and b."""
    return OBEYED.sub(lambda match: match[0].encode("unicode_escape", "surrogatepass").decode(), text)


@lru_cache(maxsize=16)
def _spellings(secrets: tuple[str, ...]) -> tuple[frozenset[str], frozenset[str]]:
    """What to look for in a text in lower case: short spellings as a whole, and of long ones every part."""
    whole: set[str] = set()
    parts: set[str] = set()
    for secret in secrets:
        if len(secret) < (TELLING if secret.isalpha() else SHORTEST):
            continue
        for spelling in _spell(secret):
            lower = spelling.translate(LOWER)
            parts.update(lower[start : start + TELLING] for start in range(len(lower) - TELLING + 1))
            if SHORTEST <= len(lower) < TELLING:
                whole.add(lower)
    return frozenset(whole), frozenset(parts)


def _spell(secret: str) -> set[str]:
    raw = secret.encode("utf-8", "surrogatepass")
    found = {secret, secret[::-1], raw.hex(), html.escape(secret), quote(raw, safe="")}
    found |= {json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1]}
    # Some write every character that HTML or a script could take for its own as a number.
    found.add(re.sub(r"[^\w.-]", lambda match: f"\\u{ord(match[0]):04x}", secret))
    found |= {spelling.replace("/", "\\/") for spelling in found}
    for before, lost in enumerate((0, 2, 3)):
        # The first characters depend on what stands before the secret, the last on what follows.
        encoded = b64encode(b"\0" * before + raw).decode().rstrip("=")
        encoded = encoded[lost : len(encoded) - bool((before + len(raw)) % 3)]
        found |= {encoded, encoded.replace("+", "-").replace("/", "_")}
    return found
