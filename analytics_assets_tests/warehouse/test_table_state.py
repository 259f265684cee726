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
