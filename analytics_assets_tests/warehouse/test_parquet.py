"""How the file of a listing gets into its table: appended where there is nothing to merge with."""

import json
from collections.abc import Sequence
from typing import Any

import dlt
import pytest

from analytics_assets.warehouse.parquet import DEDUPLICATED
from analytics_assets_tests.servers.fake_api import FakeApi
from analytics_assets_tests.support.project import Project
from analytics_assets_tests.support.rows import activity, policy


def test_the_first_load_is_appended_and_the_next_is_merged(
    api: FakeApi, project: Project, capfd: pytest.CaptureFixture[str]
) -> None:
    project.sync()
    assert disposition(project, "policies") == disposition(project, "locations") == "append"
    assert not has_staging_table(project, "policies")
    assert "[WARNING]" not in capfd.readouterr().err

    api.rows["policies"][2] = policy(3, "2024-06-01T00:00:00Z", name="Edited")
    project.sync("policies")
    assert disposition(project, "policies") == "merge"
    # Rows that are merged are not kept twice, unless it is configured so, and pipelines of a host are left alone.
    assert has_staging_table(project, "policies")
    assert project.query("SELECT count(*) FROM analytics_staging.policies") == [(0,)]
    assert dlt.config.get("load.truncate_staging_dataset") is None
    assert dlt.config.get("extract.futures_poll_interval") is None
    assert project.query("SELECT name FROM analytics.policies WHERE id = 3") == [("Edited",)]

    project.sync("policies", config={"mode": "rebuild"})
    assert disposition(project, "policies") == "append"
    assert project.ids("policies") == [row["id"] for row in api.rows["policies"]]

    project.query("DELETE FROM analytics.policies")
    project.sync("policies")
    assert project.ids("policies") == [row["id"] for row in api.rows["policies"]]


def test_rows_whose_ids_the_table_has_not_are_appended(api: FakeApi, project: Project) -> None:
    rows = api.rows["activities"]
    project.sync("activities")
    rows.append(activity(900))
    project.sync("activities")
    assert disposition(project, "activities") == "append"
    assert not has_staging_table(project, "activities")

    rows[2] |= {"message": "Edited"}
    rows.append(activity(901))
    project.sync("activities", config={"mode": "full"})
    assert project.ids("activities") == [row["id"] for row in rows]
    assert project.query("SELECT id FROM analytics.activities WHERE message = 'Edited'") == [(rows[2]["id"],)]


def test_dlts_own_keys_win(api: FakeApi, project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOAD__TRUNCATE_STAGING_DATASET", "false")
    project.sync("roles")
    api.rows["roles"].append({**api.rows["roles"][0], "id": 900})
    project.sync("roles", config={"mode": "full"})
    [[kept]] = project.query("SELECT count(*) FROM analytics_staging.roles")
    assert kept


@pytest.mark.parametrize("undeclared", [None, 30, 70], ids=["tables", "rows between", "rows at the end"])
def test_a_row_that_is_listed_twice_is_loaded_once_in_its_newer_version(
    api: FakeApi, project: Project, monkeypatch: pytest.MonkeyPatch, undeclared: int | None
) -> None:
    # So far apart that the paging does not notice.
    monkeypatch.setattr("analytics_assets.api.pagination.offset.REMEMBERED_KEYS", 10)
    monkeypatch.setattr("analytics_assets.api.prefetch.BATCH_ROWS", 20)
    monkeypatch.setenv("SOURCES__ANALYTICS__PAGE_SIZE", "5")
    rows = [activity(n) for n in range(1, 71)]
    rows[6] = activity(7, "2024-05-03T00:00:00Z", message="Newer")
    rows.append(activity(7, "2024-05-02T00:00:00Z", message="Older"))
    if undeclared is not None:
        rows[undeclared] |= {"brandNew": "x"}
    api.rows["activities"] = rows
    project.sync("activities")
    assert project.ids("activities") == list(range(1, 71))
    assert project.query("SELECT message FROM analytics.activities WHERE id = 7") == [("Newer",)]


@pytest.mark.parametrize("undeclared", [[], [30], range(72)], ids=["tables", "rows between", "rows alone"])
def test_a_row_that_is_listed_twice_is_merged_once_also_after_a_load_in_which_none_was(
    api: FakeApi, project: Project, monkeypatch: pytest.MonkeyPatch, undeclared: Sequence[int]
) -> None:
    monkeypatch.setattr("analytics_assets.api.pagination.offset.REMEMBERED_KEYS", 10)
    monkeypatch.setattr("analytics_assets.api.prefetch.BATCH_ROWS", 20)
    monkeypatch.setenv("SOURCES__ANALYTICS__PAGE_SIZE", "5")
    for month in (5, 6):
        api.rows["activities"] = [activity(n, f"2024-{month:02}-01T00:00:00Z") for n in range(1, 71)]
        project.sync("activities")
    assert is_deduplicated(project, "activities")

    rows = [activity(n, "2024-07-01T00:00:00Z") for n in range(1, 71)]
    rows[6] = activity(7, "2024-07-03T00:00:00Z", message="Newer")
    rows += [activity(7, "2024-07-02T00:00:00Z", message="Older"), activity(71, "2024-07-01T00:00:00Z")]
    for position in undeclared:
        rows[position] |= {"brandNew": "x"}
    api.rows["activities"] = rows
    project.sync("activities")
    assert not is_deduplicated(project, "activities")
    assert project.ids("activities") == list(range(1, 72))
    assert project.query("SELECT message FROM analytics.activities WHERE id = 7") == [("Newer",)]


def disposition(project: Project, resource: str) -> str:
    """How dlt has loaded a resource last, by the schema that it has stored."""
    found: str = table_schema(project, resource)["write_disposition"]
    return found


def is_deduplicated(project: Project, resource: str) -> bool:
    """Whether dlt has been told that no id is there twice when it loaded the resource last."""
    found: bool = table_schema(project, resource)[DEDUPLICATED]
    return found


def table_schema(project: Project, resource: str) -> dict[str, Any]:
    query = f"""
        SELECT schema FROM analytics._dlt_version WHERE schema_name = 'analytics_{resource}'
        ORDER BY inserted_at DESC LIMIT 1
    """
    [[schema]] = project.query(query)
    found: dict[str, Any] = json.loads(schema)["tables"][resource]
    return found


def has_staging_table(project: Project, resource: str) -> bool:
    tables = project.query("SELECT table_schema, table_name FROM information_schema.tables")
    return ("analytics_staging", resource) in tables
