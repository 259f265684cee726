"""Keeps the values of sensitive fields out of the warehouse, before anything is made of the rows."""

import hmac
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from dlt.common.json import json

from analytics_assets.api.catalog import Resource

Row = dict[str, Any]
Change = Callable[[Row, str], None]


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


def _drop(owner: Row, name: str) -> None:
    del owner[name]


def _hash(key: bytes, owner: Row, name: str) -> None:
    owner[name] = _hashed(owner[name], key)


def _change(found: Any, path: Sequence[str], change: Change) -> None:  # noqa: ANN401 - whatever JSON holds
    if isinstance(found, list):
        for item in found:
            _change(item, path, change)
    elif isinstance(found, dict) and path[0] in found:
        if len(path) == 1:
            change(found, path[0])
        else:
            _change(found[path[0]], path[1:], change)


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
