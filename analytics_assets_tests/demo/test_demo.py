import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from analytics_assets.api.catalog import Resource
from analytics_assets.demo.data import read_listing
from analytics_assets.demo.exchange import Row
from analytics_assets.demo.server import DEMO_TOKEN, credentials
from analytics_assets_tests.servers.demo_api import DEMOS, NOON, Demo
from analytics_assets_tests.servers.fake_api import PATHS
from analytics_assets_tests.servers.running import running
from analytics_assets_tests.support.checkout import CHECKOUT
from analytics_assets_tests.support.eight import BY_NAME, EIGHT, RESOURCES
from analytics_assets_tests.support.project import Project, metadata
from analytics_assets_tests.support.shipped import DIALECTS, as_shipped
from analytics_assets_tests.support.shipped import RESOURCES as SHIPPED_RESOURCES

EVERY_RESOURCE = pytest.mark.parametrize("resource", RESOURCES, ids=lambda resource: resource.name)


@pytest.fixture(params=DEMOS)
def demo(request: pytest.FixtureRequest) -> Iterator[Demo]:
    """A demo API, in each dialect."""
    demo = DEMOS[request.param]()
    with running(demo.server):
        yield demo


@pytest.fixture
def analytics() -> Iterator[Demo]:
    demo = Demo()
    with running(demo.server):
        yield demo


def instant(spelled: str | float) -> datetime:
    """Reads a point in time as either dialect spells it, which has to be strict."""
    if isinstance(spelled, str):
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{6})?Z", spelled)
        return datetime.fromisoformat(spelled.removesuffix("Z")).replace(tzinfo=UTC)
    assert isinstance(spelled, float)
    return datetime.fromtimestamp(spelled, UTC)


def meant(row: Row, resource: Resource) -> Row:
    """What a row means, however it is spelled: times as instants, and nulls as fields that are not there."""
    times = {column.name for column in resource.columns if column.type == "timestamp"}
    return {name: instant(value) if name in times else value for name, value in row.items() if value is not None}


def made(resource: Resource, now: datetime = NOON) -> list[Row]:
    """What the demo's rows are before a dialect spells them."""
    rows = read_listing(PATHS[resource.name], now) or []
    return [{name: value for name, value in row.items() if value is not None} for row in rows]


@EVERY_RESOURCE
def test_rows_have_declared_fields_unique_ids_and_no_time_to_come(resource: Resource) -> None:
    rows = made(resource)
    declared = {column.name: column for column in resource.columns}
    assert len({row["id"] for row in rows}) == len(rows) > 15
    for row in rows:
        assert set(row) <= set(declared)
        assert all(value <= NOON for value in row.values() if isinstance(value, datetime))
        assert {name for name, value in row.items() if isinstance(value, datetime)} <= {
            name for name, column in declared.items() if column.type == "timestamp"
        }


@EVERY_RESOURCE
def test_each_dialect_tells_the_same_rows_to_the_microsecond(demo: Demo, resource: Resource) -> None:
    listed = sorted((meant(row, resource) for row in demo.listing(resource.name)), key=lambda row: row["id"])
    assert listed == sorted(made(resource), key=lambda row: row["id"])


def test_there_are_nulls_absent_fields_nested_values_and_microseconds(analytics: Demo) -> None:
    rows = [row for name in PATHS for row in analytics.listing(name)]
    assert any(value is None for row in rows for value in row.values())
    assert any(isinstance(value, dict) and value for row in rows for value in row.values())
    assert any(isinstance(value, list) and value for row in rows for value in row.values())
    assert len({frozenset(row) for row in analytics.rows("activities", limit=100)}) > 1
    activities = made(BY_NAME["activities"])
    assert 3_000 < len(activities) < 6_000
    assert len({row["activityTime"].microsecond % 1000 for row in activities}) > 900


def test_ids_of_activities_are_not_strictly_in_the_order_of_time_but_within_the_lag(demo: Demo) -> None:
    """The lag is how far behind its cursor a sync starts: what is reported later than that would be lost."""
    activities = BY_NAME["activities"]
    rows = sorted((meant(row, activities) for row in demo.listing("activities")), key=lambda row: row["id"])
    newest = datetime.min.replace(tzinfo=UTC)
    behind = timedelta()
    for row in rows:
        behind = max(behind, newest - row["activityTime"]) if newest.year > 1 else behind
        newest = max(newest, row["activityTime"])
    assert timedelta(minutes=1) < behind < timedelta(seconds=activities.lag_seconds)


def test_pages_follow_each_other_and_end_on_an_empty_one(analytics: Demo) -> None:
    assert len(analytics.rows("organizations")) == 20
    pages = [[row["id"] for row in analytics.rows("organizations", after=after, limit=30)] for after in (0, 30, 60)]
    assert pages[0] == list(range(1, 31))
    assert pages[1][0] == 31
    assert pages[2] == []


