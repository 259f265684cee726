"""The demo API: faithful, reproducible and alive."""

import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
import requests

from analytics_assets.api.catalog import RESOURCES, Resource
from analytics_assets.api.dialects.analytics import ANALYTICS
from analytics_assets.demo.server import DEMO_TOKEN, DemoServer
from analytics_assets_tests.conftest import Project, metadata

NOON = datetime(2026, 7, 1, 12, tzinfo=timezone.utc)


class Demo:
    """A demo API whose clock the test sets."""

    def __init__(self) -> None:
        self.now = NOON
        self.server = DemoServer(clock=lambda: self.now)

    def get(self, path: str, token: str = DEMO_TOKEN, **query: Any) -> requests.Response:
        headers = {"Authorization": f"Bearer {token}"}
        return requests.get(self.server.url + path, params=query, headers=headers, timeout=10)

    def rows(self, resource: Resource, **query: Any) -> list[dict[str, Any]]:
        endpoint = ANALYTICS.endpoints[resource.name]
        return self.get(endpoint.path, **query).json()[endpoint.selector]  # type: ignore[no-any-return]

    def listing(self, resource: Resource) -> list[dict[str, Any]]:
        paged = ANALYTICS.endpoints[resource.name].paging
        return self.rows(resource, limit=1000) + self._rest(resource) if paged else self.rows(resource)

    def _rest(self, resource: Resource) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = []
        while page := self.rows(resource, limit=1000, after=1000 + len(rows)):
            rows += page
        return rows


@pytest.fixture
def demo() -> Iterator[Demo]:
    demo = Demo()
    thread = threading.Thread(target=demo.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield demo
    demo.server.shutdown()
    demo.server.server_close()
    thread.join()


@pytest.mark.parametrize("resource", RESOURCES, ids=lambda resource: resource.name)
def test_rows_have_declared_fields_unique_ids_and_iso_times(demo: Demo, resource: Resource) -> None:
    rows = demo.listing(resource)
    declared = {column.name: column for column in resource.columns}
    assert len({row["id"] for row in rows}) == len(rows) > 15
    for row in rows:
        assert set(row) <= set(declared)
        for name, value in row.items():
            if declared[name].type == "timestamp" and value is not None:
                assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", value)
                assert value <= "2026-07-01T12:00:00Z"
    assert demo.listing(resource) == rows


def test_there_are_nulls_absent_fields_and_nested_values(demo: Demo) -> None:
    rows = [row for resource in RESOURCES for row in demo.listing(resource)]
    assert any(value is None for row in rows for value in row.values())
    assert any(isinstance(value, dict) and value for row in rows for value in row.values())
    assert any(isinstance(value, list) and value for row in rows for value in row.values())
    activities = next(resource for resource in RESOURCES if resource.name == "activities")
    assert len({frozenset(row) for row in demo.rows(activities, limit=100)}) > 1
    assert 3_000 < len(demo.listing(activities)) < 6_000


def test_pages_follow_each_other_and_end_on_an_empty_one(demo: Demo) -> None:
    organizations = RESOURCES[0]
    assert len(demo.rows(organizations)) == 20
    pages = [[row["id"] for row in demo.rows(organizations, after=after, limit=30)] for after in (0, 30, 60)]
    assert pages[0] == list(range(1, 31))
    assert pages[1][0] == 31
    assert pages[2] == []


def test_an_hour_later_there_is_news(demo: Demo) -> None:
    before = {resource.name: demo.listing(resource) for resource in RESOURCES}
    demo.now += timedelta(hours=1)
    after = {resource.name: demo.listing(resource) for resource in RESOURCES}

    assert len(after["activities"]) == len(before["activities"]) + 12
    assert after["activities"][: len(before["activities"])] == before["activities"]
    demo.now += timedelta(days=1)
    for resource in RESOURCES:
        if resource.cursor and resource.name != "roles":
            assert demo.listing(resource) != before[resource.name]


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
def test_answers_to_wrong_requests(demo: Demo, path: str, token: str, query: dict[str, Any], status: int) -> None:
    assert demo.get(path, token, **query).status_code == status


def test_it_runs_alone_on_a_loopback_port(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    command = [sys.executable, "-m", "analytics_assets.demo", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        url = process.stdout.readline().split()[3].rstrip(".")
        try:
            assert url.startswith("http://127.0.0.1:")
            monkeypatch.setenv("SOURCES__ANALYTICS__BASE_URL", url)
            monkeypatch.setenv("SOURCES__ANALYTICS__API_KEY", DEMO_TOKEN)
            result = project.sync("roles")
        finally:
            # Not terminate: whoever runs the tests may have that signal ignored.
            process.kill()
    assert metadata(result, "roles")["rows_loaded"] > 15


def test_the_embedded_one_serves_a_run_with_nothing_configured(project: Project) -> None:
    result = project.sync("activities", "locations")
    assert metadata(result, "activities")["rows_loaded"] > 3_000
    assert metadata(result, "locations")["dagster/row_count"] > 50
