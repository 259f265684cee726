"""The connection check: what it asks, what it says, and that it leaves nothing behind."""

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import pytest

from analytics_assets import commands
from analytics_assets.api.catalog import Column
from analytics_assets.defs.assets.resource import AnalyticsResource
from analytics_assets.defs.quality.connection_check import Verdict, check_connection
from analytics_assets.demo.exchange import Request
from analytics_assets_tests.servers.fake_api import PAGED, PATHS, TOKEN, Answer, FakeApi
from analytics_assets_tests.support.commands import COMMANDS, run
from analytics_assets_tests.support.edits import columns_with
from analytics_assets_tests.support.eight import BY_NAME, NAMES, defs
from analytics_assets_tests.support.holder import holding
from analytics_assets_tests.support.project import Project, failure_message
from analytics_assets_tests.support.rows import activity, location, organization, policy
from analytics_assets_tests.support.shipped import RESOURCES


def check(**resource: Any) -> dict[str, Verdict]:
    """What the check says, by subject."""
    return {verdict.subject: verdict for verdict in check_connection(NAMES, AnalyticsResource(**resource), pytest.fail)}


@pytest.fixture
def command_of_eight(monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    monkeypatch.setattr(commands, "project_names", lambda: NAMES)
    monkeypatch.setattr(commands, "defs", defs)
    return commands.check


def failed(verdicts: dict[str, Verdict]) -> dict[str, str]:
    return {name: verdict.says for name, verdict in verdicts.items() if not verdict.passed}


def test_the_check_reads_two_pages_of_each_listing_and_writes_nothing(api: FakeApi, project: Project) -> None:
    api.rows["locations"] = [location(n) for n in range(1, 100)]
    verdicts = check()

    assert list(verdicts) == [*PATHS, "destination"]
    assert failed(verdicts) == {}
    assert api.paths() == {path: 2 if resource in PAGED else 1 for resource, path in PATHS.items()}
    assert [request.query for request in api.asked("locations")] == [
        {"after": "0", "limit": "20"},
        {"after": "19", "limit": "20"},
    ]
    assert verdicts["locations"].says == "39 rows on 2 pages"
    assert verdicts["activities"].says == "39 rows on 2 pages, activityTime in 100% of them"
    assert verdicts["policies"].says == "3 rows on 1 page, updated in 100% of them"
    assert str(project.database) in verdicts["destination"].says
    assert list(project.database.parent.glob("*.duckdb*")) == []


def test_a_warehouse_that_is_there_is_as_before(api: FakeApi, project: Project) -> None:
    project.sync("roles")
    project.query("CREATE TABLE own AS SELECT 1")
    directory = project.database.parent
    files = {path.name: path.stat().st_ino for path in directory.glob("*duckdb*")}
    inventory = "SELECT schema_name, table_name, estimated_size FROM duckdb_tables() ORDER BY ALL"
    before = project.query(inventory), project.query("SELECT * FROM analytics.roles")
    assert failed(check()) == {}
    assert (project.query(inventory), project.query("SELECT * FROM analytics.roles")) == before
    # The copy for readers is that of the last run, too.
    assert {path.name: path.stat().st_ino for path in directory.glob("*duckdb*")} == files


def test_an_empty_api_and_listings_of_one_page_are_fine(empty_api: FakeApi, project: Project) -> None:
    empty_api.rows["organizations"] = [organization(1)]
    empty_api.rows["locations"] = [location(n) for n in range(1, 21)]
    verdicts = check()
    assert failed(verdicts) == {}
    assert verdicts["activities"].says == "0 rows on 1 page"
    assert verdicts["organizations"].says == "1 row on 2 pages"
    assert verdicts["locations"].says.startswith("20 rows on ")


def test_all_resources_are_on_the_wire_at_once(api: FakeApi, project: Project) -> None:
    together = threading.Barrier(len(PATHS))

    def wait_for_the_others(request: Request) -> None:
        if request.query.get("after", "0") == "0":
            together.wait(timeout=20)

    for resource in PATHS:
        api.faults[resource].append(wait_for_the_others)
    assert failed(check()) == {}


def test_every_resource_says_what_a_run_would_say(api: FakeApi, project: Project) -> None:
    api.answer_always("organizations", Answer(401, {"error": f"Bearer {TOKEN} is no good"}))
    api.answer_always("policies", Answer(403))
    api.answer_always("activities", Answer(body={"data": []}))
    api.answer_always("automation_scripts", Answer(body=f"<html>{TOKEN}</html>".encode()))
    api.answer_always("groups", Answer(503))
    api.answer_always("locations", Answer(body={"data": [location(n) for n in range(1, 21)]}))
    api.rows["roles"][1]["id"] = "1.0"
    api.rows["software_products"] = [{"id": f"product-{n}", "active": "perhaps"} for n in range(11)]
    found = failed(check())
    asked = len(api.asked("groups"))
    said = failure_message(project.run())

    assert list(found) == list(PATHS)
    assert asked == 4
    assert "check sources.analytics.api_key" in found["organizations"]
    assert "repeats the page before" in found["locations"]
    assert "row 2 of 3 has no 'id' to merge on, which is an integer in this table: found \"1.0\"" in found["roles"]
    assert "11 of 11 values of 'active' do not fit its type bool, such as \"perhaps\"" in found["software_products"]
    assert [why for why in found.values() if why not in said] == []
    assert TOKEN not in str(found)


def test_an_offset_that_is_read_as_a_page_number_is_found_out(api: FakeApi, project: Project) -> None:
    rows = [location(n) for n in range(1, 1000)]

    def by_number(request: Request) -> Answer:
        start = 20 * int(request.query["after"])
        return Answer(body={"data": rows[start : start + 20]})

    api.faults["locations"].append(by_number)
    assert "as something else than an offset" in failed(check())["locations"]


def test_a_cursor_has_to_be_in_a_row(api: FakeApi, project: Project) -> None:
    api.rows["policies"] = [policy(1), policy(2, None), policy(3, None), policy(4)]
    api.rows["groups"] = [{"id": 1, "name": "A group", "edited": "2024-05-01T00:00:00Z"}]
    verdicts = check()
    assert "updated in 50% of them" in verdicts["policies"].says
    assert list(failed(verdicts)) == ["groups"]
    assert "none of 1 rows has the cursor 'updated'" in verdicts["groups"].says


def test_a_wrong_token_is_said_once_with_what_is_next(
    api: FakeApi, project: Project, command_of_eight: Callable[[], int], capsys: pytest.CaptureFixture[str]
) -> None:
    for resource in PATHS:
        api.answer_always(resource, Answer(401))
    assert command_of_eight() == 1
    said = capsys.readouterr().out
    assert said.count("The API did not accept the token") == 1
    assert said.count("for the same reason as organizations") == len(PATHS) - 1
    assert said.splitlines()[-1].startswith("1 of 9 ready. Next: correct ")

    message = failure_message(project.run())
    assert (
        message.count("software_products, activities: the API answered 401 Unauthorized. The API did not accept") == 1
    )
    assert message.count("401") == 1


def test_rows_from_before_the_start_date_are_judged_too(api: FakeApi, project: Project) -> None:
    api.rows["activities"] = [activity(n, "2001-01-01T00:00:00Z", deviceId="no number") for n in range(1, 12)]
    assert "11 of 11 values of 'deviceId' do not fit its type bigint" in failed(check())["activities"]


def test_a_value_that_does_not_fit_is_a_remark(api: FakeApi, project: Project) -> None:
    api.rows["roles"][0]["created"] = "yesterday"
    verdict = check()["roles"]
    assert verdict.passed
    assert "1 value that does not fit its column, kept in _rescued_data" in verdict.says


def test_an_undeclared_field_is_a_remark(api: FakeApi, project: Project) -> None:
    api.rows["roles"][0]["newField"] = 1
    verdict = check()["roles"]
    assert verdict.passed
    assert "not in the catalog: newField (column new_field)" in verdict.says


def test_missing_settings_are_one_error_before_any_request(
    api: FakeApi,
    project: Project,
    command_of_eight: Callable[[], int],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.delenv("SOURCES__ANALYTICS__API_KEY")
    assert command_of_eight() == 1
    printed = capsys.readouterr().out
    assert printed.startswith("sources.analytics.api_key is missing")
    assert printed.count("\n") == 1
    assert api.requests == []


def test_a_busy_file_is_waited_for_and_then_named(api: FakeApi, project: Project) -> None:
    project.sync("roles")
    said: list[str] = []
    with holding(project.database):
        resource = AnalyticsResource(busy_timeout=0.6)
        verdicts = {verdict.subject: verdict for verdict in check_connection(NAMES, resource, said.append)}
    assert list(failed(verdicts)) == ["destination"]
    assert "still in use" in verdicts["destination"].says
    assert "Waiting for the DuckDB file" in said[0]


def test_a_destination_that_cannot_be_written_is_named(
    api: FakeApi, project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.database.write_bytes(b"no database")
    assert "Cannot open the DuckDB file" in failed(check())["destination"]
    assert project.database.read_bytes() == b"no database"
    # The tests may run as root, whom no mode keeps out.
    (tmp_path / "file").touch()
    monkeypatch.setenv("DESTINATION__DUCKDB__CREDENTIALS", str(tmp_path / "file" / "x.duckdb"))
    assert "Cannot create the DuckDB file" in failed(check())["destination"]


def test_a_destination_without_credentials_is_named(
    api: FakeApi, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DESTINATION_TYPE", "postgres")
    monkeypatch.delenv("DESTINATION__DUCKDB__CREDENTIALS")
    verdicts = check()
    assert list(failed(verdicts)) == ["destination"]
    assert "credentials" in verdicts["destination"].says
    assert "\n" not in verdicts["destination"].says


def test_a_schema_that_takes_no_table_is_named(api: FakeApi, project: Project) -> None:
    with duckdb.connect(str(project.database)) as connection:
        connection.execute('CREATE SCHEMA analytics; CREATE TABLE analytics."_analytics_check" (id INTEGER)')
    assert "Cannot create a table in 'analytics' of the destination" in failed(check())["destination"]


def test_the_command_prints_a_line_each_and_says_by_its_status_how_it_went(
    shipped_api: FakeApi, project: Project, tmp_path: Path
) -> None:
    result = run(tmp_path, *COMMANDS, "check")
    assert result.returncode == 0, result.stdout + result.stderr
    *lines, summary = result.stdout.splitlines()
    assert [line.split()[:2] for line in lines] == [["ok", name] for name in [*RESOURCES, "destination"]]
    assert summary.startswith(f"{len(lines)} of {len(lines)} ready. Next: make dev")
    assert not project.database.exists()
    assert list((tmp_path / "elsewhere").iterdir()) == list((tmp_path / "dagster").iterdir()) == []


def test_the_command_fails_with_the_reason(
    api: FakeApi, project: Project, command_of_eight: Callable[[], int], capsys: pytest.CaptureFixture[str]
) -> None:
    api.answer_always("groups", Answer(400, b"no [bold]markup[/bold], however odd"))
    assert command_of_eight() == 1
    printed = capsys.readouterr().out.splitlines()
    [line] = [line for line in printed if line.startswith("failed")]
    assert "groups" in line
    assert "GET /v2/groups answered 400" in line
    assert "no [bold]markup[/bold], however odd" in line
    assert printed[-1].startswith(f"{len(PATHS)} of {len(PATHS) + 1} ready. Next: correct ")
    assert len(printed) == len(PATHS) + 2


def test_a_sqlite_file_that_cannot_be_made_is_named(
    api: FakeApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "nowhere" / "warehouse.db"
    monkeypatch.setenv("DESTINATION_TYPE", "sqlalchemy")
    monkeypatch.setenv("DESTINATION__SQLALCHEMY__CREDENTIALS", f"sqlite:///{file}")
    [says] = failed(check()).values()
    assert f"unable to open database file {file}. Its directory has to exist, and " in says


@pytest.mark.parametrize(
    ("columns", "heads"), [(40, ["failed  groups", "  GET /v2/groups answered 400"]), (60, ["failed  groups    "])]
)
def test_a_small_terminal_gets_lines_that_end_between_words(
    api: FakeApi,
    project: Project,
    command_of_eight: Callable[[], int],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    columns: int,
    heads: list[str],
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    said = "nobody foresaw :warning: this, however odd [bold]it[/bold] is"
    api.answer_always("groups", Answer(400, said.encode()))
    api.rows["roles"][0]["brandNewFieldOfARoleWithALongName"] = 1
    assert command_of_eight() == 1
    printed = capsys.readouterr().out
    assert said in " ".join(printed.split())
    lines = printed.splitlines()
    begin = next(place for place, line in enumerate(lines) if line.startswith("failed"))
    for line, head in zip(lines[begin:], heads, strict=False):
        assert line.startswith(head)
    [pasted] = [line for line in lines if line.startswith("    Column(")]
    assert pasted.endswith("),")
    assert [line for line in lines if len(line) > columns] == [pasted]
    assert f"{len(PATHS)} of {len(PATHS) + 1} ready. Next: correct " in " ".join(printed.split())


@pytest.mark.parametrize("works", [True, False])
def test_the_job_reports_what_the_command_does(api: FakeApi, project: Project, works: bool) -> None:  # noqa: FBT001
    if not works:
        api.answer_always("groups", Answer(400, {"error": TOKEN}))
        api.answer_always("roles", Answer(403))
    result = project.run(job="analytics_check")
    assert result.success is works
    assert not project.database.exists()
    run = project.instance.get_run_by_id(result.run_id)
    assert run is not None
    assert run.tags["dagster/max_retries"] == "0"
    if not works:
        message = failure_message(result)
        assert "- groups: GET /v2/groups answered 400" in message
        assert "- roles: GET /v2/roles answered 403" in message
        logs = project.log(result)
        assert "organizations: ok" in logs
        assert TOKEN not in message + logs


def test_the_job_waits_for_its_turn() -> None:
    job = defs().resolve_job_def("analytics_check")
    [node] = job.graph.nodes
    assert isinstance(node.definition, dg.OpDefinition)
    assert node.definition.pool == "analytics_warehouse"


def test_a_table_that_a_sync_would_refuse_fails_the_check(api: FakeApi, project: Project) -> None:
    project.sync("groups", "roles")
    groups = BY_NAME["groups"]
    project.declare(replace(groups, columns=columns_with("groups", Column("deviceCount", "text", "Edited"))))
    verdicts = check_connection(project.names, AnalyticsResource(), pytest.fail)
    found = failed({verdict.subject: verdict for verdict in verdicts})
    assert list(found) == ["groups"]
    assert found["groups"] == failure_message(project.run("groups")).partition("groups: ")[2]
