from pathlib import Path

import pytest

from analytics_assets_tests.conftest import Project, failure_message, materialized, metadata
from analytics_assets_tests.fake_api import PATHS, TOKEN, Answer, FakeApi
from analytics_assets_tests.rows import activity, organization, policy


def test_first_sync_loads_exactly_the_rows_of_the_api(api: FakeApi, project: Project) -> None:
    result = project.sync()

    assert materialized(result) == list(PATHS)
    for resource, rows in api.rows.items():
        assert project.ids(resource) == [row["id"] for row in rows]
        assert metadata(result, resource)["rows_loaded"] == len(rows)
        assert metadata(result, resource)["dagster/row_count"] == len(rows)
        assert metadata(result, resource)["dagster/table_name"] == f"analytics.{resource}"


def test_paging_goes_on_until_an_empty_page_and_sends_the_token(api: FakeApi, project: Project) -> None:
    project.sync("organizations", "policies")

    asked = api.asked("organizations")
    assert [request.query for request in asked] == [
        {"after": after, "limit": "20"} for after in ("0", "20", "40", "45")
    ]
    assert {request.headers["Authorization"] for request in api.requests} == {f"Bearer {TOKEN}"}
    assert [request.query for request in api.asked("policies")] == [{}]
