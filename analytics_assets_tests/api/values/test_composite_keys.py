"""Rows that several fields together tell apart."""

from collections.abc import Iterator
from typing import Any

import dagster as dg
import pytest

from analytics_assets.api.catalog import Column
from analytics_assets_tests.support.edits import columns_with, edited
from analytics_assets_tests.support.eight import EIGHT
from analytics_assets_tests.support.project import failure_message, metadata
from analytics_assets_tests.support.wire import Scene, row, serve_rows

KEY = ("organizationId", "id")


@pytest.fixture(autouse=True)
def composite(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    # In the other dialect locations are paged by id, which is a key by itself.
    monkeypatch.setitem(EIGHT.__dict__, "dialects", EIGHT.dialects[:1])
    organization = Column("organizationId", "bigint", "Organization", nullable=False, references="organizations")
    code = Column("code", "text", "Code", nullable=False)
    with (
        edited("locations", key=KEY, columns=columns_with("locations", organization)),
        edited("groups", key=("id", "code"), columns=columns_with("groups", code)),
    ):
        yield


def locations(scene: Scene, *rows: str, **options: Any) -> dg.ExecuteInProcessResult:
    serve_rows(scene.api, "locations", rows)
    return scene.project.run("locations", **options)


def loaded(scene: Scene) -> dict[tuple[int, int], tuple[str, bool]]:
    rows = scene.warehouse.query("SELECT organization_id, id, name, deleted_at FROM analytics.locations")
    found = {(row["organization_id"], row["id"]): (row["name"], row["deleted_at"] is not None) for row in rows}
    assert len(found) == len(rows)
    return found


def site(organization: Any, id_: Any, name: str) -> str:
    return row(id_, organizationId=organization, name=f'"{name}"')


def test_rows_are_edited_and_deleted_by_all_fields_of_their_key(anywhere: Scene) -> None:
    assert locations(anywhere, site(1, 1, "a"), site(1, 2, "b"), site(2, 1, "c")).success
    assert loaded(anywhere) == {(1, 1): ("a", False), (1, 2): ("b", False), (2, 1): ("c", False)}

    result = locations(anywhere, site(1, 1, "a"), site('"2"', "1", "edited"), site(2, 2, "new"))
    assert result.success, failure_message(result)
    assert loaded(anywhere) == {
        (1, 1): ("a", False),
        (1, 2): ("b", True),
        (2, 1): ("edited", False),
        (2, 2): ("new", False),
    }
    [check] = [each for each in result.get_asset_check_evaluations() if each.check_name == "primary_key"]
    assert check.passed


def test_unchanged_rows_are_known_by_all_fields_of_their_key(anywhere: Scene) -> None:
    rows = [row(1, code='"a"', name='"x"'), row(1, code='"b"', name='"y"'), row(2, code='"a"', updated="1714521600")]
    serve_rows(anywhere.api, "groups", rows)
    anywhere.project.sync("groups")
    rows[1] = row(1, code='"b"', name='"edited"')
    serve_rows(anywhere.api, "groups", rows)
    again = metadata(anywhere.project.sync("groups"), "groups")
    assert (again["rows_loaded"], again["rows_unchanged"]) == (1, 2)
    found = anywhere.warehouse.query("SELECT id, code, name FROM analytics.groups ORDER BY id, code")
    assert [tuple(each.values()) for each in found] == [(1, "a", "x"), (1, "b", "edited"), (2, "a", None)]


def test_pages_overlap_by_a_row_with_the_same_key(duck: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCES__ANALYTICS__PAGE_SIZE", "3")
    rows = [site(organization, id_, "x") for organization in (1, 2, 3) for id_ in (1, 2, 3)]
    assert locations(duck, *rows).success
    assert len(loaded(duck)) == 9
    assert len(duck.api.asked("locations")) > 3

    result = locations(duck, *rows, site(4, 1, "x"), site(1, 2, "again"), site(4, 2, "x"))
    assert "organizationId, id (1, 2) is listed twice" in failure_message(result)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (site("null", 7, "x"), "row 2 of 2 has no 'organizationId' to merge on, which is an integer in this table"),
        (row(7, name='"x"'), "row 2 of 2 has no 'organizationId' to merge on"),
        (site(1, "1.5", "x"), "row 2 of 2 has no 'id' to merge on, which is an integer in this table: found 1.5"),
        (site('"1"', "1", "x"), "lists organizationId, id (1, 1) twice on one page"),
    ],
)
def test_a_row_without_a_part_of_its_key_is_an_error(duck: Scene, wrong: str, message: str) -> None:
    result = locations(duck, site(1, 1, "x"), wrong)
    assert message in failure_message(result)
    assert not duck.warehouse.has("locations")


def test_checks_and_errors_name_the_whole_key(anywhere: Scene) -> None:
    misfits = [site(1, n, "x").replace("}", ', "userData": 1, "address": [1]}') for n in range(1, 3)]
    serve_rows(anywhere.api, "organizations", [row(9)])
    serve_rows(anywhere.api, "locations", misfits)
    result = anywhere.project.sync("organizations", "locations")
    said = {each.check_name: each for each in result.get_asset_check_evaluations()}
    assert "`address` in 2 rows (organization_id, id (1, 1), (1, 2))" in str(said["values_fit"].description)
    assert "organization_id, id (1, 1), (1, 2)" in str(said["organization_exists"].description)
    too_many = [site(1, n, "x").replace("}", ', "address": [1]}') for n in range(20)]
    assert "in the rows with organizationId, id (1, 0), (1, 1)" in failure_message(locations(anywhere, *too_many))


@pytest.mark.parametrize("key", ["id", "uid", ("organizationId", "uid")], ids=str)
def test_a_key_that_is_edited_is_refused_until_the_table_is_rebuilt(duck: Scene, key: str | tuple[str, ...]) -> None:
    uid = Column("uid", "bigint", "Another key", nullable=False)
    with edited("locations", columns=columns_with("locations", uid)):
        sites = [row(n, organizationId="1", uid=str(10 * n), name='"x"') for n in (1, 2)]
        assert locations(duck, *sites).success
        with edited("locations", key=key):
            assert "the key is declared as " in failure_message(locations(duck, *sites))
            assert locations(duck, *sites, config={"mode": "rebuild"}).success
            assert locations(duck, *sites).success
            assert len(loaded(duck)) == 2


def test_repeated_keys_are_counted(duck: Scene) -> None:
    locations(duck, site(1, 1, "x"), site(1, 2, "x"), site(2, 1, "x"), site(2, 2, "x"))
    duck.project.query("ALTER TABLE analytics.locations ALTER id DROP NOT NULL")
    duck.project.query("UPDATE analytics.locations SET id = 1 WHERE id = 2 AND organization_id = 1")
    duck.project.query("UPDATE analytics.locations SET id = NULL WHERE id = 2")
    result = duck.project.run(job="analytics_verify")
    checks = {(each.asset_key.path[-1], each.check_name): each for each in result.get_asset_check_evaluations()}
    check = checks["locations", "primary_key"]
    assert not check.passed
    counts = {name: value.value for name, value in check.metadata.items()}
    assert counts == {"rows": 4, "null_keys": 1, "repeated_keys": 1}
