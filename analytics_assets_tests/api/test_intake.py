"""Values that do not fit their columns: kept and counted, or too many, which is an error."""

from contextlib import AbstractContextManager

import dagster as dg
import pytest

from analytics_assets.api.catalog import Column, ColumnType
from analytics_assets_tests.servers.fake_api import FakeApi
from analytics_assets_tests.support.edits import columns_with, edited
from analytics_assets_tests.support.oracle import RESCUED
from analytics_assets_tests.support.project import Project, failure_message, metadata
from analytics_assets_tests.support.rows import group
from analytics_assets_tests.support.wire import (
    Scene,
    Table,
    row,
    serve_rows,
)


def test_a_changed_type_fails_with_column_and_way_out(api: FakeApi, project: Project) -> None:
    project.sync("groups")
    api.rows["groups"] += [group(n, "2024-06-01T00:00:00Z", deviceCount="many") for n in range(9, 20)]
    message = failure_message(project.run("groups"))

    assert "groups: 11 of 11 values of 'deviceCount' do not fit its type bigint, such as \"many\"" in message
    assert "in the rows with id 9, 10, 11, 12, 13" in message
    assert "mode: rebuild" in message
    assert project.ids("groups") == [1, 2, 3]


def misfits(wrong: int, right: int, *, value: str = '"many"') -> list[str]:
    """Groups, first those whose number of devices does not fit."""
    return [row(n, deviceCount=value if n <= wrong else "5") for n in range(1, wrong + right + 1)]


@pytest.mark.parametrize(
    ("wrong", "right", "loaded"),
    [(10, 0, True), (10, 10, True), (11, 99, True), (11, 98, False), (11, 9, False), (11, 0, False)],
)
def test_too_many_values_that_do_not_fit_are_an_error(duck: Scene, wrong: int, right: int, *, loaded: bool) -> None:
    tables: dict[str, Table] = {}
    result = duck.sync({"groups": misfits(wrong, right)}, tables)
    assert result.success is loaded
    assert bool(tables) is loaded


@pytest.mark.parametrize("page_size", ["7", "1000"])
def test_the_whole_listing_is_judged_not_its_pages(
    duck: Scene, monkeypatch: pytest.MonkeyPatch, page_size: str
) -> None:
    monkeypatch.setenv("SOURCES__ANALYTICS__PAGE_SIZE", page_size)
    rows = [row(n, organizationId='"many"' if n <= 11 else "5") for n in range(1, 111)]
    tables: dict[str, Table] = {}
    assert duck.sync({"locations": rows}, tables).success
    rows[50] = row(51, organizationId='"many"')
    assert not duck.sync({"locations": rows}, tables).success
    # Values that are missing are none that fit.
    rows[51] = row(52)
    assert not duck.sync({"locations": rows}, tables).success


def test_a_changed_type_is_named_with_rows_and_remedies_and_nothing_is_loaded(duck: Scene) -> None:
    tables: dict[str, Table] = {}
    duck.sync({"groups": misfits(0, 20)}, tables)
    result = duck.sync({"groups": misfits(11, 9)}, tables)
    message = failure_message(result)
    for part in ("groups", "bigint", '"many"', "max_rescued_share", "rebuild"):
        assert part in message
    assert "deviceCount" in message or "device_count" in message
    assert "1, 2, 3, 4, 5" in message
    assert "5, 6" not in message


def test_a_larger_share_accepts_it(duck: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    tables: dict[str, Table] = {}
    assert not duck.sync({"groups": misfits(11, 9)}, tables).success
    monkeypatch.setenv("SOURCES__ANALYTICS__MAX_RESCUED_SHARE", "0.55")
    assert duck.sync({"groups": misfits(11, 9)}, tables, share=0.55).success
    assert not duck.sync({"groups": misfits(12, 8)}, tables, share=0.55).success


@pytest.mark.parametrize(
    ("value", "type_"), [('"many"', "text"), ("5.5", "text"), ('{"of": 3}', "json"), ("true", "bool")]
)
def test_the_type_that_came_can_be_declared(duck: Scene, value: str, type_: ColumnType) -> None:
    tables: dict[str, Table] = {}
    listing = {"groups": misfits(11, 0, value=value)}
    assert not duck.sync(listing, tables).success
    with declare("groups", "deviceCount", type_):
        assert duck.sync(listing, tables, mode="rebuild").success
        assert not any(RESCUED in cells for cells in duck.warehouse.table("groups").values())


def test_a_field_that_is_declared_later_gets_its_type_by_a_rebuild(duck: Scene) -> None:
    tables: dict[str, Table] = {}
    rows = [row(1, price="10"), row(2, price="9.99"), row(3, price='"n/a"')]
    duck.sync({"groups": rows}, tables)
    with declare("groups", "price", "text"):
        duck.sync({"groups": rows}, tables, mode="rebuild")
        assert [cells["price"] for cells in duck.warehouse.table("groups").values()] == ["10", "9.99", "n/a"]


def declare(resource: str, field: str, type_: ColumnType) -> AbstractContextManager[None]:
    return edited(resource, columns=columns_with(resource, Column(field, type_, "Edited")))


def test_values_fit_names_columns_counts_and_ids(duck: Scene) -> None:
    rows = [row(n, deviceCount='"many"', name=r'"a\u0000"') for n in range(1, 9)]
    result = duck.sync({"groups": [*rows, row(9, deviceCount="1", shared='"?"')]}, {})
    assert metadata(result, "groups")["values_rescued"] == 9
    [check] = [each for each in result.get_asset_check_evaluations() if each.check_name == "values_fit"]
    assert not check.passed
    assert check.severity == dg.AssetCheckSeverity.WARN
    said = f"{check.description} { {name: value.value for name, value in check.metadata.items()} }"
    for part in ("deviceCount", "shared", "8 rows", "name"):
        assert part in said
    assert "many" not in said
    # The next sync has nothing to load, and the table is as it was.
    [check] = [
        each
        for each in duck.sync(
            {"groups": [*rows, row(9, deviceCount="1", shared='"?"')]}, {}
        ).get_asset_check_evaluations()
        if each.check_name == "values_fit"
    ]
    assert not check.passed


def test_no_more_than_sixty_characters_of_a_value_are_said(duck: Scene) -> None:
    secret = "".join(f"{n:03}" for n in range(100))
    serve_rows(duck.api, "groups", misfits(11, 0, value=f'"{secret}"'))
    serve_rows(duck.api, "roles", [row(f'"{secret}"')])
    message = failure_message(duck.project.run("groups", "roles"))
    assert message.count(secret[:30]) >= 1
    assert secret[:61] not in message
    assert secret[60:70] not in message
