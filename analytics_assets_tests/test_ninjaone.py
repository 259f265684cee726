"""The public API's dialect: the same tables, paging by id, and what is said of a server that does not page so."""

import random
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from dlt.extract.exceptions import ResourceExtractionError

from analytics_assets.api.dialects.registry import DIALECTS
from analytics_assets_tests.conftest import Project, failure_message, metadata
from analytics_assets_tests.fake_api import PATHS, TOKEN, Answer, FakeApi, Request
from analytics_assets_tests.fake_ninjaone import FakeNinjaOne, epoch, fill_from, serve_ninjaone
from analytics_assets_tests.reading import read_resource
from analytics_assets_tests.rows import activity, fill, group, location, organization, policy, product

MAY = epoch("2024-05-01T00:00:00Z")


@pytest.fixture
def ninjaone(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeNinjaOne]:
    """The public API without rows, to which the configuration points."""
    with serve_ninjaone() as api:
        monkeypatch.setenv("SOURCES__ANALYTICS__BASE_URL", api.url)
        monkeypatch.setenv("SOURCES__ANALYTICS__API_KEY", TOKEN)
        monkeypatch.setenv("SOURCES__ANALYTICS__DIALECT", "ninjaone")
        monkeypatch.setenv("SOURCES__ANALYTICS__PAGE_SIZE", "10")
        yield api


def fill_ninjaone(api: FakeNinjaOne) -> None:
    """A few rows of each resource, as the other tests have them."""
    specified = FakeApi("")
    fill(specified)
    fill_from(api, specified.rows)


def read(resource: str) -> list[Any]:
    """The ids that a source reads, in the order of the pages."""
    return [key for table in read_resource(resource) for key in table["id"].to_pylist()]


def events(first: int, last: int) -> list[dict[str, Any]]:
    """Activities a second apart, whose ids follow their times but for some that are a few seconds late."""
    return [activity(n, MAY + n - 7 * (n % 5 == 0)) for n in range(first, last + 1)]


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
    fill_ninjaone(ninjaone)
    project.sync()
    for mode in ("incremental", "full"):
        result = project.sync(config={"mode": mode})
        assert {name: metadata(result, name)["dagster/row_count"] for name in PATHS} == {
            name: len(rows) for name, rows in ninjaone.rows.items()
        }
        assert {metadata(result, name)["rows_marked_deleted"] for name in PATHS} == {0}


def test_what_is_gone_is_marked(ninjaone: FakeNinjaOne, project: Project) -> None:
    fill_ninjaone(ninjaone)
    project.sync("organizations", "software_products")
    del ninjaone.rows["organizations"][11], ninjaone.rows["software_products"][0]
    project.sync("organizations", "software_products")
    assert project.ids("organizations", "deleted_at IS NOT NULL") == [12]
    assert len(project.ids("software_products", "deleted_at IS NOT NULL")) == 1


