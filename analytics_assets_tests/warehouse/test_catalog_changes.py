"""A catalog that changes over tables that are there: columns that are added, removed or get another type."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import dlt
import pytest
from dlt.extract.source import DltSource

from analytics_assets.api.catalog import Column, Resource
from analytics_assets.api.reading import Reading
from analytics_assets.api.settings_reader import read_date
from analytics_assets.warehouse.errors import CatalogChangeError
from analytics_assets.warehouse.session import open_session
from analytics_assets.warehouse.shape import SHAPE
from analytics_assets.warehouse.sync import Run, Synced, begin_sync, run_by_dlt, sync
from analytics_assets_tests.servers.fake_api import Answer, FakeApi
from analytics_assets_tests.servers.fake_ninjaone import FakeNinjaOne
from analytics_assets_tests.support.eight import BY_NAME
from analytics_assets_tests.support.project import Project, failure_message, materialized
from analytics_assets_tests.support.rows import events, group
from analytics_assets_tests.support.wire import Scene

GROUPS = BY_NAME["groups"]


@dataclass
class Loader:
    """Syncs a resource as a catalog declares it, and keeps what is said meanwhile."""

    said: list[str] = field(default_factory=list)

    def __call__(
        self, resource: Resource, reading: Reading | None = None, *, rebuild: bool = False, run: Run = run_by_dlt
    ) -> Synced:
        self.said.clear()
        with open_session(log=self.said.append) as session, begin_sync(session, [resource]) as [pending]:
            return sync(pending, session, reading, rebuild=rebuild, run=run)


@pytest.fixture
def load(project: Project) -> Loader:
    return Loader()


def declaring(resource: Resource, **types: Any) -> Resource:
    """The resource with further columns, or with other types of its columns; `None` removes one."""
    kept = tuple(column for column in resource.columns if column.name not in types)
    return replace(
        resource, columns=kept + tuple(Column(name, type_, "Changed") for name, type_ in types.items() if type_)
    )


def die_before_rows(pipeline: dlt.Pipeline, source: DltSource, options: Mapping[str, Any]) -> None:
    """A run that dies when dlt has changed the table, and before it loads rows."""
    pipeline.extract(source, loader_file_format=options.get("loader_file_format"))
    pipeline.normalize()
    pipeline.sync_schema()
    raise KeyboardInterrupt


def run_without_note(pipeline: dlt.Pipeline, source: DltSource, options: Mapping[str, Any]) -> None:
    """A run that leaves no note of the shape in the state, as early versions did."""
    run_by_dlt(pipeline, source, options)
    with pipeline.managed_state(extract_state=True) as state:
        del state["sources"]["analytics_groups"]["resources"]["groups"][SHAPE]
    pipeline.normalize()
    pipeline.load()


def test_a_column_that_is_added_is_filled_in_all_rows_by_the_next_sync(
    empty_api: FakeApi, project: Project, load: Loader
) -> None:
    empty_api.rows["groups"] = [group(n, f"2024-05-{n:02}T00:00:00Z", siteName=f"Site {n}") for n in range(1, 31)]
    before = replace(GROUPS, columns=GROUPS.columns, dropped=("siteName",))
    load(before)
    empty_api.requests.clear()
    assert load(declaring(GROUPS, siteName="text")).rows_loaded == 30
    assert load.said == [
        "groups: the catalog now declares 'siteName', so everything is read again to fill the older rows"
    ]
    assert len(empty_api.asked("groups")) == 1
    assert project.query("SELECT count(*) FROM analytics.groups WHERE site_name = 'Site ' || id") == [(30,)]
    for loaded in (0, 0):
        assert load(declaring(GROUPS, siteName="text")).rows_loaded == loaded
        assert load.said == []


def test_a_run_that_dies_between_the_new_column_and_its_values_does_not_lose_them(
    empty_api: FakeApi, project: Project, load: Loader
) -> None:
    rows = [group(n, f"2024-05-{n:02}T00:00:00Z") for n in range(1, 31)]
    empty_api.rows["groups"] = rows
    load(GROUPS)
    for row in rows:
        row["siteName"] = f"Site {row['id']}"
    changed = declaring(GROUPS, siteName="text")
    with pytest.raises(KeyboardInterrupt):
        load(changed, run=die_before_rows)
    filled = "SELECT count(*), count(site_name) FROM analytics.groups"
    assert project.query(filled) == [(30, 0)]
    load(changed)
    assert project.query(filled) == [(30, 30)]
    load(changed)
    assert load.said == []


def test_a_full_read_that_fails_is_made_up_for(empty_api: FakeApi, project: Project, load: Loader) -> None:
    empty_api.rows["groups"] = [group(n, f"2024-05-{n:02}T00:00:00Z") for n in range(1, 31)]
    load(GROUPS)
    for row in empty_api.rows["groups"]:
        row["siteName"] = "here"
    empty_api.answer_with("groups", Answer(403))
    with pytest.raises(Exception, match="403"):
        load(declaring(GROUPS, siteName="text"))
    load(declaring(GROUPS, siteName="text"))
    assert project.query("SELECT count(site_name) FROM analytics.groups") == [(30,)]


def test_a_window_says_that_the_next_sync_fills_the_other_rows(
    empty_api: FakeApi, project: Project, load: Loader
) -> None:
    empty_api.rows["groups"] = [group(n, f"2024-05-{n:02}T00:00:00Z") for n in range(1, 31)]
    load(GROUPS)
    for row in empty_api.rows["groups"]:
        row["siteName"] = "here"
    changed = declaring(GROUPS, siteName="text")
    load(changed, Reading(start=read_date("2024-05-03"), end=read_date("2024-05-05")))
    assert load.said == [
        "groups: the catalog now declares 'siteName'. The next sync without a window fills the older rows"
    ]
    assert project.ids("groups", "site_name IS NOT NULL") == [3, 4]
    load(changed)
    assert project.query("SELECT count(site_name) FROM analytics.groups") == [(30,)]


def test_events_get_a_new_column_in_slices_and_a_gap_that_is_left_is_filled(
    ninjaone: FakeNinjaOne, project: Project, load: Loader
) -> None:
    ninjaone.rows["activities"] = events(1, 2_550)
    load(BY_NAME["activities"])
    for row in ninjaone.rows["activities"]:
        row["siteName"] = "here"
    changed = declaring(BY_NAME["activities"], siteName="text")
    ninjaone.faults["activities"].append(
        lambda request: Answer(400) if int(request.query.get("olderThan", 2**40)) < 100 else None
    )
    with pytest.raises(Exception, match="400"):
        load(changed)
    filled = "SELECT count(*), count(site_name) FROM analytics.activities"
    assert project.query(filled) == [(2_550, 2_000)]
    ninjaone.faults["activities"].clear()
    assert load(changed).rows_loaded == 550
    assert load.said == []
    assert project.query(filled) == [(2_550, 2_550)]


def test_an_undeclared_field_that_is_declared_as_json_is_not_read_again(
    empty_api: FakeApi, project: Project, load: Loader
) -> None:
    empty_api.rows["groups"] = [group(n, brandNew={"n": n}) for n in range(1, 31)]
    load(GROUPS)
    assert load(declaring(GROUPS, brandNew="json")).rows_loaded == 0
    assert load.said == []
    assert project.query("SELECT count(brand_new) FROM analytics.groups") == [(30,)]


@pytest.mark.parametrize("before", [{"siteName": "text"}, {}], ids=["declared", "undeclared"])
def test_another_type_is_an_error_before_any_request_and_a_rebuild_takes_it(
    empty_api: FakeApi, project: Project, load: Loader, before: dict[str, Any]
) -> None:
    empty_api.rows["groups"] = [group(n, siteName=f"{n}") for n in range(1, 31)]
    load(declaring(GROUPS, **before))
    empty_api.requests.clear()
    changed = declaring(GROUPS, siteName="bigint", name="json")
    with pytest.raises(CatalogChangeError) as caught:
        load(changed)
    assert str(caught.value) == (
        "groups: the table does not fit the catalog any more: 'siteName' is declared as bigint, and the column"
        f" site_name is {before.get('siteName', 'json')}; 'name' is declared as json, and the column name is text. No"
        " request was made, and the table stays as it is. Run with mode: rebuild, in the op's run config, which drops"
        " the table and loads it anew; rows that the API no longer lists are gone then. Or undo the change in"
        " the catalog."
    )
    assert empty_api.requests == []
    assert load(changed, rebuild=True).rows_loaded == 30
    assert project.query("SELECT sum(site_name) FROM analytics.groups") == [(465,)]
    load(changed)


def test_a_table_that_does_not_fit_costs_only_its_own_resource_and_no_retry(api: FakeApi, project: Project) -> None:
    project.sync()
    api.requests.clear()
    project.declare(declaring(GROUPS, name="json"))
    result = project.run()
    assert "groups" not in materialized(result)
    assert len(materialized(result)) == 7
    assert "'name' is declared as json, and the column name is text" in failure_message(result)
    assert api.asked("groups") == []
    assert len(api.asked("policies")) == 1
    run = project.instance.get_run_by_id(result.run_id)
    assert run
    assert run.tags["dagster/max_retries"] == "0"


def test_another_key_is_an_error_that_asks_for_a_rebuild(empty_api: FakeApi, project: Project, load: Loader) -> None:
    empty_api.rows["groups"] = [group(1)]
    load(GROUPS)
    changed = replace(GROUPS, key=("id", "name"))
    with pytest.raises(CatalogChangeError, match="the key is declared as id, name, and rows are merged on id"):
        load(changed)
    load(changed, rebuild=True)
    load(changed)
    with pytest.raises(CatalogChangeError, match="the key is declared as id, and rows are merged on id, name"):
        load(GROUPS)


def test_a_catalog_changes_alike_in_each_destination(anywhere: Scene) -> None:
    load, rows = Loader(), [group(n, f"2024-05-0{n}T00:00:00Z", createdBy=None) for n in range(1, 4)]
    anywhere.api.rows["groups"] = rows
    load(GROUPS)
    for row in rows:
        row["createdBy"] = f"Somebody {row['id']}"
    grown = declaring(GROUPS, createdBy="text")
    assert (load(grown).rows_loaded, len(load.said)) == (3, 1)
    assert (load(grown).rows_loaded, load.said) == (0, [])

    def found(*columns: str) -> list[Any]:
        table = anywhere.warehouse.query("SELECT * FROM analytics.groups")
        return sorted([[row["id"], *map(row.get, columns)] for row in table])

    assert found("created_by") == [[n, f"Somebody {n}"] for n in (1, 2, 3)]
    # A field that is removed goes on in a json column beside its own, which keeps what it has.
    rows[2] |= {"createdBy": "Other", "updated": "2024-06-01T00:00:00Z"}
    done = load(GROUPS)
    assert (done.rows_loaded, load.said) == (1, [])
    other = done.undeclared["createdBy"]
    assert found("created_by", other) == [
        [1, "Somebody 1", None],
        [2, "Somebody 2", None],
        [3, None, '"Other"'],
    ]
    with pytest.raises(CatalogChangeError, match="'createdBy' is declared as json, and the column created_by is text"):
        load(declaring(GROUPS, createdBy="json"))
    load(declaring(GROUPS, createdBy="json"), rebuild=True)
    assert found("created_by", other)[2] == [3, '"Other"', None]


def test_a_column_that_is_removed_and_added_again_is_filled(empty_api: FakeApi, project: Project, load: Loader) -> None:
    empty_api.rows["groups"] = [group(n, f"2024-05-{n:02}T00:00:00Z") for n in range(1, 31)]
    load(GROUPS)
    without = declaring(GROUPS, name=None)
    empty_api.rows["groups"] += [group(31, "2024-05-31T00:00:00Z")]
    undeclared = load(without).undeclared["name"]
    found = project.query(f"SELECT id, name, {undeclared} FROM analytics.groups WHERE id > 28 ORDER BY id")
    assert found == [(29, "Group 29", None), (30, None, '"Group 30"'), (31, None, '"Group 31"')]
    assert load(without).rows_loaded == 0
    assert load(GROUPS).undeclared == {}
    assert project.query("SELECT count(name) FROM analytics.groups") == [(31,)]
    load(GROUPS)
    assert load.said == []


@pytest.mark.parametrize(("before", "after"), [("site_name", "siteName"), ("site.name", "siteName")])
def test_a_column_gets_the_values_of_another_field(
    empty_api: FakeApi, project: Project, load: Loader, before: str, after: str
) -> None:
    rows = [group(n, f"2024-05-{n:02}T00:00:00Z", siteName="new", site={"name": "old"}) for n in range(1, 31)]
    empty_api.rows["groups"] = rows
    load(declaring(GROUPS, **{before: "text"}))
    changed = declaring(GROUPS, **{after: "text"})
    filled = "SELECT count(*) FROM analytics.groups WHERE site_name = 'new'"
    load(changed, Reading(start=read_date("2024-05-03"), end=read_date("2024-05-05")))
    assert project.query(filled) == [(2,)]
    load(changed)
    assert load.said == [
        "groups: the catalog now declares 'siteName', so everything is read again to fill the older rows"
    ]
    assert project.query(filled) == [(30,)]
    assert (load(changed).rows_loaded, load.said) == (0, [])


@pytest.mark.parametrize("dies", [False, True], ids=["window", "death"])
def test_without_a_note_no_column_counts_as_filled(
    empty_api: FakeApi, project: Project, load: Loader, *, dies: bool
) -> None:
    rows = [group(n, f"2024-05-{n:02}T00:00:00Z") for n in range(1, 31)]
    empty_api.rows["groups"] = rows
    load(GROUPS, run=run_without_note)
    for row in rows:
        row["siteName"] = "here"
    changed = declaring(GROUPS, siteName="text")
    filled = "SELECT count(*), count(site_name) FROM analytics.groups"
    if dies:
        with pytest.raises(KeyboardInterrupt):
            load(changed, run=die_before_rows)
        assert project.query(filled) == [(30, 0)]
    else:
        load(changed, Reading(start=read_date("2024-05-03"), end=read_date("2024-05-05")))
        assert project.query(filled) == [(30, 2)]
    load(changed)
    assert project.query(filled) == [(30, 30)]
    assert (load(changed).rows_loaded, load.said) == (0, [])


def test_a_column_that_a_window_was_loaded_without_is_filled(
    empty_api: FakeApi, project: Project, load: Loader
) -> None:
    rows = [group(n, f"2024-05-{n:02}T00:00:00Z") for n in range(1, 31)]
    empty_api.rows["groups"] = rows
    load(GROUPS)
    load(declaring(GROUPS, name=None), Reading(start=read_date("2024-05-03"), end=read_date("2024-05-05")))
    named = "SELECT count(name) FROM analytics.groups"
    assert project.query(named) == [(28,)]
    load(GROUPS)
    assert project.query(named) == [(30,)]


def test_a_cursor_may_change(empty_api: FakeApi, project: Project, load: Loader) -> None:
    empty_api.rows["groups"] = [group(n, f"2024-05-{n:02}T00:00:00Z", created="2024-05-01T00:00:00Z") for n in (1, 2)]
    load(GROUPS)
    load(replace(GROUPS, cursor="created"))
    assert load(replace(GROUPS, cursor="created")).rows_loaded == 0
