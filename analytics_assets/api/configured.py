"""What the configuration changes in a catalog: which resources are on, and which fields are hashed or dropped."""

from collections.abc import Sequence
from dataclasses import replace

from analytics_assets.api.catalog import Resource
from analytics_assets.api.connector import Connector
from analytics_assets.api.entries import read_entries
from analytics_assets.api.mistakes import check_catalog, did_you_mean, find_mistakes, leads_to, nearest
from analytics_assets.api.settings import SettingsError, look_up

HIDING = ("hashed", "dropped")
"""Settings that list fields, and the attributes of a resource that they add to."""

CHANGES_THE_CATALOG = ("resources", *HIDING)
"""Keys of the settings."""


def configure(connector: Connector) -> Connector:
    """Returns the connector with the resources that are on, and with the hidden fields of the configuration as well.

    The result is the connector itself if nothing changes, so that it does not matter how often this is done.

    Raises:
        CatalogError: The connector has mistakes.
        SettingsError: A setting names something that the connector does not have, or does not fit it.
    """
    check_catalog(connector)
    configured = look_up(connector, *CHANGES_THE_CATALOG)
    connector = _switch_off(connector, _read(connector, "resources", configured["resources"]))
    for key in HIDING:
        connector = _hide(connector, key, _read(connector, key, configured[key]))
    return connector


def _read(connector: Connector, key: str, configured: object) -> list[str]:
    try:
        return read_entries(configured)
    except ValueError as error:
        raise _error(connector, key, f"is no list: {error}", configured) from error


def _error(connector: Connector, key: str, problem: str, value: object = None) -> SettingsError:
    return SettingsError(connector.section, key, problem, value)


def _switch_off(connector: Connector, wanted: Sequence[str]) -> Connector:
    """Leaves out the resources that are not wanted. Without a wanted one, all are."""
    if not wanted:
        return connector
    for name in wanted:
        _check_resource(connector, "resources", name, name)
    on = [name for name in wanted if name in connector.by_name]
    if not on:
        raise _error(connector, "resources", "switches all resources off", ", ".join(wanted))
    try:
        return connector.only(on)
    except ValueError as error:
        raise _error(connector, "resources", f"does not do: {error}", ", ".join(wanted)) from error


def _check_resource(connector: Connector, key: str, name: str, entry: str) -> None:
    known = {*connector.by_name, *connector.left_out}
    if name not in known:
        guess = did_you_mean(nearest(name, known)) or f"; it has {', '.join(sorted(known))}"
        raise _error(connector, key, f"names no resource of {connector.name}{guess}", entry)


def _hide(connector: Connector, key: str, entries: Sequence[str]) -> Connector:
    """Adds paths of fields to `hashed` or `dropped` of their resources."""
    changed: dict[str, Resource] = {}
    for entry in entries:
        name, _, path = entry.partition(".")
        _check_resource(connector, key, name, entry)
        resource = changed.get(name, connector.by_name.get(name))
        if resource is None or path in getattr(resource, key):
            # It is switched off, or the field is hidden already.
            continue
        fields = {column.name for column in resource.columns}
        if path.split(".")[0] not in {field.split(".")[0] for field in fields}:
            guess = did_you_mean(nearest(path, fields)) or f"; it declares {', '.join(sorted(fields))}"
            problem = f"names no declared field of {name}, so that it would hide nothing{guess}"
            raise _error(connector, key, problem, entry)
        changed[name] = _with_hidden(resource, key, path)
    if not changed:
        return connector
    resources = tuple(changed.get(resource.name, resource) for resource in connector.resources)
    if mistakes := find_mistakes(resources, connector.dialects):
        raise _error(connector, key, f"does not fit the catalog: {'; '.join(mistakes)}", ", ".join(entries))
    return replace(connector, resources=resources)


def _with_hidden(resource: Resource, key: str, path: str) -> Resource:
    if key == "hashed":
        return replace(resource, hashed=(*resource.hashed, path))
    # What is dropped has no column, unless rows cannot do without it, which is a mistake of the setting.
    needed = {*resource.key_names, resource.cursor}
    columns = tuple(each for each in resource.columns if each.name in needed or not leads_to(path, each.name))
    return replace(resource, dropped=(*resource.dropped, path), columns=columns)
