"""What a run is given: the effective configuration, and which mode, window, API and destination it has.

The run's log, its tags and each materialization say it, so that a change in the rows can be traced to its cause.
"""

from collections.abc import Mapping
from typing import Any

import dagster as dg
from tabulate import tabulate

from analytics_assets.api.connector import SHIPPED
from analytics_assets.api.http.origin import origin_of
from analytics_assets.api.reading import Reading
from analytics_assets.api.redaction import redact
from analytics_assets.api.settings import DEMO, SECRETS, Settings, look_up
from analytics_assets.defs.assets.config import Mode
from analytics_assets.defs.assets.resource import AnalyticsResource
from analytics_assets.defs.display.progress import count
from analytics_assets.defs.names import Names
from analytics_assets.warehouse.errors import DestinationError
from analytics_assets.warehouse.target import Target, destination_type, read_target

DOES = {
    Mode.incremental: "Loads new rows of",
    Mode.full: "Reads everything again and marks what is gone upstream, of",
    Mode.rebuild: "Drops and loads anew the tables of",
}

NO_WINDOW = "none"
"""Text in place of a window. Never empty: a retry inherits the tags of the failed run, and they are to be replaced."""

NOT_SHOWN = "configured, not shown"


def run_facts(mode: Mode, reading: Reading, settings: Settings, target: Target) -> dict[str, str]:
    """Mode, window, base URL, dialect and destination of a run, for its tags and materializations.

    Args:
        mode: The mode of the run.
        reading: How much it reads.
        settings: The settings, with `base_url = demo` as it is configured.
        target: Where it loads.
    """
    window = NO_WINDOW
    if reading.is_window:
        start, end = (moment.isoformat() if moment else "now" for moment in (reading.start, reading.end))
        window = f"{start} to {end}"
    return {
        "mode": mode.value,
        "window": window,
        "base_url": redact(settings.base_url, settings.secrets()),
        "dialect": settings.wire_format.name,
        "destination": str(target),
    }


def say_what(facts: Mapping[str, str], resources: list[str]) -> str:
    """The first line of a run's log, for a person who did not launch it."""
    what = count(len(resources), "resource") + (f" ({', '.join(resources)})" if len(resources) <= 3 else "")
    does = DOES[Mode(facts["mode"])]
    if facts["window"] != NO_WINDOW:
        does = f"Loads the window from {facts['window']} of"
    api = "the built-in demo API" if facts["base_url"] == DEMO else facts["base_url"]
    return f"{does} {what}, from {api} (dialect {facts['dialect']}) into {facts['destination']}. Mode: {facts['mode']}."


def tabulate_settings(settings: Settings, target: Target) -> str:
    """The settings that a run has, and the hidden fields, in Markdown. Of a secret it says only that there is one."""
    found = {key: getattr(settings, key) for key in settings if key != "connector"}
    found |= {key: NOT_SHOWN for key in SECRETS if found[key]}
    found |= {"page_size": settings.rows_per_page, "destination": str(target)}
    for how in ("hashed", "dropped"):
        hidden = [f"{each.name}.{path}" for each in settings.connector.resources for path in getattr(each, how)]
        found[how] = ", ".join(hidden)
    return redact(_tabulate(found), settings.secrets())


def tabulate_configured(names: Names, resource: AnalyticsResource) -> str:
    """The settings that `find_configured` finds, in Markdown."""
    return _tabulate(find_configured(names, resource))


def find_configured(names: Names, resource: AnalyticsResource) -> dict[str, str]:
    """The settings that are configured when the definitions load. Secrets are not looked for.

    Nothing is checked: a wrong value is an error of the run that reads it, and definitions load with it.

    Args:
        names: Names of the connector.
        resource: The Dagster resource, whose fields win over dlt's configuration.
    """
    settings = configured_settings(names, resource)
    if settings.dialect in names.connector.dialects_by_name:
        settings.page_size = settings.rows_per_page
    found = {key: getattr(settings, key) for key in settings if key != "connector" and key not in SECRETS}
    found |= {"destination": _configured_destination(settings, resource)}
    for key in ("base_url", "token_url"):
        if found[key] and found[key] != DEMO and not _may_be_shown(str(found[key])):
            found[key] = "not shown: it is no URL such as https://api.example.com"
    return {key: str(value) for key, value in found.items() if _is_given(value)}


def configured_settings(names: Names, resource: AnalyticsResource) -> Settings:
    """The settings that are configured when the definitions load, unchecked and without secrets.

    Args:
        names: Names of the connector.
        resource: The Dagster resource, whose fields win over dlt's configuration.
    """
    connector, settings = names.connector, Settings(connector=names.connector)
    keys = [key for key in settings if key != "connector" and key not in SECRETS]
    given = look_up(connector, *keys)
    given |= {key: value for key in keys if (value := _field(resource, key)) is not None}
    settings.update({key: value for key, value in given.items() if _is_given(value)})
    settings.dialect = str(settings.dialect or connector.dialects[0].name)
    settings.base_url = str(settings.base_url).strip() or (DEMO if connector.name == SHIPPED.name else "")
    return settings


def _field(resource: AnalyticsResource, key: str) -> Any:  # noqa: ANN401 - settings differ in type
    value = getattr(resource, key, None)
    # An `EnvVar`, or one of a number, for which Dagster exports no name.
    if read := getattr(value, "get_value", None):
        try:
            return read()
        except ValueError:
            return None
    return value


def _configured_destination(settings: Settings, resource: AnalyticsResource) -> str:
    explicit = None if isinstance(resource.destination_type, dg.EnvVar) else resource.destination_type
    type_ = destination_type(explicit)
    if resource.destination_credentials is not None:
        return type_
    # Its path is not checked yet, and is no part of the destination.
    settings.read_copy = False
    try:
        return str(read_target(settings, type_))
    except DestinationError:
        return type_


def _may_be_shown(url: str) -> bool:
    """Whether a text is a URL without a place where credentials could stand."""
    return origin_of(url) is not None and not set("@?#") & set(url)


def _is_given(value: object) -> bool:
    return value is not None and value != ""


def _tabulate(found: Mapping[str, Any]) -> str:
    # A bar would begin another cell.
    rows = [(f"`{key}`", str(value).replace("|", "\\|")) for key, value in found.items() if _is_given(value)]
    return tabulate(rows, ["setting", "value"], "pipe", disable_numparse=True)
