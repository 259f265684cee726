"""What a materialization shows of its table: the newest rows, and activities per day."""

import base64
import re
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from analytics_assets_tests.servers.fake_api import PATHS, TOKEN, FakeApi
from analytics_assets_tests.support.project import Project, metadata
from analytics_assets_tests.support.rows import activity, group, organization, policy, role

SVG = "{http://www.w3.org/2000/svg}"


def table(shown: str) -> list[list[str]]:
    """The cells of a Markdown table, the line below its head left out."""
    lines = [re.split(r"(?<!\\)\|", line)[1:-1] for line in shown.splitlines()]
    assert len({len(line) for line in lines}) == 1
    return [[cell.strip() for cell in line] for position, line in enumerate(lines) if position != 1]


def column(shown: str, name: str) -> list[str]:
    head, *rows = table(shown)
    return [row[head.index(name)] for row in rows]


@pytest.mark.parametrize(
    ("resource", "newest"),
    [("activities", [41, 40, 39, 38, 37]), ("organizations", [45, 44, 43, 42, 41]), ("policies", [3, 2, 1])],
)
def test_the_newest_five_rows_are_shown(api: FakeApi, project: Project, resource: str, newest: list[int]) -> None:
    shown = metadata(project.sync(resource), resource)["preview"]
    assert column(shown, "id") == list(map(str, newest))
    assert not any(name.startswith("_dlt") or name == "deleted_at" for name in table(shown)[0])


def test_newest_is_by_cursor_and_rows_without_one_come_last(empty_api: FakeApi, project: Project) -> None:
    days = {1: "2024-05-03", 2: None, 3: "2024-05-01", 4: "2024-05-09", 5: None}
    empty_api.rows["groups"] = [group(number, day) for number, day in days.items()]
    shown = metadata(project.sync("groups"), "groups")["preview"]
    assert column(shown, "id") == ["4", "1", "3", "5", "2"]
    assert column(shown, "updated")[0] == "2024-05-09 00:00:00Z"


def test_a_quiet_sync_shows_the_newest_rows_of_the_table(api: FakeApi, project: Project) -> None:
    first, second = project.sync("activities"), project.sync("activities")
    assert metadata(second, "activities")["rows_loaded"] == 0
    assert metadata(second, "activities")["preview"] == metadata(first, "activities")["preview"]


def test_rows_that_are_gone_are_not_shown(api: FakeApi, project: Project) -> None:
    api.rows["policies"].append(policy(4, "2024-06-01T00:00:00Z"))
    project.sync("policies")
    del api.rows["policies"][-1]
    result = project.sync("policies", config={"mode": "full"})
    assert metadata(result, "policies")["rows_marked_deleted"] == 1
    assert column(metadata(result, "policies")["preview"], "id") == ["3", "2", "1"]


def test_values_are_cut_and_stay_in_their_cells_as_text(empty_api: FakeApi, project: Project) -> None:
    names = ["a|b\\|c\r\nd", "![x](https://example.com/x.png)", "<b>*bold*</b> `code`", "y" * 500, None]
    empty_api.rows["roles"] = [role(number, name=name) for number, name in enumerate(names, 1)]
    shown = metadata(project.sync("roles"), "roles")["preview"]
    assert column(shown, "name") == [
        "",
        "y" * 40 + "…",
        r"\<b>\*bold\*\</b> \`code\`",
        "` ![x](https://example.com/x.png) `",
        r"a\|b\\\|c d",
    ]
    assert column(shown, "custom") == ["True"] * 5


def test_nested_values_and_unknown_fields_are_shown(empty_api: FakeApi, project: Project) -> None:
    empty_api.rows["organizations"] = [organization(1, brandNew={"a": [1]})]
    shown = metadata(project.sync("organizations"), "organizations")["preview"]
    assert column(shown, "brand_new") == [r'{"a":\[1\]}']
    assert column(shown, "user_data") == ['{"tier":{"level":1}}']


def test_a_token_in_a_row_is_not_shown(empty_api: FakeApi, project: Project) -> None:
    empty_api.rows["policies"] = [policy(1, name=f"Bearer {TOKEN}")]
    result = project.sync("policies")
    assert column(metadata(result, "policies")["preview"], "name") == [r"Bearer \*\*\*"]


def test_tables_without_rows_have_a_preview_that_says_so(empty_api: FakeApi, project: Project) -> None:
    result = project.sync()
    assert {metadata(result, resource)["preview"] for resource in PATHS} == {"No rows."}
    assert metadata(result, "activities")["activities_per_day"] == "No rows."


def bars(said: dict[str, Any]) -> list[int]:
    """The heights of the chart's bars."""
    found = re.match(r"!\[[^]]+\]\(data:image/svg\+xml;base64,([^)]+)\)", said["activities_per_day"])
    assert found
    image = ET.fromstring(base64.b64decode(found.group(1)))
    return [int(bar.attrib["height"]) for bar in image.iter(f"{SVG}rect")]


def test_the_chart_has_a_bar_for_each_of_the_last_thirty_days(empty_api: FakeApi, project: Project) -> None:
    moments = [
        "2024-04-01T23:59:59Z",  # a day too early
        "2024-04-02T00:00:00Z",
        *["2024-04-30T23:59:59.999Z"] * 2,
        *["2024-05-01T00:00:00Z"] * 3,
        "2024-05-02T01:00:00+02:00",  # still the first of May in UTC
        None,
        "2099-01-01T00:00:00Z",
    ]
    empty_api.rows["activities"] = [activity(number, moment) for number, moment in enumerate(moments, 1)]
    said = metadata(project.sync("activities"), "activities")
    assert bars(said) == [20, *[0] * 27, 40, 80]
    assert "2024-04-02 to 2024-05-01: 4 on the last day, 4 at most, 7 in all" in said["activities_per_day"]


def test_a_day_with_one_row_is_seen_beside_a_large_one(empty_api: FakeApi, project: Project) -> None:
    moments = ["2024-05-01T00:00:00Z", *["2024-05-02T00:00:00Z"] * 1000]
    empty_api.rows["activities"] = [activity(number, moment) for number, moment in enumerate(moments, 1)]
    assert bars(metadata(project.sync("activities"), "activities"))[-2:] == [1, 80]


def test_only_events_have_a_chart(api: FakeApi, project: Project) -> None:
    result = project.sync()
    charts = {name for resource in PATHS for name in metadata(result, resource) if name.endswith("_per_day")}
    assert charts == {"activities_per_day"}
