"""Each kind of warehouse lives through all that a warehouse sees, and holds the same rows as the API at each step."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from analytics_assets.api.connector import Connector
from analytics_assets.api.settings_reader import read_settings
from analytics_assets.warehouse.leftovers import count_leftover, drop_leftover, find_leftovers
from analytics_assets.warehouse.session import open_session
from analytics_assets_tests.servers.fake_api import FakeApi
from analytics_assets_tests.support.eight import EIGHT
from analytics_assets_tests.support.project import Project, metadata
from analytics_assets_tests.support.rows import activity, organization, policy
from analytics_assets_tests.support.tables import LAKES, Cells, Tables, expected, open_tables

QUICK = ("duckdb", "postgres", "mariadb", "sqlite")
SLOW = (*LAKES, "ducklake")
NAMES = ("organizations", "policies", "activities", "software_products")


@pytest.fixture(params=[*QUICK, *(pytest.param(kind, marks=pytest.mark.slow) for kind in SLOW)])
def warehouse(
    request: pytest.FixtureRequest, project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Tables:
    """A destination to which the configuration points."""
    return open_tables(request.param, request, project, tmp_path, monkeypatch)


def product(key: str, **fields: Any) -> Cells:
    return {"id": key, "productName": f"Product {key}", "installable": True, **fields}


def ago(minutes: float) -> str:
    return (datetime.now(UTC) - timedelta(minutes=minutes)).isoformat()


def loaded(result: dg.ExecuteInProcessResult, *names: str) -> list[int]:
    return [metadata(result, name)["rows_loaded"] for name in names]


def without(name: str) -> Connector:
    """The connector after a resource was removed."""
    dialects = tuple(
        replace(each, endpoints={other: endpoint for other, endpoint in each.endpoints.items() if other != name})
        for each in EIGHT.dialects
    )
    return replace(EIGHT, resources=tuple(each for each in EIGHT.resources if each.name != name), dialects=dialects)


def test_every_warehouse_holds_what_the_api_lists(  # noqa: PLR0915 - each step needs the rows of those before it
    warehouse: Tables, empty_api: FakeApi, project: Project
) -> None:
    rows = empty_api.rows
    rows["organizations"] = [organization(n, userData={"n": [n, "é", None, "😀"]}, tags="[1]") for n in range(1, 6)]
    rows["policies"] = [
        policy(1, "2024-05-01T00:00:00.123456Z", parentPolicyId=2**63 - 1, name="", nodeClassDefault=True),
        policy(2, "2024-05-02T02:00:00+02:00", parentPolicyId=-(2**63), description='say "hi",\n\\N \\. it\'s %s :x'),
        policy(-(2**63), None, name=None, tags={"digits": 2**53 + 1, "": ""}),
        policy(4, "9999-12-31T23:59:59.999999Z", name="long " * 20_000),
    ]
    rows["activities"] = [activity(n, ago(60 - n)) for n in range(1, 6)]
    # Keys that differ in case, in an accent, and in a blank at the end.
    rows["software_products"] = [product(key) for key in ("a", "A", "á", "a ")]
    gone: dict[str, list[Cells]] = {"organizations": [], "policies": []}
    rescued: Cells = {"parentPolicyId": None, "_rescued_data": {"parentPolicyId": "many"}}

    def check() -> None:
        for name in NAMES:
            sent = [row | rescued if row.get("parentPolicyId") == "many" else row for row in rows[name]]
            wanted, found = expected(name, sent + gone.get(name, [])), warehouse.cells(name)
            for row in gone.get(name, []):
                assert abs(found[row["id"]]["deleted_at"] - datetime.now(UTC)) < timedelta(minutes=5)
                found[row["id"]]["deleted_at"] = None
            assert found == wanted, name

    assert loaded(project.sync(*NAMES), *NAMES) == [5, 4, 5, 4]
    check()

    # Edits, a new field, a value that does not fit, late rows, and a row that is gone.
    rows["organizations"][1] = organization(2, name=None, userData=None, brandNew={"a": [1, ""]})
    gone["organizations"].append(rows["organizations"].pop())
    rows["policies"][0] = policy(1, "2024-06-01T00:00:00.000001Z", brandNew="x", description="")
    rows["policies"].append(policy(5, "2024-06-01T00:00:00Z", parentPolicyId="many"))
    rows["activities"] += [activity(6, ago(1)), activity(7, ago(58))]
    rows["software_products"][1] = product("A", productName="edited")
    changed = project.sync(*NAMES)
    check()
    assert [metadata(changed, name)["rows_marked_deleted"] for name in NAMES] == [1, 0, 0, 0]
    assert warehouse.new_field("organizations") == {2: '{"a": [1, ""]}'}
    assert warehouse.new_field("policies") == {1: '"x"'}
    preview = metadata(changed, "policies")["preview"]
    cells = {cell.strip() for cell in preview.split("|")}
    assert {"5", "Policy 5", "2024-06-01 00:00:00.000001Z", "False", '"x"', '{"parentPolicyId":"many"}'} <= cells, (
        preview
    )

    assert loaded(project.sync("policies", "activities"), "policies", "activities") == [0, 0]

    # These steps read and write as those around them do. A lake in a bucket skips them, where each file takes requests.
    if not (warehouse.lake and warehouse.lake.s3):
        # The new field is gone again, and a row is back.
        rows["organizations"][1] = organization(2)
        rows["organizations"] += gone["organizations"]
        gone["organizations"].clear()
        project.sync("organizations")
        check()
        assert warehouse.new_field("organizations") == {}

        gone["policies"].append(rows["policies"].pop(1))
        full = project.sync("policies", config={"mode": "full"})
        assert metadata(full, "policies")["rows_marked_deleted"] == 1
        check()

        # A window reads rows that the cursor has passed, and leaves the cursor alone.
        rows["activities"] += [activity(8, "2024-05-01T12:00:00Z"), activity(9, ago(0))]
        window = {"start": "2024-05-01T00:00:00Z", "end": "2024-05-02T00:00:00Z"}
        assert loaded(project.sync("activities", config=window), "activities") == [1]
        project.sync("activities")
        check()

    looked = project.sync(job="analytics_verify").get_asset_check_evaluations()
    wrong = {(each.asset_key.path[-1], each.check_name) for each in looked if not each.passed}
    assert wrong & {(name, each.check_name) for name in NAMES for each in looked} == {
        ("organizations", "undeclared_columns"),
        ("policies", "undeclared_columns"),
        ("policies", "cursor_freshness"),
        ("policies", "rows_without_cursor"),
        ("policies", "values_fit"),
    }
    for rows_gone in gone.values():
        rows_gone.clear()
    project.sync("organizations", "policies", config={"mode": "rebuild"})
    check()

    # The last load died before dlt had recorded it.
    warehouse.forget_loads("policies")
    assert loaded(project.sync("policies"), "policies") == [len(rows["policies"])]

    fewer = without("policies")
    with open_session(read_settings(fewer)) as session:
        with session.client as client:
            assert find_leftovers(client, fewer) == ["policies"]
            drop_leftover(client, fewer, "policies")
        with session.client as client:
            assert find_leftovers(client, fewer) == []
            assert count_leftover(client, "policies") is None
