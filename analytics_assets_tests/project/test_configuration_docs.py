"""The tables of docs/configuration.md against the code: every key is there, with its real default, and no other."""

import tomllib
from collections.abc import Mapping
from typing import Any

import pytest

from analytics_assets.api.configured import CHANGES_THE_CATALOG
from analytics_assets.api.http import transport
from analytics_assets.api.settings import NO_FIELDS, SECRETS, Settings
from analytics_assets.api.settings_reader import read_settings
from analytics_assets.defs.assets.config import SyncConfig
from analytics_assets.defs.assets.resource import AnalyticsResource
from analytics_assets.defs.automation.crons import DEFAULT_TIMEZONE, HOURLY, OF_RESOURCES, WEEKLY
from analytics_assets.defs.automation.delivery import DEFAULT_UI_URL
from analytics_assets.defs.automation.purge import KEEP_DAYS
from analytics_assets.defs.execution import EXECUTORS, IN_PROCESS
from analytics_assets.warehouse.duckdb_options import DUCKDB_MEMORY
from analytics_assets.warehouse.pipeline import OWN_DEFAULTS
from analytics_assets.warehouse.target import DUCKDB
from analytics_assets_tests.support.checkout import CHECKOUT
from analytics_assets_tests.support.eight import EIGHT

DOCS = CHECKOUT / "docs" / "configuration.md"

Row = dict[str, str]


def read_tables(text: str) -> dict[str, dict[str, Row]]:
    """The rows of the table under each heading, by their first cell."""
    found: dict[str, dict[str, Row]] = {}
    head: list[str] = []
    heading = ""
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split(" | ")]
        if line.startswith("## "):
            heading = line.removeprefix("## ")
        elif not line.startswith("|"):
            head = []
        elif not head:
            head = [cell.strip() for cell in line.strip().strip("|").split("|")]
        elif not line.startswith("|---"):
            rows = found.setdefault(heading, {})
            name = cells[0].strip("`")
            assert name not in rows, f"{heading}: {name} is there twice"
            rows[name] = dict(zip(head, cells, strict=True))
    return found


TABLES = read_tables(DOCS.read_text(encoding="utf-8"))
API = TABLES["The API: `[sources.analytics]`"]


def literal(cell: str) -> Any:
    """A cell as the value that it spells in TOML, with `none` for no default."""
    return None if cell == "none" else tomllib.loads(f"value = {cell.removeprefix('`').removesuffix('`')}")["value"]


def defaults(rows: Mapping[str, Row]) -> dict[str, Any]:
    return {name: literal(row["default"]) for name, row in rows.items()}


def environment_of(rows: Mapping[str, Row], section: str = "") -> dict[str, tuple[str, str]]:
    """The variable of each key as documented, and as dlt has it."""
    found = {}
    for name, row in rows.items():
        documented = row["key"].strip("`")
        path = [part for part in (*section.split("."), *documented.split(".")) if part]
        found[name] = (row["environment"].strip("`"), "__".join(path).upper())
    return found


def test_every_setting_is_documented_with_its_default() -> None:
    # The connector's; `test_the_eight.py` compares those of what is shipped.
    eight = read_settings(EIGHT)
    known = {"base_url": eight.base_url, "dialect": eight.dialect}
    assert defaults(API) == {key: value for key, value in Settings().items() if key != "connector"} | known


def test_secrets_are_documented_as_secrets() -> None:
    assert {name for name, row in API.items() if row["meaning"].startswith("Secret")} == SECRETS


def test_defaults_that_are_not_in_the_settings_are_those_of_the_code() -> None:
    assert f"By default {DUCKDB_MEMORY}." in API["duckdb_memory"]["meaning"]


