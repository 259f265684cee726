"""Finds the mistakes in a catalog and its dialects, all at once, and says where each is and what helps."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from functools import cache
from itertools import chain
from typing import Any, TypeVar, get_args

from analytics_assets.api.catalog import Column, ColumnType, Resource
from analytics_assets.api.connector import Connector
from analytics_assets.api.declared_types import wrong_type, wrong_types
from analytics_assets.api.dialects.base import ById, Dialect, Endpoint, Parent
from analytics_assets.api.values.columns import LONGEST_NAME, RESERVED, column_name

TYPES = get_args(ColumnType)

OTHER_NAMES = {
    **dict.fromkeys(("int", "integer", "long", "number"), "bigint"),
    **dict.fromkeys(("boolean",), "bool"),
    **dict.fromkeys(("numeric", "money"), "decimal"),
    **dict.fromkeys(("float", "real"), "double"),
    **dict.fromkeys(("array", "complex", "dict", "list", "object", "struct", "variant"), "json"),
    **dict.fromkeys(("str", "string", "uuid", "varchar"), "text"),
    **dict.fromkeys(("datetime", "timestamptz"), "timestamp"),
}
"""Types as other tools call them, and what they are here."""


ByName = Mapping[str, Resource | None]
"""The resources by name; `None` stands for one with fields of a wrong type, about which no more is said."""


Entry = TypeVar("Entry")


class CatalogError(ValueError):
    """The catalog has mistakes, which the message lists."""


def check_catalog(connector: Connector, further: Iterable[str] = ()) -> None:
    """Fails if a connector's catalog has a mistake.

    Args:
        connector: The connector.
        further: Mistakes that others have found.

    Raises:
        CatalogError: There are mistakes. The message lists all of them.
    """
    own, is_typed = _look_at(connector)
    mistakes = [*own, *(further if is_typed else ())]
    if mistakes:
        counted = f"{len(mistakes)} mistake{'' if len(mistakes) == 1 else 's'}"
        raise CatalogError("\n- ".join([f"The catalog has {counted}:", *mistakes]))


@cache
def _look_at(connector: Connector) -> tuple[list[str], bool]:
    """Returns the mistakes of a connector, and whether its fields are of the right types.

    It is done once for a connector, because the settings are read several times in a run.
    """
    mistakes = [*connector.mistakes(), *find_mistakes(connector.resources, connector.dialects)]
    return mistakes, not wrong_types(connector)


def find_mistakes(resources: Sequence[Any], dialects: Sequence[Any]) -> list[str]:
    """Returns what is wrong in a catalog and its dialects, each with its place.

    Args:
        resources: The entries of the catalog; each should be a `Resource`.
        dialects: Each should be a `Dialect` with an endpoint for each resource.
    """
    found, spoken = _entries(resources, Resource), _entries(dialects, Dialect)
    wrong = [list(_of_types(resource)) for resource in found]
    named = [resource for resource in found if isinstance(resource.name, str)]
    by_name: ByName = {
        resource.name: None if mistakes else resource
        for resource, mistakes in zip(found, wrong, strict=True)
        if resource in named
    }
    mistakes = [
        *wrong_type("resources", resources, Sequence[Resource]),
        *wrong_type("dialects", dialects, Sequence[Dialect]),
        *_of_names(named),
    ]
    for number, (resource, of_types) in enumerate(zip(found, wrong, strict=True), 1):
        place = resource.name if isinstance(resource.name, str) else f"resource {number}"
        mistakes += [f"{place}: {mistake}" for mistake in of_types or _of_resource(resource, by_name)]
    for name, count in Counter(str(dialect.name) for dialect in spoken).items():
        if count > 1:
            mistakes.append(f"dialect {name}: {count} dialects have this name")
    for dialect in spoken:
        mistakes += [f"dialect {dialect.name}: {mistake}" for mistake in _of_dialect(dialect, by_name)]
    return mistakes


def _entries(entries: object, kind: type[Entry]) -> list[Entry]:
    """Returns all of a kind, also those that stand alone, or in a tuple too many, by mistake."""
    listed = entries if isinstance(entries, list | tuple) else [entries]
    each = chain.from_iterable(entry if isinstance(entry, list | tuple) else [entry] for entry in listed)
    return [entry for entry in each if isinstance(entry, kind)]


def _of_names(resources: Sequence[Resource]) -> Iterator[str]:
    for name, count in Counter(resource.name for resource in resources).items():
        if count > 1:
            yield f"{name}: {count} resources have this name"
        is_name = re.fullmatch("[a-z][a-z0-9_]*", name) and column_name(name) == name
        if not is_name or len(name) > LONGEST_NAME:
            other = column_name(name).strip("_")
            hint = f", such as {other!r}" if re.fullmatch("[a-z][a-z0-9_]{0,50}", other) else ""
            yield (
                f"{name}: the name is also that of a table and of an asset, so it has to be in snake case, begin with a"
                f" letter, and have {LONGEST_NAME} characters at most{hint}"
            )


def _of_types(resource: Resource) -> Iterator[str]:
    yield from wrong_types(resource)
    columns: object = resource.columns
    for number, column in enumerate(columns if isinstance(columns, list | tuple) else (), 1):
        if isinstance(column, Column):
            place = f"the column {column.name!r:.60}" if isinstance(column.name, str) else f"column {number}"
            yield from (f"{place}: {mistake}" for mistake in wrong_types(column))


def _of_resource(resource: Resource, by_name: ByName) -> Iterator[str]:
    columns = {column.name: column for column in resource.columns}
    if not columns:
        yield "it has no columns: declare the key at least"
    yield from _of_columns(resource)
    yield from _of_key(resource, columns)
    yield from _of_cursor(resource, columns)
    yield from _of_references(resource, by_name)
    yield from _of_paths(resource, columns)


def _of_columns(resource: Resource) -> Iterator[str]:
    own = {column_name(column.name) for column in resource.table_columns} - {
        column_name(column.name) for column in resource.columns
    }
    spellings: dict[str, str] = {}
    for column in resource.columns:
        name = column_name(column.name)
        if column.name == spellings.get(name):
            yield f"the column {column.name!r} is declared twice"
        elif name in spellings:
            yield f"{column.name!r} and {spellings[name]!r} would both be the column {name}: remove one of them"
        elif not name or name.startswith("_dlt") or name in RESERVED or name in own or len(name) > LONGEST_NAME:
            yield (
                f"the column {column.name!r:.60} cannot be declared, as {name[:LONGEST_NAME]!r} is a reserved name, or"
                " none: remove it, and the undeclared field gets a column with another name"
            )
        spellings.setdefault(name, column.name)
        if column.type not in TYPES:
            near = OTHER_NAMES.get(str(column.type).lower()) or nearest(column.type, TYPES)
            yield (
                f"the column {column.name!r} has the type {column.type!r:.60}, which is none of {', '.join(TYPES)}"
                f"{did_you_mean(near)}"
            )


def _of_key(resource: Resource, columns: Mapping[str, Column]) -> Iterator[str]:
    if not resource.key:
        yield "the key is empty: name the field, or the fields, that tell one row from another"
    for name, count in Counter(resource.key_names).items():
        if count > 1:
            yield f"the key names {name!r} twice"
        if name not in columns:
            yield f"the key {name!r} is no declared column{did_you_mean(nearest(name, columns))}"
            continue
        if "." in name:
            yield f"the key {name!r} is a path; a key is a field of the row itself"
        if columns[name].nullable:
            yield f"the key {name!r} may be null: declare it with nullable=False"
        if columns[name].type in TYPES and columns[name].type not in {"bigint", "text"}:
            yield f"the key {name!r} has the type {columns[name].type}, and a key is bigint or text"
    for name in columns:
        if "." in name and name.split(".")[0] in resource.key_names:
            yield f"the column {name!r} leads into the key, which is no object"


def _of_cursor(resource: Resource, columns: Mapping[str, Column]) -> Iterator[str]:
    if resource.lag_seconds < 0:
        yield f"lag_seconds is {resource.lag_seconds}, and has to be 0 or more"
    if resource.cursor is None:
        return
    if resource.cursor not in columns:
        near = did_you_mean(nearest(resource.cursor, columns))
        yield f"the cursor {resource.cursor!r} is no declared column{near}: declare it as a timestamp"
    elif (type_ := columns[resource.cursor].type) in TYPES and type_ != "timestamp":
        yield f"the cursor {resource.cursor!r} has the type {type_}, and a cursor is a timestamp"


def _of_references(resource: Resource, by_name: ByName) -> Iterator[str]:
    for column in resource.columns:
        if not column.references:
            continue
        refers = f"the column {column.name!r} references {column.references!r}, "
        if column.references not in by_name:
            yield f"{refers}which is no resource{did_you_mean(nearest(column.references, by_name))}"
        elif (parent := by_name[column.references]) is None:
            continue
        elif len(parent.key_names) > 1:
            yield f"{refers}whose key has several fields, and a single column cannot name them"
        else:
            types = [each.type for each in parent.columns if each.name == parent.key] or [column.type]
            if column.type not in types:
                yield f"{refers}whose key is {types[0]}, but its own type is {column.type}: declare it alike"


def _of_paths(resource: Resource, columns: Mapping[str, Column]) -> Iterator[str]:
    for path in (*resource.hashed, *resource.dropped):
        if not all(path.split(".")):
            yield f"{path!r} has an empty part, so that it would hide nothing: write it like data.message"
        for name, column in columns.items():
            if leads_to(name, path) and path not in columns and column.type in TYPES and column.type != "json":
                yield f"{path} leads into the column {name}, which is {column.type}: only one of json has fields"
        if needed := _needed(resource, path):
            yield f"{path} is needed as it is: {needed[0]} is the key or the cursor"
    for path in resource.dropped:
        for name in columns:
            if leads_to(path, name) and not _needed(resource, path):
                yield f"{path} is dropped, so {name} can be no column: remove it from columns"
    for path in resource.hashed:
        for name, column in columns.items():
            if leads_to(path, name) and not _needed(resource, path) and column.type not in {"json", "text"}:
                yield f"{path} is hashed to text, and the column {name} is {column.type}: declare it as text or json"


def _needed(resource: Resource, path: str) -> list[str]:
    return [name for name in (*resource.key_names, resource.cursor) if name and _overlap(path, name)]


def leads_to(path: str, name: str) -> bool:
    """Whether a path names a field, or an object that it is in."""
    return f"{name}.".startswith(f"{path}.")


def _overlap(path: str, name: str) -> bool:
    return leads_to(path, name) or leads_to(name, path)


def _of_dialect(dialect: Dialect, by_name: ByName) -> Iterator[str]:
    endpoints: object = dialect.endpoints
    if not isinstance(endpoints, Mapping):
        yield from dialect.mistakes()
        return
    for name in by_name:
        if name not in endpoints:
            yield f"there is no endpoint for the resource {name}: add one to its endpoints"
    yield from dialect.mistakes()
    for name, endpoint in endpoints.items():
        if name not in by_name:
            yield f"the endpoint {name!r} belongs to no resource{did_you_mean(nearest(name, by_name))}"
        for each in _entries(endpoint, Endpoint):
            yield from (f"{name}: {mistake}" for mistake in each.mistakes())
            resource = by_name.get(name)
            if resource and isinstance(each.pagination, ById):
                yield from (f"{name}: {mistake}" for mistake in _of_ids(resource, each.pagination))
            if resource and each.parent:
                yield from (f"{name}: {mistake}" for mistake in _of_parent(resource, each.parent, by_name))


def _of_ids(resource: Resource, by_id: ById) -> Iterator[str]:
    types = {column.name: column.type for column in resource.columns}
    if len(resource.key_names) > 1:
        yield f"it is paged by id, but its key has several fields: {resource.key_label}"
    elif types.get(resource.key_label, "bigint") != "bigint":
        yield f"it is paged by id, which takes integers, but its key is {types[resource.key_label]}"
    if by_id.descending and resource.append_only and resource.cursor is None:
        # Such a listing is read in slices, and the rows that a slice leaves are found by their cursor.
        yield "events that are listed from the newest id down need a cursor"


def _of_parent(resource: Resource, parent: Parent, by_name: ByName) -> Iterator[str]:
    above = by_name.get(parent.resource) or resource
    for placeholder, field in parent.fields.items():
        for owner, name in ((above, field), (resource, placeholder)):
            if any(_overlap(path, name) for path in (*owner.hashed, *owner.dropped)):
                yield (
                    f"the placeholder {{{placeholder}}} shows {owner.name}.{name}, which is hashed or dropped, in paths"
                    f" and messages: take another field of {above.name}, such as its key {above.key_label}"
                )


def nearest(name: object, names: Iterable[str]) -> str | None:
    """The name among others that is spelled most alike, if one is."""
    found = get_close_matches(str(name), list(names), n=1)
    return found[0] if found else None


def did_you_mean(name: str | None) -> str:
    """A question for the end of a message; empty without a name."""
    return f" (did you mean {name!r}?)" if name else ""
