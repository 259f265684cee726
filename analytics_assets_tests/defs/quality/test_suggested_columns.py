"""The connection check writes the lines that declare what the API sends."""

import pytest

from analytics_assets import commands
from analytics_assets.api.catalog import Column
from analytics_assets.api.mistakes import find_mistakes
from analytics_assets.defs.assets.resource import AnalyticsResource
from analytics_assets.defs.quality.connection_check import Verdict, check_connection
from analytics_assets_tests.servers.fake_api import TOKEN, FakeApi
from analytics_assets_tests.support.edits import columns_with, edited
from analytics_assets_tests.support.eight import BY_NAME, NAMES
from analytics_assets_tests.support.project import Project
from analytics_assets_tests.support.wire import row, serve_rows

SENT = {
    "isOn": ("bool", ["true", "null", "false", '""']),
    "zeroOrOne": ("bigint", ["0", "1", "null"]),
    "size": ("bigint", ["5", "7.0", "-9223372036854775808"]),
    "huge": ("text", ["5", "9223372036854775808"]),
    "hugeOrRatio": ("text", ["0.5", "9007199254740993"]),
    "exponent": ("double", ["5e300", "123456789012345"]),
    "ratio": ("double", ["5", "0.25", "1e-3", '" "']),
    "code": ("text", ['"007"', '"12"']),
    "mixed": ("text", ["5", '"five"', "true"]),
    "day": ("date", ['"2024-05-01"', '""', '"2024-02-29"']),
    "noDay": ("text", ['"2024-05-01"', '"2023-02-29"']),
    "lastContact": ("timestamp", ['"2024-05-01T00:00:00Z"', '"2024-05-02"', '"2024-05-01 10:00:00.5+02:00"']),
    "epoch": ("bigint", ["1714521600", "1714521601"]),
    "seconds": ("double", ["1714521600.5"]),
    "digits": ("text", ['"20240501"']),
    "meta": ("json", ['{"a": 1}', "null"]),
    "labels": ("json", ["[]", '"text"']),
    "unfit": ("json", ["NaN", "5"]),
    "empty": ("text", ['""', "null", '" "']),
    "alwaysNull": ("json", ["null", "null"]),
    'qu"ot\ned': ("text", ['"x"']),
}
"""Fields, the type that all values fit, and the values."""


def check(name: str) -> Verdict:
    return next(each for each in check_connection(NAMES, AnalyticsResource(), pytest.fail) if each.subject == name)


def rows() -> list[str]:
    longest = max(len(values) for _, values in SENT.values())
    return [
        row(n, updated="1", **{name: values[n % len(values)] for name, (_, values) in SENT.items()})
        for n in range(longest)
    ]


def pasted(verdict: Verdict) -> tuple[Column, ...]:
    sentence, *lines = verdict.advice.splitlines()
    assert sentence.startswith(f"To declare them, paste into the columns of the resource `{verdict.subject}`, and")
    columns: tuple[Column, ...] = eval(f"({''.join(lines)})", {"Column": Column})
    return columns


def test_each_undeclared_field_has_a_line_with_the_type_that_all_values_fit(api: FakeApi, project: Project) -> None:
    serve_rows(api, "groups", rows())
    verdict = check("groups")
    assert verdict.passed
    columns = pasted(verdict)
    assert {column.name: column.type for column in columns} == {name: type_ for name, (type_, _) in SENT.items()}
    with edited("groups", columns=columns_with("groups", *columns)):
        assert find_mistakes([BY_NAME["groups"]], []) == []
        declared = check("groups")
        assert (declared.passed, declared.advice) == (True, "")
        assert "not in the catalog" not in declared.says
        # NaN fits no column at all.
        assert "2 values that do not fit" in declared.says


def test_a_field_that_cannot_be_declared_has_no_line(api: FakeApi, project: Project) -> None:
    names = ["deletedAt", "_dlt_id", "xmin", "Name", "NAME", "a_b", "aB", "fine"]
    serve_rows(api, "groups", [row(1, updated="1", **dict.fromkeys(names, "1"), oid="null")])
    assert {column.name for column in pasted(check("groups"))} == {"a_b", "fine"}


def test_lines_are_written_for_a_resource_that_fails_too(api: FakeApi, project: Project) -> None:
    serve_rows(api, "groups", [row(1, edited='"2024-05-01T00:00:00Z"')])
    verdict = check("groups")
    assert "none of 1 rows has the cursor 'updated'" in verdict.says
    assert pasted(verdict) == (Column("edited", "timestamp", "..."),)


def test_the_command_and_the_job_print_the_lines(
    api: FakeApi, project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    serve_rows(api, "roles", [row(1, created="1", lastContact='"2024-05-01T00:00:00Z"', **{TOKEN: "1"})])
    assert commands.check() == 0
    printed = capsys.readouterr().out
    line = '    Column("lastContact", "timestamp", "..."),'
    assert line in printed.splitlines()
    result = project.run(job="analytics_check")
    [message] = [
        entry.user_message
        for entry in project.instance.all_logs(result.run_id)
        if entry.user_message.startswith("roles: ok")
    ]
    assert line in message.splitlines()
    assert TOKEN not in printed + project.log(result)


def test_what_is_declared_has_no_lines(api: FakeApi, project: Project) -> None:
    assert {verdict.advice for verdict in check_connection(NAMES, AnalyticsResource(), pytest.fail)} == {""}
