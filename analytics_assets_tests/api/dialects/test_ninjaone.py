"""The public API's dialect: the same tables, and what is asked of each endpoint."""

from datetime import UTC, datetime, timedelta

import pytest

from analytics_assets_tests.servers.fake_api import PATHS, TOKEN, Answer, FakeApi
from analytics_assets_tests.servers.fake_ninjaone import FakeNinjaOne, epoch, fill_from
from analytics_assets_tests.support.eight import DIALECTS
from analytics_assets_tests.support.project import Project, failure_message, metadata
from analytics_assets_tests.support.rows import MAY, activity, events, group, location, policy, product, small_rows


def test_both_dialects_fill_the_same_tables_cell_by_cell(
    ninjaone: FakeNinjaOne, api: FakeApi, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    api.rows["organizations"][3].update(tags=["vip"], fields={"a": [1.5, None]}, description=None)
    api.rows["policies"] += [
        policy(4, "2024-05-01T00:00:00.123456Z"),
        policy(5, None),
        policy(6, "2024-06-30T23:59:59Z"),
    ]
    api.rows["activities"] += [
        activity(42, "2024-05-01T02:00:00.000001+01:00", userId=7, data=None),
        activity(43, "2024-04-30T23:59:59.999999Z"),
        activity(44, "2023-12-31T23:59:59Z"),
        activity(45, "2024-01-01T00:00:00Z"),
    ]
    api.rows["groups"] += [group(4, None), group(5, lastEvaluated="2024-05-02T00:00:00.5Z", deviceCount=12)]
    api.rows["software_products"].append(product(9, vendorName=None))
    fill_from(ninjaone, api.rows)
    tables = []
    for url, dialect in ((ninjaone.url, "ninjaone"), (api.url, "analytics")):
        monkeypatch.setenv("SOURCES__ANALYTICS__BASE_URL", url)
        monkeypatch.setenv("SOURCES__ANALYTICS__DIALECT", dialect)
        monkeypatch.setenv("DESTINATION__DUCKDB__CREDENTIALS", str(project.database.with_name(f"of_{dialect}.duckdb")))
        project.sync()
        there = Project(project.instance, project.database.with_name(f"of_{dialect}.duckdb"))
        columns = {
            name: there.query(f"SELECT column_name, column_type FROM (DESCRIBE analytics.{name})") for name in PATHS
        }
        rows = {
            name: there.query(f"SELECT * EXCLUDE (_dlt_load_id, _dlt_id) FROM analytics.{name} ORDER BY id")
            for name in PATHS
        }
        tables.append((columns, rows))
    assert tables[0] == tables[1]
    assert [len(tables[0][1][name]) for name in PATHS] == [45, 6, 44, 3, 5, 20, 3, 4]


def test_a_second_sync_and_a_full_one_change_nothing(ninjaone: FakeNinjaOne, project: Project) -> None:
    fill_from(ninjaone, small_rows())
    project.sync()
    for mode in ("incremental", "full"):
        result = project.sync(config={"mode": mode})
        assert {name: metadata(result, name)["dagster/row_count"] for name in PATHS} == {
            name: len(rows) for name, rows in ninjaone.rows.items()
        }
        assert {metadata(result, name)["rows_marked_deleted"] for name in PATHS} == {0}


def test_rows_that_are_gone_are_marked_as_deleted(ninjaone: FakeNinjaOne, project: Project) -> None:
    fill_from(ninjaone, small_rows())
    project.sync("organizations", "software_products")
    del ninjaone.rows["organizations"][11], ninjaone.rows["software_products"][0]
    project.sync("organizations", "software_products")
    assert project.ids("organizations", "deleted_at IS NOT NULL") == [12]
    assert len(project.ids("software_products", "deleted_at IS NOT NULL")) == 1


def test_each_endpoint_is_asked_for_its_pages_and_no_more(ninjaone: FakeNinjaOne, project: Project) -> None:
    fill_from(ninjaone, small_rows())
    ninjaone.rows["locations"] = [location(n) for n in (5, 90, 91)]
    project.sync()
    asked = {name: [request.query for request in ninjaone.asked(name)] for name in PATHS}
    after = str(int(epoch("2024-01-01T00:00:00Z")) - 1)
    assert asked == {
        "organizations": [{"pageSize": "10"}, *({"pageSize": "10", "after": str(n)} for n in (10, 20, 30, 40, 45))],
        "policies": [{}],
        "activities": [
            {"pageSize": "10", "after": after},
            *({"pageSize": "10", "after": after, "olderThan": str(n)} for n in (32, 22, 12, 2, 1)),
        ],
        "automation_scripts": [{}],
        "groups": [{}],
        "locations": [{"pageSize": "10"}, {"pageSize": "10", "after": "91"}],
        "roles": [{}],
        "software_products": [{}],
    }
    assert {request.headers["Authorization"] for request in ninjaone.requests} == {f"Bearer {TOKEN}"}


def test_a_sync_asks_for_activities_since_the_cursor_less_the_lag(ninjaone: FakeNinjaOne, project: Project) -> None:
    ninjaone.rows["activities"] = events(1, 2000)
    project.sync("activities")
    ninjaone.requests.clear()
    ninjaone.rows["activities"] += [
        activity(2001, MAY + 2100.5),
        # In time before rows that are loaded, and within the lag of 300 s.
        activity(2002, MAY + 1750.25),
    ]
    said = metadata(project.sync("activities"), "activities")
    assert {request.query["after"] for request in ninjaone.asked("activities")} == {str(int(MAY + 1999 - 300) - 1)}
    assert (said["rows_loaded"], said["dagster/row_count"]) == (2, 2002)


def test_a_window_is_asked_for_by_both_its_ends(ninjaone: FakeNinjaOne, project: Project) -> None:
    ninjaone.rows["activities"] = events(1, 2000)
    project.sync("activities", config={"start": "2024-05-01T00:10:00Z", "end": "2024-05-01T00:11:00Z"})
    moments = "SELECT min(activity_time)::VARCHAR, max(activity_time)::VARCHAR, count(*) FROM analytics.activities"
    assert project.query(moments) == [("2024-05-01 00:10:01+00", "2024-05-01 00:10:59+00", 60)]
    assert len(ninjaone.asked("activities")) < 12


@pytest.mark.parametrize("dialect", ["analytics", "ninjaone"])
def test_the_wrong_dialect_is_named_with_the_right_one(
    api: FakeApi, ninjaone: FakeNinjaOne, project: Project, monkeypatch: pytest.MonkeyPatch, dialect: str
) -> None:
    fill_from(ninjaone, api.rows)
    server, right = {"analytics": (ninjaone, "ninjaone"), "ninjaone": (api, "analytics")}[dialect]
    monkeypatch.setenv("SOURCES__ANALYTICS__BASE_URL", server.url)
    monkeypatch.setenv("SOURCES__ANALYTICS__DIALECT", dialect)
    message = failure_message(project.run("organizations", "policies", "software_products"))
    assert message.count(f'set sources.analytics.dialect = "{right}"') == 1


@pytest.mark.parametrize("page_size", ["9", "1001"])
def test_a_page_size_that_the_api_refuses_is_refused_before_any_request(
    ninjaone: FakeNinjaOne, project: Project, monkeypatch: pytest.MonkeyPatch, page_size: str
) -> None:
    monkeypatch.setenv("SOURCES__ANALYTICS__PAGE_SIZE", page_size)
    message = failure_message(project.run())
    assert f"sources.analytics.page_size = {page_size} is" in message
    assert "dialect 'ninjaone'" in message
    assert ninjaone.requests == []


@pytest.mark.parametrize("digits", ["", ".9", ".953166", ".953166000", ".000001000"])
def test_epoch_seconds_keep_their_microseconds(ninjaone: FakeNinjaOne, project: Project, digits: str) -> None:
    ninjaone.answer_always("policies", Answer(body=f'[{{"id": 1, "updated": 1759133165{digits}}}]'.encode()))
    project.sync("policies")
    [(moment,)] = project.query("SELECT updated FROM analytics.policies")
    since = moment - datetime(1970, 1, 1, tzinfo=UTC)
    assert since == timedelta(seconds=1759133165, microseconds=int(digits[1:7].ljust(6, "0") or 0))


def test_the_dialects_page_as_they_say() -> None:
    assert {name: str(dialect.endpoints["organizations"].pagination) for name, dialect in DIALECTS.items()} == {
        "analytics": "offset in `after`, until an empty page",
        "ninjaone": "last id in `after`, until an empty page",
    }
