"""Resources that the demo does not know: rows by their columns, in the pagination of their endpoint."""

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any, get_args

import pytest
from dlt.sources.helpers.rest_client.paginators import JSONResponseCursorPaginator

from analytics_assets.api.catalog import Column, ColumnType, Resource
from analytics_assets.api.connector import Connector
from analytics_assets.api.dialects.base import ById, ByOffset, Dialect, Endpoint
from analytics_assets.api.settings import SettingsError
from analytics_assets.api.settings_reader import read_settings
from analytics_assets.defs.names import name_all
from analytics_assets.demo.embedded import resolve_demo
from analytics_assets.demo.made_up import VALUES, make_rows, rows_of
from analytics_assets.demo.server import DemoServer, credentials
from analytics_assets_tests.servers.demo_api import NOON
from analytics_assets_tests.servers.running import running
from analytics_assets_tests.support.eight import EIGHT
from analytics_assets_tests.support.project import Project, metadata

HOUR = timedelta(hours=1)
DEVICES = Resource(
    name="devices",
    description="One row per device.",
    cursor="lastContact",
    columns=(
        Column("id", "bigint", "Device identifier", nullable=False),
        Column("lastContact", "timestamp", "When it was last heard of"),
        Column("added", "timestamp", "When it was added"),
        Column("online", "bool", "Whether it is online"),
        Column("name", "text", "Name"),
        Column("details", "json", "Details"),
        Column("organizationId", "bigint", "Organization identifier", references="organizations"),
    ),
)
EVENTS = replace(DEVICES, append_only=True)
PRODUCTS = replace(
    DEVICES, cursor=None, columns=(Column("id", "text", "Identifier", nullable=False), *DEVICES.columns[1:])
)


def sync(project: Project, patch: pytest.MonkeyPatch, connector: Connector, dialect: str, *resources: str) -> Any:
    """Syncs resources of a demo API at noon."""
    server = DemoServer(clock=lambda: NOON, dialect=dialect, connector=connector)
    for key, value in {
        "dialect": dialect,
        "base_url": server.url,
        **credentials(connector.dialects_by_name[dialect]),
    }.items():
        patch.setenv(f"SOURCES__ANALYTICS__{key.upper()}", value)
    with running(server):
        return replace(project, names=name_all(connector), reports=()).sync(*resources)


def with_ninth(dialect: Dialect, endpoint: Endpoint) -> Dialect:
    return replace(dialect, endpoints={**dialect.endpoints, "devices": endpoint})


@pytest.mark.parametrize("dialect", EIGHT.dialects_by_name)
def test_a_ninth_resource_needs_an_entry_and_an_endpoint_for_each_dialect(
    project: Project, monkeypatch: pytest.MonkeyPatch, dialect: str
) -> None:
    analytics, ninjaone = EIGHT.dialects
    nine = replace(
        EIGHT,
        resources=(*EIGHT.resources, DEVICES),
        dialects=(
            with_ninth(analytics, Endpoint("/v2/devices", "data", ByOffset("after", "limit"))),
            with_ninth(ninjaone, Endpoint("/v2/devices", pagination=ById("after", "pageSize"))),
        ),
    )
    result = sync(project, monkeypatch, nine, dialect, "organizations", "devices")
    assert [each for each in result.get_asset_check_evaluations() if not each.passed] == []
    rows = make_rows(DEVICES, NOON)
    assert metadata(result, "devices")["rows_loaded"] == len(rows) > 100
    columns = "id, last_contact, added, online, name, details, organization_id"
    found = project.query(f"SELECT {columns} FROM analytics.devices ORDER BY id")
    assert [(*row[:5], row[5] and json.loads(row[5]), row[6]) for row in found] == [tuple(row.values()) for row in rows]


BY_OFFSET = ByOffset("skip", "take")


@pytest.mark.parametrize(
    ("resource", "endpoint"),
    [
        (DEVICES, Endpoint("/d", "data", BY_OFFSET)),
        (EVENTS, Endpoint("/d", "data", ById("last", "size"))),
        (EVENTS, Endpoint("/d", "data", ById("before", "size", descending=True))),
        (PRODUCTS, Endpoint("/d", pagination=BY_OFFSET)),
        (PRODUCTS, Endpoint("/d")),
    ],
    ids=["offset", "last id", "smallest id", "text keys", "one page"],
)
def test_a_dialect_that_the_demo_does_not_know_is_spoken_as_its_endpoints_say(
    project: Project, monkeypatch: pytest.MonkeyPatch, resource: Resource, endpoint: Endpoint
) -> None:
    # It has no organizations to refer to.
    resource = replace(resource, columns=resource.columns[:-1])
    other = Connector("analytics", (resource,), (Dialect("crm", {"devices": endpoint}, page_size=50),))
    sync(project, monkeypatch, other, "crm")
    assert project.ids("devices") == [row["id"] for row in make_rows(resource, NOON)]


def test_rows_come_with_the_newest_first_where_the_endpoint_says_so() -> None:
    dialect = Dialect("crm", {"devices": Endpoint("/d", "data", BY_OFFSET, newest_first=True)}, page_size=50)
    rows = rows_of(Connector("crm", (DEVICES,), (dialect,)), dialect)("/d", NOON) or []
    moments = [row["lastContact"] for row in rows]
    assert len(moments) == len(make_rows(DEVICES, NOON))
    assert moments == sorted(moments, reverse=True)


def test_some_rows_are_new_an_hour_later() -> None:
    for resource in (DEVICES, EVENTS):
        before, after = make_rows(resource, NOON), make_rows(resource, NOON + HOUR)
        newest = max(row["lastContact"] for row in before)
        assert newest <= NOON
        assert sum(row["lastContact"] > newest for row in after) == 2
        assert len({row["id"] for row in after}) == len(after)
    assert after[: len(before)] == before
    assert len(make_rows(DEVICES, NOON + 24 * HOUR)) == len(make_rows(DEVICES, NOON)) + 1
    assert make_rows(PRODUCTS, NOON) == make_rows(PRODUCTS, NOON + HOUR)


def test_there_are_values_of_each_type_and_nulls() -> None:
    assert set(get_args(ColumnType)) <= VALUES.keys()
    rows = make_rows(DEVICES, NOON)
    assert all(any(row[column.name] is None for row in rows) for column in DEVICES.columns[2:-1])
    assert all(row["lastContact"] is not None for row in rows)


@pytest.mark.parametrize(
    ("endpoint", "said"),
    [
        (Endpoint("/d", "data", JSONResponseCursorPaginator("next")), "devices (dlt's JSONResponseCursorPaginator)"),
        (Endpoint("/d", "data", method="POST", body={}), "devices (POST /d)"),
    ],
)
def test_what_the_demo_does_not_speak_is_said_before_any_request(
    monkeypatch: pytest.MonkeyPatch, endpoint: Endpoint, said: str
) -> None:
    """Otherwise the resource would fail with advice that breaks an endpoint which is right."""
    monkeypatch.setenv("SOURCES__ANALYTICS__BASE_URL", "demo")
    connector = Connector(
        "analytics", (replace(DEVICES, columns=DEVICES.columns[:-1]),), (Dialect("vendor", {"devices": endpoint}),)
    )
    with pytest.raises(SettingsError) as caught:
        resolve_demo(read_settings(connector))
    assert f"the built-in API, which does not know what the dialect has: {said}." in str(caught.value)
