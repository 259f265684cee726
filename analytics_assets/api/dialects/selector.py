"""Selectors, which are JSON paths to the rows in a body; and paths of filters in the body of a search.

A selector has keys (`data.items`), an index (`pages[0]`) and every item of a list (`edges[*].node`). A path that finds
rows wherever they are (`$..rows`) could find some of them only, without an error, so such paths are not supported.
"""

import re
from functools import cache
from typing import Any

PLAIN = re.compile(r"[^.,\[\]$*?@()'\"`|]+")
"""A selector that is one key of the body."""

EVERY = -1
"""Step from a list to all its items."""

Step = str | int
"""One step of a path: a key, an index from 0 on, or `EVERY`."""


@cache
def read_steps(selector: str | None) -> tuple[Step, ...]:
    """Returns the steps of a selector; none if the body itself holds the rows.

    Raises:
        ValueError: The selector is no JSON path, or one that is not supported.
    """
    if selector is None:
        return ()
    if PLAIN.fullmatch(selector):
        return (selector,)
    from dlt.common.jsonpath import compile_path  # noqa: PLC0415 - slow to import, and few selectors need it

    try:
        path = compile_path(selector)
    except Exception as error:  # the parser raises errors of its own, and bare ones
        raise ValueError(f"is no JSON path: {error}"[:200]) from error
    return tuple(_steps(path))


def is_key(steps: tuple[Step, ...]) -> bool:
    """Whether a path is one key of the body, or the body itself."""
    return not steps or (len(steps) == 1 and isinstance(steps[0], str))


def _steps(path: Any) -> list[Step]:  # noqa: ANN401 - jsonpath_ng has no types
    match type(path).__name__:
        case "Root":
            return []
        case "Child":
            return [*_steps(path.left), *_steps(path.right)]
        case "Fields" if len(path.fields) == 1 and path.fields[0] != "*":
            return [path.fields[0]]
        case "Index" if len(path.indices) == 1 and path.indices[0] >= 0:
            return [path.indices[0]]
        case "Wildcard" | "Slice" if str(path) in {"*", "[*]"}:
            return [EVERY]
    raise ValueError(f"has {str(path)[:60]!r}; supported are keys, [*], one index, and $ for the whole body")


def set_value(body: Any, path: str, value: object) -> Any:  # noqa: ANN401 - as JSON has it
    """Sets a value in the body of a search, and returns what was there before.

    In the dotted path, a number is an index of a list.

    Raises:
        ValueError, IndexError, TypeError, AttributeError: The path does not fit the body.
    """
    steps = path.split(".")
    for step in steps[:-1]:
        body = body[int(step)] if isinstance(body, list) else body.setdefault(step, {})
    last: Any = int(steps[-1]) if isinstance(body, list) else steps[-1]
    before = body[last] if isinstance(body, list) else body.get(last)
    body[last] = value
    return before