def test_an_hour_later_there_are_new_activities() -> None:
    before = {resource.name: made(resource) for resource in RESOURCES}
    activities = made(BY_NAME["activities"], NOON + timedelta(hours=1))
    assert len(activities) == len(before["activities"]) + 12
    assert activities[: len(before["activities"])] == before["activities"]
    for resource in RESOURCES:
        if resource.cursor and resource.name != "roles":
            assert made(resource, NOON + timedelta(hours=25)) != before[resource.name]


def test_before_its_world_begins_there_are_no_activities(demo: Demo) -> None:
    demo.now = datetime(2025, 12, 31, tzinfo=UTC)
    assert demo.rows("activities") == []
    assert len(demo.rows("organizations")) >= 20


@pytest.mark.parametrize(
    ("path", "token", "query", "status"),
    [
        ("/v2/policies", "wrong", {}, 401),
        ("/v2/nothing", DEMO_TOKEN, {}, 404),
        ("/v2/organizations", DEMO_TOKEN, {"after": "x"}, 400),
        ("/v2/organizations", DEMO_TOKEN, {"limit": 0}, 400),
        ("/", "none", {}, 200),
    ],
)
def test_answers_to_wrong_requests(analytics: Demo, path: str, token: str, query: dict[str, Any], status: int) -> None:
    assert analytics.get(path, f"Bearer {token}", **query).status_code == status


@pytest.mark.parametrize("dialect", DIALECTS)
def test_the_demo_runs_alone_and_prints_the_settings_that_lead_to_it(
    dialect: str, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = [sys.executable, "-m", "analytics_assets.demo", "--port", "0", "--dialect", dialect]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert "http://127.0.0.1:" in process.stdout.readline()
        try:
            for setting in process.stdout.readline().split():
                monkeypatch.setenv(*setting.split("=", 1))
            result = as_shipped(project).sync()
        finally:
            # Not terminate: whoever runs the tests may have that signal ignored.
            process.kill()
    assert all(metadata(result, resource)["rows_loaded"] > 15 for resource in SHIPPED_RESOURCES)


@pytest.mark.parametrize("dialect", DEMOS)
def test_a_run_with_nothing_configured_is_served_by_the_embedded_demo(
    dialect: str, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCES__ANALYTICS__DIALECT", dialect)
    # Left over from another API.
    for key in ("API_KEY", "CLIENT_ID", "CLIENT_SECRET"):
        monkeypatch.setenv(f"SOURCES__ANALYTICS__{key}", "another")
    result = project.sync("activities", "locations")
    assert metadata(result, "activities")["rows_loaded"] > 3_000
    assert metadata(result, "locations")["dagster/row_count"] > 50


@pytest.mark.parametrize("dialect", DEMOS)
def test_tables_hold_the_rows_of_the_demo_cell_by_cell(
    dialect: str, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    demo = DEMOS[dialect]()
    settings = {
        "dialect": dialect,
        "base_url": demo.server.url,
        "page_size": "1000",
        **credentials(EIGHT.dialects_by_name[dialect]),
    }
    for key, value in settings.items():
        monkeypatch.setenv(f"SOURCES__ANALYTICS__{key.upper()}", value)
    with running(demo.server):
        project.sync()
    for resource in RESOURCES:
        columns = {column.name: re.sub("([A-Z])", r"_\1", column.name).lower() for column in resource.columns}
        cells = project.query(f"SELECT {', '.join(columns.values())} FROM analytics.{resource.name} ORDER BY id")
        nested = {column.name for column in resource.columns if column.type == "json"}
        loaded = [
            {
                name: json.loads(cell) if name in nested else cell
                for name, cell in zip(columns, row, strict=True)
                if cell is not None
            }
            for row in cells
        ]
        assert loaded == sorted(made(resource), key=lambda row: row["id"])


@pytest.mark.skipif(shutil.which("make") is None, reason="there is no make")
def test_make_passes_the_dialect_on() -> None:
    # Without what a make that runs these tests was told.
    environment = {name: value for name, value in os.environ.items() if name not in {"DIALECT", "MAKEFLAGS"}}

    def commands(*arguments: str) -> str:
        command = ["make", "--dry-run", *arguments]
        return subprocess.run(command, cwd=CHECKOUT, env=environment, capture_output=True, text=True, check=True).stdout

    for target in ("demo", "dev"):
        assert "SOURCES__ANALYTICS__DIALECT=ninjaone " in commands(target, "DIALECT=ninjaone")
        assert "DIALECT" not in commands(target)
