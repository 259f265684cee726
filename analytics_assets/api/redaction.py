"""Makes texts safe to show: takes out secrets, and spells out control characters that a terminal would obey."""

import html
import re
from base64 import b64encode
from collections.abc import Iterable
from functools import lru_cache

from dlt.common.normalizers.naming.snake_case import NamingConvention

TELLING = 12
"""Consecutive characters of a secret that count as the secret: a text may be cut in the middle of it."""

SHORTEST = 6
"""Fewest characters of a secret that is redacted, or `TELLING` if it has letters only. A shorter secret may be a common
word (`client`, `postgres`): it protects nothing, and redacting it would make messages unreadable."""

USER_OF_URL = re.compile(
    r"(?<=https://)[^/\s?#]*@|(?<=http://)[^/\s?#]*@|(?<!http)(?<!https)(?<=://)(?!user:password@)[^/\s]*@"
)
"""User and password in a URL. A driver may quote a connection string that nobody has configured as a secret. The
example in our own messages (`user:password@`) stays."""

ESCAPED = re.compile(
    r"%[0-9a-fA-F]{2}|&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|amp|lt|gt|quot|apos);"
    r"|\\(?:u[0-9a-fA-F]{4}|x[0-9a-fA-F]{2}|[\\/\"'])"
)
"""An escaped character, as URLs, HTML, XML, JSON and Python write it."""

ROUNDS = 3
"""Layers of escapes that are undone to find a secret."""

OBEYED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufeff]")
"""Control characters except tab and new line, characters that reverse the direction of writing, and lone surrogates."""

Spellings = tuple[frozenset[str], frozenset[str]]
"""Spellings of a secret in lower case: short ones as a whole, and every part of `TELLING` characters of long ones."""


def redact(text: str, secrets: Iterable[str | None]) -> str:
    """Returns the text with `***` for each secret, or `TELLING` characters of one, and with controls spelled out.

    A secret is found as URLs, JSON, HTML, base64 (wherever in it the secret begins), hexadecimal digits and dlt's
    column names spell it, in upper and lower case, and reversed.
    """
    text = USER_OF_URL.sub("***@", text)
    spellings = [_spellings(secret) for secret in secrets if secret]
    covered = bytearray(len(text))
    places = list(zip(range(len(text)), range(1, len(text) + 1), strict=True))
    view = text
    for _ in range(ROUNDS + 1):
        for start, end in _find(_lower(view), spellings):
            first, last = places[start][0], places[end - 1][1]
            covered[first:last] = b"\1" * (last - first)
        if not ESCAPED.search(view):
            break
        view, places = _unescape(view, places)
    runs = re.finditer(b"\0+|\1+", covered)
    return printable("".join("***" if covered[run.start()] else text[run.start() : run.end()] for run in runs))


def printable(text: str) -> str:
    """Returns the text with control characters spelled out: ESC becomes a backslash, x, 1 and b."""
    return OBEYED.sub(lambda match: match[0].encode("unicode_escape", "surrogatepass").decode(), text)


def _find(text: str, spellings: Iterable[Spellings]) -> Iterable[tuple[int, int]]:
    """Yields start and end of every spelling in a text, which is in lower case."""
    for whole, parts in spellings:
        for start in range(len(text) - TELLING + 1) if parts else ():
            if text[start : start + TELLING] in parts:
                yield start, start + TELLING
        for spelling in whole:
            start = text.find(spelling)
            while start >= 0:
                yield start, start + len(spelling)
                start = text.find(spelling, start + 1)


def _unescape(text: str, places: list[tuple[int, int]]) -> tuple[str, list[tuple[int, int]]]:
    """Undoes one layer of escapes. Returns the text, and start and end of each of its characters in the original."""
    characters: list[str] = []
    origins: list[tuple[int, int]] = []
    done = 0
    for match in ESCAPED.finditer(text):
        characters += text[done : match.start()]
        origins += places[done : match.start()]
        found, done = match[0], match.end()
        if found[0] == "&":
            plain = html.unescape(found)
        else:
            plain = chr(int(found.lstrip("%\\ux"), 16)) if found[1:2] in "ux" or found[0] == "%" else found[1]
        if len(plain) == 1:
            characters.append(plain)
            origins.append((places[match.start()][0], places[done - 1][1]))
    return "".join(characters) + text[done:], origins + places[done:]


def _lower(text: str) -> str:
    """Returns the text in lower case without a change of its length, so that positions stay valid."""
    lower = text.lower()
    return lower if len(lower) == len(text) else "".join(each.lower()[:1] for each in text)


@lru_cache(maxsize=32)
def _spellings(secret: str) -> Spellings:
    """Returns the spellings to search for; none if the secret is too short (see `SHORTEST`)."""
    if len(secret) < (TELLING if secret.isalpha() else SHORTEST):
        return frozenset(), frozenset()
    spelled = {_lower(spelling) for spelling in _spell(secret)}
    whole = {spelling for spelling in spelled if SHORTEST <= len(spelling) < TELLING}
    parts = {each[start : start + TELLING] for each in spelled for start in range(len(each) - TELLING + 1)}
    return frozenset(whole), frozenset(parts)


def _spell(secret: str) -> set[str]:
    raw = secret.encode("utf-8", "surrogatepass")
    # latin-1: escapes spell a character beyond ASCII byte by byte.
    found = {secret, secret[::-1], raw.hex(), raw.decode("latin-1"), secret.replace(" ", "+")}
    found.add(NamingConvention().normalize_identifier(secret))
    for before, lost in enumerate((0, 2, 3)):
        # The first characters of base64 depend on the bytes before the secret, the last on those that follow.
        encoded = b64encode(b"\0" * before + raw).decode().rstrip("=")
        encoded = encoded[lost : len(encoded) - bool((before + len(raw)) % 3)]
        found |= {encoded, encoded.replace("+", "-").replace("/", "_")}
    return found
