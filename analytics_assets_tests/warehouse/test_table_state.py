"""Tables that were dropped or emptied, and loads that died halfway."""

import pytest

from analytics_assets_tests.servers.fake_api import FakeApi
from analytics_assets_tests.support.project import Project, metadata
from analytics_assets_tests.support.rows import policy


@pytest.mark.parametrize("loss", ["DROP TABLE", "DELETE FROM"])
def test_a_table_that_was_dropped_or_emptied_is_loaded_again_from_the_start(
    api: FakeApi, project: Project, loss: str
) -> None:
    project.sync("policies", "roles")
    # Emptied is also how a rebuild leaves a table that is killed between dlt's drop and its load.
    project.query(f"{loss} analytics.policies")
    result = project.sync("policies", "roles")

    assert metadata(result, "policies")["rows_loaded"] == 3
    assert project.ids("policies") == [1, 2, 3]
    assert metadata(result, "roles")["rows_loaded"] == 0


@pytest.mark.parametrize(
    "loss",
    ["_dlt_loads WHERE schema_name", "_dlt_pipeline_state WHERE pipeline_name", "_dlt_version WHERE schema_name"],
)
def test_a_rebuild_replaces_rows_of_which_dlt_has_no_record(api: FakeApi, project: Project, loss: str) -> None:
    """As a first load that was killed before its end leaves them."""
    project.sync("policies", "roles")
    project.query(f"DELETE FROM analytics.{loss} = 'analytics_policies'")
    api.rows["policies"][2] = policy(3, name="Edited")
    project.sync("policies", config={"mode": "rebuild"})
    names = [("Policy 1",), ("Policy 2",), ("Edited",)]
    assert project.query("SELECT name FROM analytics.policies ORDER BY id") == names
    result = project.sync("policies", "roles")
    assert [metadata(result, name)["rows_loaded"] for name in ("policies", "roles")] == [0, 0]


def test_a_load_that_died_after_its_merge_does_not_hide_what_comes_next(api: FakeApi, project: Project) -> None:
    project.sync("policies")
    api.rows["policies"][2] = policy(3, name="Second")
    project.sync("policies")
    newest = "SELECT max(_dlt_load_id) FROM analytics.policies"
    # What a kill at that point leaves: the rows are merged, but dlt does not count the load.
    project.query(f"DELETE FROM analytics._dlt_loads WHERE load_id IN ({newest})")
    api.rows["policies"][2] = policy(3)
    project.sync("policies")
    assert project.query("SELECT name FROM analytics.policies WHERE id = 3") == [("Policy 3",)]
    assert metadata(project.sync("policies"), "policies")["rows_loaded"] == 0
