"""Finds the mistakes in a catalog and its dialects, all at once, and says where each is and what helps."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from itertools import chain
from typing import Any, get_args

from analytics_assets.api.catalog import Column, ColumnType, Resource
from analytics_assets.api.connector import Connector
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
    mistakes = [*_of_connector(connector), *find_mistakes(connector.resources, connector.dialects), *further]
    if mistakes:
        counted = f"{len(mistakes)} mistake{'' if len(mistakes) == 1 else 's'}"
        raise CatalogError("\n- ".join([f"The catalog has {counted}:", *mistakes]))


def find_mistakes(resources: Sequence[Any], dialects: Iterable[Dialect]) -> list[str]:
    """Returns what is wrong in a catalog and its dialects, each with its place.

    Args:
        resources: The entries of the catalog; each should be a `Resource`.
        dialects: The dialects, which should have an endpoint for each resource.
    """
    # What is in a tuple by mistake is looked at as well.
    entries = chain.from_iterable(entry if isinstance(entry, tuple) else [entry] for entry in resources)
    found = [entry for entry in entries if isinstance(entry, Resource)]
    by_name = {resource.name: resource for resource in found}
    mistakes = [*_of_entries(resources), *_of_names(found)]
    for resource in found:
        mistakes += [f"{resource.name}: {mistake}" for mistake in _of_resource(resource, by_name)]
    for dialect in dialects:
        mistakes += [f"dialect {dialect.name}: {mistake}" for mistake in _of_dialect(dialect, by_name)]
    return mistakes


def _of_connector(connector: Connector) -> Iterator[str]:
    if not re.fullmatch("[a-z][a-z0-9_]*", connector.name):
        yield f"connector {connector.name!r}: its name is no word in snake case, such as crm"
    for lacking in ("resources", "dialects"):
        if not getattr(connector, lacking):
            yield f"connector {connector.name}: it has no {lacking}"


def _of_entries(resources: Sequence[Any]) -> Iterator[str]:
    for number, entry in enumerate(resources, 1):
        if not isinstance(entry, Resource):
            within = entry[0].name if isinstance(entry, tuple) and entry and isinstance(entry[0], Resource) else None
            yield f"entry {number}{f' ({within})' if within else ''} is no Resource but {_kind(entry)}"


def _kind(entry: object) -> str:
    if isinstance(entry, tuple):
        return "a tuple: there is a comma behind its closing parenthesis, or a parenthesis around it, too many"
    return f"of the type {type(entry).__name__}"


def _of_names(resources: Sequence[Resource]) -> Iterator[str]:
    for name, count in Counter(resource.name for resource in resources).items():
        if count > 1:
            yield f"{name}: {count} resources have this name"
        is_name = isinstance(name, str) and re.fullmatch("[a-z][a-z0-9_]*", name) and column_name(name) == name
        if not is_name or len(name) > LONGEST_NAME:
            other = column_name(name).strip("_") if isinstance(name, str) else ""
            hint = f", such as {other!r}" if re.fullmatch("[a-z][a-z0-9_]{0,50}", other) else ""
            yield (
                f"{name}: the name is also that of a table and of an asset, so it has to be in snake case, begin with a"
                f" letter, and have {LONGEST_NAME} characters at most{hint}"
            )


def _of_resource(resource: Resource, by_name: Mapping[str, Resource]) -> Iterator[str]:
    shapes = list(_of_shapes(resource))
    yield from shapes
    if shapes:
        return
    columns = {column.name: column for column in resource.columns}
    if not columns:
        yield "it has no columns: declare the key at least"
    yield from _of_columns(resource)
    yield from _of_key(resource, columns)
    yield from _of_cursor(resource, columns)
    yield from _of_references(resource, by_name)
    yield from _of_paths(resource, columns)


def _of_shapes(resource: Resource) -> Iterator[str]:
    for field in ("columns", "limits", "hashed", "dropped"):
        value = getattr(resource, field)
        if not isinstance(value, tuple):
            yield f"{field} is no tuple but of the type {type(value).__name__}: a tuple of one entry needs a comma"
    columns: Any = resource.columns if isinstance(resource.columns, tuple) else ()
    for number, column in enumerate(columns, 1):
        if not isinstance(column, Column):
            yield f"column {number} is no Column but {_kind(column)}"
    if not isinstance(resource.key, str | tuple) or not resource.key:
        yield f"the key {resource.key!r:.60} is neither the name of a field nor a tuple of several"


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
            near = OTHER_NAMES.get(str(column.type).lower()) or _nearest(column.type, TYPES)
            yield (
                f"the column {column.name!r} has the type {column.type!r:.60}, which is none of {', '.join(TYPES)}"
                f"{_did_you_mean(near)}"
            )


def _of_key(resource: Resource, columns: Mapping[str, Column]) -> Iterator[str]:
    for name, count in Counter(resource.key_names).items():
        if count > 1:
            yield f"the key names {name!r} twice"
        if name not in columns:
            yield f"the key {name!r} is no declared column{_did_you_mean(_nearest(name, columns))}"
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
        near = _did_you_mean(_nearest(resource.cursor, columns))
        yield f"the cursor {resource.cursor!r} is no declared column{near}: declare it as a timestamp"
    elif (type_ := columns[resource.cursor].type) in TYPES and type_ != "timestamp":
        yield f"the cursor {resource.cursor!r} has the type {type_}, and a cursor is a timestamp"


def _of_references(resource: Resource, by_name: Mapping[str, Resource]) -> Iterator[str]:
    for column in resource.columns:
        if not column.references:
            continue
        refers = f"the column {column.name!r} references {column.references!r}, "
        parent = by_name.get(column.references)
        if parent is None:
            yield f"{refers}which is no resource{_did_you_mean(_nearest(column.references, by_name))}"
        elif len(parent.key_names) > 1:
            yield f"{refers}whose key has several fields, and a single column cannot name them"
        else:
            types = [each.type for each in parent.columns if each.name == parent.key] or [column.type]
            if column.type not in types:
                yield f"{refers}whose key is {types[0]}, but its own type is {column.type}: declare it alike"


def _of_paths(resource: Resource, columns: Mapping[str, Column]) -> Iterator[str]:
    for path in (*resource.hashed, *resource.dropped):
        needed = [name for name in (*resource.key_names, resource.cursor) if name and _overlap(path, name)]
        if needed:
            yield f"{path} is needed as it is: {needed[0]} is the key or the cursor"
    for path in resource.dropped:
        for name in columns:
            if _leads_to(path, name):
                yield f"{path} is dropped, so {name} can be no column: remove it from columns"
    for path in resource.hashed:
        for name, column in columns.items():
            if _leads_to(path, name) and column.type not in {"json", "text"}:
                yield f"{path} is hashed to text, and the column {name} is {column.type}: declare it as text or json"


def _leads_to(path: str, name: str) -> bool:
    """Whether a path names a field, or an object that it is in."""
    return f"{name}.".startswith(f"{path}.")


def _overlap(path: str, name: str) -> bool:
    return _leads_to(path, name) or _leads_to(name, path)


def _of_dialect(dialect: Dialect, by_name: Mapping[str, Resource]) -> Iterator[str]:
    for name in by_name:
        if name not in dialect.endpoints:
            yield f"there is no endpoint for the resource {name}: add one to its endpoints"
    yield from dialect.mistakes()
    endpoints: Mapping[str, Any] = dialect.endpoints
    for name, endpoint in endpoints.items():
        if name not in by_name:
            yield f"the endpoint {name!r} belongs to no resource{_did_you_mean(_nearest(name, by_name))}"
        if isinstance(endpoint, Endpoint):
            yield from (f"{name}: {mistake}" for mistake in endpoint.mistakes())
            if name in by_name and isinstance(endpoint.pagination, ById):
                yield from (f"{name}: {mistake}" for mistake in _of_ids(by_name[name], endpoint.pagination))
            if name in by_name and endpoint.parent:
                yield from (f"{name}: {mistake}" for mistake in _of_parent(by_name[name], endpoint.parent, by_name))
        else:
            yield f"the endpoint {name!r} is no Endpoint but {_kind(endpoint)}"


def _of_ids(resource: Resource, by_id: ById) -> Iterator[str]:
    types = {column.name: column.type for column in resource.columns if isinstance(column, Column)}
    if len(resource.key_names) > 1:
        yield f"it is paged by id, but its key has several fields: {resource.key_label}"
    elif types.get(resource.key_names[0], "bigint") != "bigint":
        yield f"it is paged by id, which takes integers, but its key is {types[resource.key_names[0]]}"
    if by_id.descending and resource.append_only and resource.cursor is None:
        # Such a listing is read in slices, and the rows that a slice leaves are found by their cursor.
        yield "events that are listed from the newest id down need a cursor"


def _of_parent(resource: Resource, parent: Parent, by_name: Mapping[str, Resource]) -> Iterator[str]:
    above = by_name.get(parent.resource, resource)
    for placeholder, field in parent.fields.items():
        for owner, name in ((above, field), (resource, placeholder)):
            if any(_overlap(path, name) for path in (*owner.hashed, *owner.dropped)):
                yield (
                    f"the placeholder {{{placeholder}}} shows {owner.name}.{name}, which is hashed or dropped, in paths"
                    f" and messages: take another field of {above.name}, such as its key {above.key_label}"
                )


def _nearest(name: object, names: Iterable[str]) -> str | None:
    found = get_close_matches(str(name), list(names), n=1)
    return found[0] if found else None


def _did_you_mean(name: str | None) -> str:
    return f" (did you mean {name!r}?)" if name else ""
