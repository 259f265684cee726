"""Splits the body of a response into rows of tokens. Reads JSON, and what Python's `json` accepts beyond it."""

import codecs
import json
import re
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import msgspec
from msgspec import Raw

from analytics_assets.api.dialects.base import Endpoint
from analytics_assets.api.dialects.selector import EVERY, Step, is_key, read_steps
from analytics_assets.api.http.errors import kind_of, name_keys
from analytics_assets.api.values.tokens import DEEPEST, REPLACEMENT, UNFIT, is_list, is_object

NULS = re.compile(rb"\\(?:u(?P<nul>0000)|.)", re.DOTALL)
"""One escape in a body; the group `nul` matches if it escapes a NUL."""

SURROGATES = re.compile(
    r"\\(?:u[dD][89abAB]XX\\u[dD][c-fC-F]XX|u(?P<lone>[dD][89a-fA-F]XX|0000)|.)|(?P<raw>[\ud800-\udfff])".replace(
        "X", "[0-9a-fA-F]"
    )
)
"""One escape in a text, or an unescaped lone surrogate (`raw`). The group `lone` matches an escaped NUL or lone
surrogate."""

BRACKETS = re.compile(r'"(?:[^"\\]|\\.)*+"?+|(?P<bracket>[\[\]{}])')
"""A text, or a bracket outside of texts (`bracket`). A text need not end, because the body may be cut: to begin anew at
each escaped quote in it would take minutes."""

CONSTANTS = re.compile(r'"(?:[^"\\]|\\.)*+"?+|(?P<constant>-?Infinity|NaN)')
"""As `BRACKETS`, for a number that Python writes into JSON although JSON has no such number (`constant`)."""

PIECE = 1_000_000
"""Bytes whose encoding is checked at once, so that a large body is not decoded as a whole."""

_OBJECT = msgspec.json.Decoder(dict[str, Raw])

_ROWS = msgspec.json.Decoder(list[dict[str, Raw]])

_LIST = msgspec.json.Decoder(list[Raw])


