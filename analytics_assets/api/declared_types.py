"""Compares the fields of a dataclass with their declared types, and says in plain English which do not fit.

A catalog is written by people, and Python does not compare types. A wrong one would fail somewhere else, much later.
"""

from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import fields, is_dataclass
from functools import cache
from types import FunctionType, NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

CONTAINERS = (tuple, list, Set)
"""Kinds whose entries are looked at."""

WORDS: dict[Any, str] = {
    NoneType: "None",
    str: "a text",
    bytes: "bytes",
    bool: "True or False",
    int: "a whole number",
    float: "a number",
    tuple: "a tuple",
    list: "a list",
    Sequence: "a tuple or a list",
    Set: "a set",
    Mapping: "a mapping",
    FunctionType: "a function",
    Callable: "a function",
}
"""Types in words. Of several that fit a value, the first one names it."""


def wrong_types(entry: Any) -> list[str]:  # noqa: ANN401 - a dataclass
    """Returns a sentence for each field of a dataclass, or of one in it, whose value is not of the declared type."""
    kind: Any = type(entry)
    mistakes = []
    for name, hint in _hints(kind).items():
        value = getattr(entry, name)
        mistakes += wrong_type(name, value, hint)
        # An auth class of dlt is of a class that derives from the declared one: dlt checks its fields itself.
        if is_dataclass(value) and type(value) in _arms(hint):
            mistakes += [f"{name}.{mistake}" for mistake in wrong_types(value)]
    return mistakes


def wrong_type(place: str, value: object, hint: Any) -> list[str]:  # noqa: ANN401 - a type, or a form of typing
    """Returns what is not of a type in a value and, if it is a container, in its entries.

    Dataclasses are not looked into: that is up to `wrong_types`, and to whoever knows a better name for their place.

    Args:
        place: Where the value stands; the sentences begin with it.
        value: The value.
        hint: The declared type. A text fits each `Literal`, because advice on its words is up to others.
    """
    if type(value) is hint:
        return []
    fitting = [arm for arm in _arms(hint) if _fits(value, arm)]
    if not fitting:
        return [f"{place} is {_said(value)}, and has to be {_expected(hint)}{_advice(value, hint)}"]
    return min((_within(place, value, arm) for arm in fitting), key=len)


@cache
def _hints(kind: Any) -> dict[str, Any]:  # noqa: ANN401
    hints = get_type_hints(kind)
    return {field.name: hints[field.name] for field in fields(kind)}


@cache
def _arms(hint: Any) -> tuple[Any, ...]:  # noqa: ANN401
    """Returns the alternatives of a union, or the type itself."""
    return get_args(hint) if get_origin(hint) in {Union, UnionType} else (hint,)


def _kind(arm: Any) -> Any:  # noqa: ANN401
    """Returns the class behind a type, which `isinstance` knows."""
    kind = get_origin(arm) or arm
    return str if kind is Literal else Set if kind is frozenset else kind


def _fits(value: object, arm: Any) -> bool:  # noqa: ANN401
    """Whether a value is of a type, whatever is in it."""
    kind = _kind(arm)
    if kind is Any:
        return True
    if kind in {int, float}:
        return isinstance(value, int | kind) and not isinstance(value, bool)
    if kind is Sequence:
        return isinstance(value, tuple | list)
    return isinstance(value, kind)


def _within(place: str, value: Any, arm: Any) -> list[str]:  # noqa: ANN401
    """Returns what is wrong inside a value that is itself of the type."""
    inner = get_args(arm)
    if inner and isinstance(value, Mapping):
        wrong = [
            f"{place} has the key {key!r:.60}, and its keys have to be texts"
            for key in value
            if not isinstance(key, str)
        ]
        return wrong + [
            each
            for key, one in value.items()
            for each in wrong_type(f"{place}: the value of {key!r:.60}", one, inner[1])
        ]
    if inner and isinstance(value, CONTAINERS):
        return [
            mistake
            for number, entry in enumerate(value, 1)
            for mistake in wrong_type(f"{place}: entry {number}{_name(entry)}", entry, inner[0])
        ]
    return []


def _name(entry: Any) -> str:  # noqa: ANN401
    """Returns the name of an entry, or of what is in it by mistake, if it has one."""
    name = getattr(entry[0] if isinstance(entry, tuple) and entry else entry, "name", None)
    return f" ({name:.60})" if isinstance(name, str) else ""


def _said(value: object) -> str:
    if value is None or isinstance(value, bool | int | float):
        return f"{value!r:.60}"
    if isinstance(value, type):
        return f"the class {value.__name__}"
    word = next((word for kind, word in WORDS.items() if kind is not Callable and isinstance(value, kind)), None)
    return word or _class_in_words(type(value))


def _expected(hint: Any) -> str:  # noqa: ANN401
    *others, last = dict.fromkeys(WORDS.get(_kind(arm)) or _class_in_words(_kind(arm)) for arm in _arms(hint))
    return f"{', '.join(others)}{',' * (len(others) > 1)} or {last}" if others else last


def _class_in_words(kind: type) -> str:
    article = "an" if kind.__name__[0] in "AEIOUaeiou" else "a"
    return f"{article} {kind.__name__}{' of dlt' if kind.__module__.startswith('dlt.') else ''}"


def _advice(value: Any, hint: Any) -> str:  # noqa: ANN401
    """Returns what helps against the mistakes that are made most often."""
    for arm in _arms(hint):
        kind, inner = _kind(arm), get_args(arm)
        if isinstance(value, type) and kind not in WORDS and issubclass(value, kind):
            return f": call it, as in {value.__name__}(...)"
        if kind in {tuple, Sequence} and isinstance(value, list):
            return ": write it with parentheses"
        if kind in {tuple, Sequence} and inner and _fits(value, inner[0]):
            return ": a tuple of one entry needs a comma"
        if isinstance(value, tuple) and value and kind is not Any and _fits(value[0], arm):
            return ": there is a comma behind its closing parenthesis, or a parenthesis around it, too many"
    return ""