@pytest.mark.parametrize("rows", [0, 1, 9, 10, 11, 20, 95])
@pytest.mark.parametrize("resource", ["organizations", "activities"])
def test_every_row_is_read_once_whatever_their_number(ninjaone: FakeNinjaOne, resource: str, rows: int) -> None:
    ninjaone.rows[resource] = [make(resource, n) for n in range(1000, 1000 + 3 * rows, 3)]
    assert sorted(read(resource)) == list(range(1000, 1000 + 3 * rows, 3))
    # The empty page that ends it, and the last row once more where a full page is followed by an empty one.
    assert len(ninjaone.requests) == -(-rows // 10) + 1 + (rows > 0 and rows % 10 == 0)


def test_what_is_asked_of_each_endpoint(ninjaone: FakeNinjaOne, project: Project) -> None:
    fill_ninjaone(ninjaone)
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


def test_a_day_of_activities_on_top_of_many_is_about_ten_pages(
    ninjaone: FakeNinjaOne, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SOURCES__ANALYTICS__PAGE_SIZE")
    start = datetime(2024, 5, 1, tzinfo=UTC).timestamp()
    # A day has 86400 s; the ids of some rows do not follow their times.
    ninjaone.rows["activities"] = [activity(n, start + 8.64 * n - 100 * (n % 7 == 0)) for n in range(1, 30_001)]
    project.sync("activities")
    ninjaone.requests.clear()
    ninjaone.rows["activities"] += [activity(n, start + 8.64 * n - 100 * (n % 7 == 0)) for n in range(30_001, 40_001)]
    said = metadata(project.sync("activities"), "activities")
    assert (said["rows_loaded"], said["dagster/row_count"]) == (10_000, 40_000)
    assert said["reads"] == "what is new"
    assert 10 <= said["requests"] <= 13


def test_what_is_new_is_read_behind_the_cursor_with_the_lag(ninjaone: FakeNinjaOne, project: Project) -> None:
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


@pytest.mark.parametrize("disorder", [0, 3, 40])
@pytest.mark.parametrize("seed", range(3))
def test_activities_by_time_to_which_ids_are_only_close_are_all_read(
    ninjaone: FakeNinjaOne, monkeypatch: pytest.MonkeyPatch, disorder: int, seed: int
) -> None:
    monkeypatch.setenv("SOURCES__ANALYTICS__PAGE_SIZE", "200")
    monkeypatch.setattr(FakeNinjaOne, "order", staticmethod(lambda row: row["activityTime"]))
    dice = random.Random(seed)
    ninjaone.rows["activities"] = [activity(n, MAY + n + dice.uniform(0, disorder)) for n in range(1, 3001)]
    assert sorted(read("activities")) == list(range(1, 3001))
    assert len(ninjaone.requests) < 35


def test_ids_below_those_of_a_page_overlap_without_harm(ninjaone: FakeNinjaOne) -> None:
    ninjaone.rows["activities"] = events(1, 95)

    def overlap(request: Request) -> Answer | None:
        below = int(request.query.get("olderThan", 10**6))
        page = [row for row in ninjaone.rows["activities"] if row["id"] < below + 3][::-1][:10]
        return Answer(body={"activities": page if below > 1 else []})

    ninjaone.faults["activities"].append(overlap)
    assert sorted(read("activities")) == list(range(1, 96))


def make(resource: str, number: int) -> dict[str, Any]:
    return activity(number, MAY + number) if resource == "activities" else organization(number)


def refused(resource: str) -> str:
    with pytest.raises(ResourceExtractionError) as caught:
        read(resource)
    return str(caught.value)


def shuffled(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return random.Random(1).sample(rows, len(rows))


@pytest.mark.parametrize(
    ("resource", "page", "message"),
    [
        ("organizations", lambda rows, _: rows[:10], r"page 2 (after=1010) begins with id 1001"),
        ("organizations", lambda rows, after: rows[after : after + 10], "after a full page comes nothing"),
        ("organizations", lambda rows, after: shuffled([r for r in rows if r["id"] > after][:10]), "not ordered by id"),
        ("organizations", lambda rows, after: [r for r in rows if r["id"] > after][:10][::-1], "not ordered by id"),
        ("activities", lambda rows, _: rows[::-1][:10], "page 2 (olderThan=1036) brings nothing new"),
        ("activities", lambda rows, _: shuffled(rows), "not ordered by id"),
        ("activities", lambda rows, below: [] if below else rows[::-1][:10], "after a full page comes nothing"),
    ],
)
def test_a_server_that_does_not_page_by_id_is_found_out(
    ninjaone: FakeNinjaOne,
    resource: str,
    page: Callable[[list[dict[str, Any]], int], list[dict[str, Any]]],
    message: str,
) -> None:
    rows = [make(resource, n) for n in range(1001, 1046)]

    def answer(request: Request) -> Answer:
        found = page(rows, int(request.query.get("olderThan" if resource == "activities" else "after", 0)))
        return Answer(body={"activities": found} if resource == "activities" else found)

    ninjaone.faults[resource].append(answer)
    assert message in refused(resource)


def test_an_id_that_has_no_order_is_refused(ninjaone: FakeNinjaOne) -> None:
    ninjaone.answer_always("organizations", Answer(body=[{"id": "-17"}]))
    assert "has the id -17, and paging by id takes numbers from 1" in refused("organizations")


def test_a_listing_over_the_cap_fails(ninjaone: FakeNinjaOne, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCES__ANALYTICS__MAX_PAGES", "3")
    ninjaone.rows["organizations"] = [organization(n) for n in range(1, 100)]
    assert "the listing goes on after 3 pages" in refused("organizations")


@pytest.mark.parametrize("dialect", ["analytics", "ninjaone"])
def test_the_wrong_dialect_is_named_with_the_right_one(
    api: FakeApi, ninjaone: FakeNinjaOne, project: Project, monkeypatch: pytest.MonkeyPatch, dialect: str
) -> None:
    fill_from(ninjaone, api.rows)
    server, right = {"analytics": (ninjaone, "ninjaone"), "ninjaone": (api, "analytics")}[dialect]
    monkeypatch.setenv("SOURCES__ANALYTICS__BASE_URL", server.url)
    monkeypatch.setenv("SOURCES__ANALYTICS__DIALECT", dialect)
    message = failure_message(project.run("organizations", "policies", "software_products"))
    assert message.count(f'set sources.analytics.dialect = "{right}"') == 3


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
