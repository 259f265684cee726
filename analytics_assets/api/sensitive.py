"""Keeps the values of sensitive fields out of the warehouse, before anything is made of the rows."""

import hmac
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from dlt.common.json import json

from analytics_assets.api.catalog import Resource

Row = dict[str, Any]
Change = Callable[[Any, int | str], None]


def hide(rows: list[Row], resource: Resource, hash_key: str | None) -> None:
    """Hashes and drops the fields that the resource declares as sensitive, in place.

    A hash is the HMAC-SHA-256 of the value, 64 hexadecimal digits: equal values have equal hashes, and without the key
    nobody can try which value has a hash. Of an object or a list each value inside is hashed, but no key of an object.
    Null stays null.
    """
    for path in resource.dropped:
        _change(rows, path.split("."), _drop)
    for path in resource.hashed:
        assert hash_key  # noqa: S101 - checked when the listings were opened
        _change(rows, path.split("."), partial(_hash, hash_key.encode()))


def _drop(owner: Any, place: int | str) -> None:  # noqa: ANN401 - an object or a list
    del owner[place]


def _hash(key: bytes, owner: Any, place: int | str) -> None:  # noqa: ANN401 - likewise
    owner[place] = _hashed(owner[place], key)


def _change(found: Any, path: Sequence[str], change: Change) -> None:  # noqa: ANN401 - whatever JSON holds
    """Changes what is at the end of a path, or where it ends early: a text may hold what was expected inside."""
    if isinstance(found, list):
        # From the end, as items may be dropped.
        places: list[tuple[int | str, Sequence[str]]] = [(place, path) for place in reversed(range(len(found)))]
    else:
        places = [(path[0], path[1:])] if path and path[0] in found else []
    for place, rest in places:
        if isinstance(found[place], dict | list) and rest:
            _change(found[place], rest, change)
        elif not rest or found[place] is not None:
            change(found, place)


def _hashed(value: Any, key: bytes) -> Any:  # noqa: ANN401 - as above
    match value:
        case None:
            return None
        case list():
            return [_hashed(item, key) for item in value]
        case dict():
            return {name: _hashed(item, key) for name, item in value.items()}
    text = value if isinstance(value, str) else json.dumps(value)
    return hmac.digest(key, text.encode("utf-8", "surrogatepass"), "sha256").hex()