def split_body(
    body: bytes, endpoint: Endpoint, usual: "msgspec.json.Decoder[list[Any]] | None" = None
) -> tuple[Any, list[Any] | None]:
    """Returns the values of a body by key, and its rows: `None` if there is no list where the endpoint has its rows.

    A body that is not JSON is read once more, as Python's `json` would read it.

    Args:
        body: The body.
        endpoint: Says where the rows are.
        usual: Reads the rows if all their values are usual (see `values.usual`). It is tried first.

    Raises:
        msgspec.DecodeError: The body is not even what Python's `json` reads.
        UnicodeDecodeError: The body is no text.
        RecursionError: The body is nested too deep outside of a row's values.
    """
    if b"\\u0000" in body:
        body = NULS.sub(lambda match: REPLACEMENT.encode() if match["nul"] else match[0], body)
    try:
        if not body.isascii():
            decoder = codecs.getincrementaldecoder("utf-8")()
            for start in range(0, len(body), PIECE):
                decoder.decode(body[start : start + PIECE], start + PIECE >= len(body))
        if usual:
            with suppress(msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                values, listed = _find_list(body, endpoint)
                if listed is not None:
                    return values, usual.decode(listed)
        return _find_rows(body, endpoint)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _find_rows(_mend(body, endpoint), endpoint)


def _find_list(body: bytes, endpoint: Endpoint) -> tuple[Any, Raw | None]:
    values = _OBJECT.decode(body) if body[:1] == b"{" else msgspec.json.decode(body, type=Raw)
    steps = read_steps(endpoint.selector)
    listed = endpoint.find(values) if is_key(steps) else _walk(values, steps)
    return values, listed if isinstance(listed, Raw) and is_list(listed) else None


def _find_rows(body: bytes, endpoint: Endpoint) -> tuple[Any, list[Any] | None]:
    # Without white space, equal values are equal tokens, however the API formats its JSON.
    values, listed = _find_list(msgspec.json.format(body, indent=-1), endpoint)
    if listed is None:
        return values, None
    try:
        return values, _ROWS.decode(listed)
    except msgspec.ValidationError:
        # One row is not an object. `validation` names it when it reads the keys.
        return values, [_OBJECT.decode(row) if is_object(row) else row for row in _LIST.decode(listed)]


def _walk(values: Any, steps: Sequence[Step]) -> Raw | None:  # noqa: ANN401 - as JSON has it
    """Returns the list of rows at the end of a path, as a token; `None` if a step leads nowhere."""
    found: list[Any] = [values]
    for step in steps:
        if step == EVERY:
            if not all(isinstance(each, Raw) and is_list(each) for each in found):
                return None
            found = [item for each in found for item in _LIST.decode(each)]
        else:
            found = [_take(each, step) for each in found]
    if None in found:
        return None
    # Without `EVERY` the path leads to one token, which is the list itself.
    return Raw(b"[%b]" % b",".join(found)) if EVERY in steps else found[0]


def _take(value: Any, step: Step) -> Raw | None:  # noqa: ANN401 - as JSON has it
    if isinstance(value, Raw) and is_object(value):
        value = _OBJECT.decode(value)
    if isinstance(step, str):
        return value.get(step) if isinstance(value, dict) else None
    items = _LIST.decode(value) if isinstance(value, Raw) and is_list(value) else []
    return items[step] if step < len(items) else None


def describe_lack(values: Any, selector: str | None) -> str | None:  # noqa: ANN401 - as JSON has it
    """Says at which step the path of a selector leads nowhere, and what is there.

    Returns:
        `None` if the selector is one key, or none.
    """
    steps = read_steps(selector)
    if is_key(steps):
        return None
    reached = next(count for count in range(len(steps), -1, -1) if count == 0 or _leads(values, steps[:count]))
    if reached == len(steps):
        return f"what is at {selector!r} is no list"
    before: Any = _walk(values, steps[:reached]) if reached else values
    if EVERY in steps[:reached]:
        before = next(each for each in _LIST.decode(before) if not _leads(each, steps[reached : reached + 1]))
    if isinstance(before, Raw):
        before = msgspec.json.decode(before)
    found = f"an object with {name_keys(before)}" if isinstance(before, dict) else kind_of(before)
    step = f"step {reached + 1}, {_spell(steps[reached])}"
    return f"the selector {selector!r} leads nowhere from its {step}, on: found {found} there"


def _leads(values: Any, steps: Sequence[Step]) -> bool:  # noqa: ANN401 - as JSON has it
    return _walk(values, steps) is not None


def _spell(step: Step) -> str:
    return "[*]" if step == EVERY else repr(step)


def _mend(body: bytes, endpoint: Endpoint) -> bytes:
    """Rewrites a body that Python's `json` reads as JSON in UTF-8.

    A text after `UNFIT` replaces a number that JSON does not have, and a value that is too deep.
    """
    text = body.decode(json.detect_encoding(body), "surrogatepass")
    text = SURROGATES.sub(lambda match: REPLACEMENT if match["lone"] or match["raw"] else match[0], text)
    steps = read_steps(endpoint.selector)
    # Each step leads into one level, and so do the list of the rows, unless a step leads through it, and the row.
    text = _fold_deep(text, len(steps) + (1 if EVERY in steps else 2))
    mark = UNFIT.decode()
    return CONSTANTS.sub(lambda match: f'{mark}{match[0]}"' if match["constant"] else match[0], text).encode()


def _fold_deep(text: str, above: int) -> str:
    """Replaces each value that is too deep by a text after `UNFIT`; `above` is how many levels contain the values."""
    pieces, end = [], 0
    level = start = deepest = 0
    for match in BRACKETS.finditer(text):
        match match["bracket"]:
            case "[" | "{":
                level += 1
                if level == above + 1:
                    start, deepest = match.start(), level
                deepest = max(deepest, level)
            case "]" | "}":
                if level == above + 1 and deepest - above > DEEPEST:
                    value = json.dumps(text[start : match.end()], ensure_ascii=False)
                    pieces += [text[end:start], UNFIT.decode(), value[1:]]
                    end = match.end()
                level -= 1
    return "".join([*pieces, text[end:]])
