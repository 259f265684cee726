"""Hashes and drops the values of sensitive fields before anything else reads the rows."""

import hmac
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import msgspec
from msgspec import Raw

from analytics_assets.api.catalog import Resource
from analytics_assets.api.values.tokens import NULL, is_deep, is_list, is_object

Change = Callable[[Raw], Raw | None]

_OBJECT = msgspec.json.Decoder(dict[str, Raw])

_LIST = msgspec.json.Decoder(list[Raw])

_TEXT = msgspec.json.Decoder(str)

DEEPEST_PATH = 100
"""Levels of nesting down to which fields are masked one by one; a deeper value is masked as a whole. This bounds the
recursion."""


def mask(rows: Sequence[dict[str, Any]], resource: Resource, hash_key: str | None, met: set[str]) -> None:
    """Hashes and drops the fields that the resource declares as sensitive, in place.

    A hash is the HMAC-SHA-256 of the value, 64 hexadecimal digits. Equal values have equal hashes, and without the key
    nobody can find the value by trying. In an object or a list each value is hashed, but not the keys of the object.
    Null stays null.

    Args:
        rows: Rows of JSON tokens by field.
        resource: Says which fields are sensitive.
        hash_key: The setting `hash_key`; may be `None` if no field is hashed.
        met: Gets the paths that rows have.
    """
    changes: list[tuple[str, Change]] = [(path, lambda _: None) for path in resource.dropped]
    if resource.hashed:
        assert hash_key  # noqa: S101 - checked when the listings were opened
        changes += [(path, partial(_hash, hash_key.encode())) for path in resource.hashed]
    for path, change in changes:
        noting = partial(_note, met, path, change)
        for row in rows:
            _change_in(row, path.split("."), noting)
            if path in row and "." in path:
                # The field of just that name, which a column of that name prefers.
                _change_in(row, [path], noting)


def _note(met: set[str], path: str, change: Change, token: Raw) -> Raw | None:
    met.add(path)
    return change(token)


def _change_in(owner: dict[str, Any], path: Sequence[str], change: Change) -> None:
    field, *rest = path
    if field not in owner:
        return
    token = owner[field]
    # Nobody declares a path as deep as that, so the value is masked as a whole.
    changed = change(token) if is_deep(bytes(token), DEEPEST_PATH) else _change(token, rest, change)
    if changed is None:
        del owner[field]
    else:
        owner[field] = changed


def _change(token: Raw, path: Sequence[str], change: Change) -> Raw | None:
    """Changes the value at the end of a path. If the path ends early at a scalar, the scalar is changed.

    The API may send a text where an object was expected, and the text may contain the sensitive value.
    """
    if path and is_list(token):
        items = (_change(item, path, change) for item in _LIST.decode(token))
        return Raw(msgspec.json.encode([item for item in items if item is not None]))
    if path and is_object(token):
        owner = _OBJECT.decode(token)
        _change_in(owner, path, change)
        return Raw(msgspec.json.encode(owner))
    return token if path and token == NULL else change(token)


def _hash(key: bytes, token: Raw) -> Raw:
    if token == NULL:
        return token
    if is_list(token) and not is_deep(bytes(token), DEEPEST_PATH):
        return Raw(msgspec.json.encode([_hash(key, item) for item in _LIST.decode(token)]))
    if is_object(token) and not is_deep(bytes(token), DEEPEST_PATH):
        return Raw(msgspec.json.encode({name: _hash(key, value) for name, value in _OBJECT.decode(token).items()}))
    text = _TEXT.decode(token).encode() if bytes(memoryview(token)[:1]) == b'"' else bytes(token)
    return Raw(b'"%b"' % hmac.digest(key, text, "sha256").hex().encode())
