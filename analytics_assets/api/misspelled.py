"""Refuses keys that are spelled almost like a setting: dlt would pass over them in silence."""

import os
from collections.abc import Collection, Sequence
from difflib import get_close_matches
from typing import Any

import dlt

from analytics_assets.api.configured import CHANGES_THE_CATALOG
from analytics_assets.api.connector import Connector
from analytics_assets.api.mistakes import did_you_mean
from analytics_assets.api.settings import Settings, SettingsError

ALIKE = 0.8
"""Least likeness of a key and a setting, from 0 to 1. What is less alike may be dlt's, as `max_table_nesting` is."""


def refuse_misspelled(connector: Connector) -> None:
    """Refuses a key in `.dlt` or the environment that is no setting and looks like one.

    Raises:
        SettingsError: There is such a key. The message does not show its value, which may be a secret.
    """
    auths = [dialect.auth for dialect in connector.dialects if dialect.auth]
    of_auth = {name for auth in auths for name in auth.get_resolvable_fields()}
    refuse_alike(connector.section, {*Settings().get_resolvable_fields(), *CHANGES_THE_CATALOG}, of_auth)


def refuse_alike(section: Sequence[str], known: Collection[str], others: Collection[str] = ()) -> None:
    """Refuses a key in a section of `.dlt`, or in the environment, that is not known and looks like one that is.

    Args:
        section: Names of the section, from the outermost on.
        known: The keys that there are.
        others: Keys that are known, too, but never meant by another.

    Raises:
        SettingsError: As `refuse_misspelled`.
    """
    place = ".".join(section)
    prefix = place.replace(".", "__").upper() + "__"
    found = {name.removeprefix(prefix).lower() for name in os.environ if name.startswith(prefix)}
    configured: Any
    for configured in (dlt.config.get(place), dlt.secrets.get(place)):
        found |= configured.keys() if isinstance(configured, dict) else set()
    for key in sorted(found.difference(known, others)):
        if "__" not in key and (near := get_close_matches(key, known, 1, ALIKE)):
            remedy = "Correct the key where it stands, in .dlt or in the environment, or remove it."
            raise SettingsError(section, key, f"is no setting{did_you_mean(near[0])}", remedy=remedy)
