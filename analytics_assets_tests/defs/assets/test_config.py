"""Run config of the asset op."""

from typing import Any

import pytest
from pydantic import BaseModel

from analytics_assets.api.settings_reader import LONGEST_LAG
from analytics_assets.defs.assets.config import SyncConfig
from analytics_assets.defs.assets.resource import AnalyticsResource
from analytics_assets.demo.server import credentials
from analytics_assets_tests.servers.demo_api import DEMOS
from analytics_assets_tests.servers.fake_api import FakeApi
from analytics_assets_tests.servers.running import running
from analytics_assets_tests.support.eight import EIGHT
from analytics_assets_tests.support.project import Project, failure_message, metadata
from analytics_assets_tests.support.waiting import Turnstile


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"start": "last week"}, "start: 'last week' is not an ISO 8601"),
        (
            {"start": "0000-01-01"},
            "start: '0000-01-01' is not an ISO 8601 date-time from 1500-01-01 to 9999-12-31, such",
        ),
        (
            {"start": "1499-12-31"},
            "start: '1499-12-31' is not an ISO 8601 date-time from 1500-01-01 to 9999-12-31, such",
        ),
        (
            {"start": "0001-01-01T00:00:00+14:00"},
            "start: '0001-01-01T00:00:00+14:00' is not an ISO 8601 date-time from",
        ),
        (
            {"start": "2024-05-01", "end": "9999-12-31T23:59:59-05:00"},
            "end: '9999-12-31T23:59:59-05:00' is not an ISO 8601 date-time from 1500-01-01 to 9999-12-31, such as 2024",
        ),
        ({"end": "2024-05-01T00:00:00Z"}, "end without start"),
        ({"start": "2024-05-02", "end": "2024-05-01"}, "is not before"),
        ({"start": "2024-05-02", "mode": "full"}, "goes with mode: incremental"),
        ({"page_size": 0}, "page_size: 0 is below 1"),
        ({"requests_in_flight": -1}, "requests_in_flight: -1 is below 1"),
    ],
)
def test_wrong_run_config_is_refused_before_any_request(
    api: FakeApi, project: Project, config: dict[str, Any], message: str
) -> None:
    result = project.run("activities", config=config)
    assert not result.success
    assert message in failure_message(result)
    assert api.requests == []
    run = project.instance.get_run_by_id(result.run_id)
    assert run is not None
    assert run.tags["dagster/max_retries"] == "0"


@pytest.mark.parametrize("config", [SyncConfig, AnalyticsResource])
def test_the_launchpad_shows_each_description_whole(config: type[BaseModel]) -> None:
    # Its list of fields cuts a text of 90 characters.
    said = {name: field.description or "" for name, field in config.model_fields.items()}
    assert {name: text for name, text in said.items() if not 0 < len(text) < 90} == {}


@pytest.mark.parametrize("dialect", DEMOS)
def test_the_first_and_the_last_date_that_are_taken_work(
    project: Project, monkeypatch: pytest.MonkeyPatch, dialect: str
) -> None:
    # Its clock stands: under a moving one, an activity may be added between two of the syncs.
    demo = DEMOS[dialect]()
    settings = {"dialect": dialect, "base_url": demo.server.url, "page_size": "1000", "lag_seconds": str(LONGEST_LAG)}
    for key, value in (settings | credentials(EIGHT.dialects_by_name[dialect])).items():
        monkeypatch.setenv(f"SOURCES__ANALYTICS__{key.upper()}", value)
    with running(demo.server):
        monkeypatch.setenv("START_DATE", "9999-12-31")
        assert metadata(project.sync("activities", "policies"), "activities")["rows_loaded"] == 0
        monkeypatch.setenv("START_DATE", "1500-01-01")
        window = {"start": "1500-01-01", "end": "9999-12-31"}
        loaded = metadata(project.sync("activities", "policies", config=window), "activities")["rows_loaded"]
        assert loaded > 0
        for mode in ("rebuild", "incremental", "full"):
            said = metadata(project.sync("activities", "policies", config={"mode": mode}), "activities")
            assert said["dagster/row_count"] == loaded


def test_page_size_and_requests_in_flight_of_a_run_win_over_all_else(
    api: FakeApi, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    def sync_through(turnstile: Turnstile, run_config: dict[str, Any]) -> set[str]:
        """The page sizes of a sync, all requests of which pass a turnstile."""
        api.requests.clear()
        for name in api.faults:
            api.faults[name] = [turnstile]
        project.sync(run_config=run_config)
        return {request.query["limit"] for request in api.asked("activities")}

    monkeypatch.setenv("SOURCES__ANALYTICS__PAGE_SIZE", "30")
    monkeypatch.setenv("SOURCES__ANALYTICS__REQUESTS_IN_FLIGHT", "4")
    op = {"config": {"page_size": 11, "requests_in_flight": 1}}
    fields = {"config": {"page_size": 40, "requests_in_flight": 3}}
    one, two = Turnstile(1), Turnstile(2)
    run_config = {"ops": {"analytics_api": op}, "resources": {"analytics": fields}}
    assert sync_through(one, run_config) == {"11"}
    assert one.most == 1
    op = {"config": {"requests_in_flight": 2}}
    assert sync_through(two, {"ops": {"analytics_api": op}}) == {"30"}
    assert two.most == 2
