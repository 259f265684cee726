"""Tables of others in the same dataset: no sync touches them."""

from dataclasses import replace
from typing import Any

import pytest

from analytics_assets.api.connector import Connector
from analytics_assets.api.settings_reader import read_settings
from analytics_assets.warehouse.errors import CatalogChangeError
from analytics_assets.warehouse.session import open_session
from analytics_assets.warehouse.sync import Synced, begin_sync, sync
from analytics_assets_tests.servers.fake_api import FakeApi
from analytics_assets_tests.support.eight import EIGHT
from analytics_assets_tests.support.project import Project
from analytics_assets_tests.support.rows import group
from analytics_assets_tests.support.wire import Scene

OTHER = replace(EIGHT, name="analytics_eu", config_section="sources.analytics", dataset_name="analytics")


def load(connector: Connector = EIGHT, *, rebuild: bool = False) -> Synced:
    with (
        open_session(read_settings(connector)) as session,
        begin_sync(session, [connector.by_name["groups"]]) as [pending],
    ):
        return sync(pending, session, rebuild=rebuild)


def found(scene: Scene) -> list[tuple[Any, Any]]:
    return sorted((row["id"], row["deleted_at"]) for row in scene.warehouse.query("SELECT * FROM analytics.groups"))


def test_the_table_of_another_connector_is_refused_before_any_request(anywhere: Scene) -> None:
    anywhere.api.rows["groups"] = [group(1), group(2)]
    load()
    anywhere.api.rows["groups"] = [group(8), group(9)]
    anywhere.api.requests.clear()
    for rebuild in (False, True):
        with pytest.raises(CatalogChangeError) as caught:
            load(OTHER, rebuild=rebuild)
        assert str(caught.value) == (
            "groups: the table analytics.groups does not belong to the connector analytics_eu, but to the pipeline"
            " analytics_groups. Each would mark the other's rows as deleted, so no request was made, and the table"
            " stays as it is, even with mode: rebuild. Give the connector another dataset (dataset_name) or the"
            " resource another name, or drop the table if nothing needs it any more."
        )
    assert anywhere.api.requests == []
    assert found(anywhere) == [(1, None), (2, None)]
    assert load(replace(OTHER, dataset_name="analytics_eu")).rows_in_table == 2


@pytest.mark.parametrize("loss", ["DELETE FROM analytics._dlt_loads", "DELETE FROM analytics.groups"])
def test_without_a_load_the_schemas_tell_whose_the_table_is(empty_api: FakeApi, project: Project, loss: str) -> None:
    empty_api.rows["groups"] = [group(1)]
    load()
    project.query(loss)
    with pytest.raises(CatalogChangeError, match="but to the pipeline analytics_groups"):
        load(OTHER)
    assert load().rows_in_table == 1


def test_after_a_drop_the_table_is_of_the_connector_that_loads_it_next(empty_api: FakeApi, project: Project) -> None:
    empty_api.rows["groups"] = [group(1)]
    load()
    project.query("DROP TABLE analytics.groups")
    for loaded in (1, 0):
        assert load(OTHER).rows_loaded == loaded
    with pytest.raises(CatalogChangeError, match="but to the pipeline analytics_eu_groups"):
        load()


@pytest.mark.parametrize("columns", ["1 AS id", "1 AS id, '1' AS _dlt_load_id"])
def test_a_table_that_somebody_else_made_is_refused(empty_api: FakeApi, project: Project, columns: str) -> None:
    empty_api.rows |= {"groups": [group(2)], "roles": []}
    project.sync("roles")
    empty_api.requests.clear()
    project.query(f"CREATE TABLE analytics.groups AS SELECT {columns}")
    for rebuild in (False, True):
        with pytest.raises(CatalogChangeError, match="but to something else, as no load of ours made it"):
            load(rebuild=rebuild)
    assert empty_api.requests == []
    assert project.ids("groups") == [1]


def test_a_table_that_was_made_before_a_kill_is_loaded(empty_api: FakeApi, project: Project) -> None:
    empty_api.rows["groups"] = [group(1)]
    load()
    # What is left where a table is made outside of a transaction, and its schema is not stored yet.
    project.query("DELETE FROM analytics.groups")
    project.query("DELETE FROM analytics._dlt_version WHERE schema_name = 'analytics_groups'")
    project.query("DELETE FROM analytics._dlt_pipeline_state")
    assert load().rows_in_table == 1