@pytest.mark.parametrize(
    ("heading", "section"),
    [
        ("The API: `[sources.analytics]`", ".".join(EIGHT.section)),
        ("Resources and fields: `[sources.analytics]`", ".".join(EIGHT.section)),
        ("Requests: `[runtime]`", "runtime"),
        ("dlt itself", ""),
        ("Destination", ""),
        ("Schedules: `[schedules]`", "schedules"),
        ("Execution: `[execution]`", "execution"),
        ("History: `[history]`", "history"),
        ("Alerts: `[alerts]`", "alerts"),
    ],
)
def test_variables_are_called_as_dlt_calls_them(heading: str, section: str) -> None:
    for documented, real in environment_of(TABLES[heading], section).values():
        assert documented == real


def test_requests_have_the_defaults_that_are_documented() -> None:
    assert defaults(TABLES["Requests: `[runtime]`"]) == {
        "request_max_attempts": transport.ATTEMPTS,
        "request_backoff_factor": transport.BACKOFF_FACTOR,
        "request_max_retry_delay": transport.LONGEST_WAIT,
        "request_timeout": transport.TIMEOUT,
    }


def flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """The values of nested tables by their dotted keys."""
    found: dict[str, Any] = {}
    for key, value in tree.items():
        found |= flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return found


def test_the_shipped_file_has_what_is_documented() -> None:
    shipped = flat(tomllib.loads((CHECKOUT / ".dlt" / "config.toml").read_text(encoding="utf-8")))
    # Whatever it sets is the default, spelled out.
    known = flat(
        {
            "runtime": defaults(TABLES["Requests: `[runtime]`"]),
            "sources": {"analytics": {**Settings(), "base_url": read_settings().base_url}},
        }
    )
    assert shipped == {name: known.get(name) for name in shipped}


def test_dlt_has_the_defaults_that_are_documented() -> None:
    assert defaults(TABLES["dlt itself"]) == {"runtime.dlthub_telemetry": False, **OWN_DEFAULTS}


def test_what_changes_the_catalog_is_documented() -> None:
    assert defaults(TABLES["Resources and fields: `[sources.analytics]`"]) == dict.fromkeys(CHANGES_THE_CATALOG)


def test_schedules_history_alerts_and_destination_have_the_defaults_that_are_documented() -> None:
    assert defaults(TABLES["Schedules: `[schedules]`"]) == {
        "analytics_sync": HOURLY,
        "analytics_reconcile": WEEKLY,
        f"{OF_RESOURCES}.<resource>": None,
        "timezone": DEFAULT_TIMEZONE,
    }
    assert defaults(TABLES["Execution: `[execution]`"]) == {"executor": IN_PROCESS, "split": False, "config": None}
    assert all(f"`{name}`" in TABLES["Execution: `[execution]`"]["executor"]["meaning"] for name in EXECUTORS)
    assert defaults(TABLES["History: `[history]`"]) == {"keep_days": KEEP_DAYS}
    assert defaults(TABLES["Alerts: `[alerts]`"]) == {
        "webhook_url": None,
        "heartbeat_url": None,
        "ui_url": DEFAULT_UI_URL,
    }
    assert defaults(TABLES["Destination"])["destination_type"] == DUCKDB


def test_run_config_has_the_fields_and_defaults_that_are_documented() -> None:
    real = {name: field.default for name, field in SyncConfig.model_fields.items()}
    assert defaults(TABLES["Run config of the op"]) == {**real, "mode": real["mode"].value}
    described = TABLES["Run config of the op"]["mode"]["meaning"]
    assert all(f"`{mode.value}`" in described for mode in type(real["mode"]))


def test_the_resource_has_the_fields_and_defaults_that_are_documented() -> None:
    real = {name: field.default for name, field in AnalyticsResource.model_fields.items()}
    own = defaults(TABLES["The Dagster resource `analytics`"])
    *some, last = (f"`{key}`" for key in sorted(NO_FIELDS - {*CHANGES_THE_CATALOG}))
    documented = f"has a field for every key of `[sources.analytics]` but {', '.join(some)} and {last}, and these."
    assert documented in " ".join(DOCS.read_text(encoding="utf-8").split())
    assert real == {**dict.fromkeys(key for key in Settings() if key not in {"connector", *NO_FIELDS}), **own}
