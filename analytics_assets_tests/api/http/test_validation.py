"""Responses that are no rows are errors, and never zero rows."""

import pytest

from analytics_assets_tests.servers.fake_api import Answer, FakeApi
from analytics_assets_tests.support.project import Project, failure_message


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (Answer(body=b"<html>Please log in</html>", headers={"Content-Type": "text/html"}), "not JSON (text/html"),
        (Answer(body=b'{"data": [{"id": 1}'), "not JSON (application/json"),
        (Answer(body=b""), "not JSON"),
        (
            Answer(body={"items": [{"id": 1}]}),
            "no list under the key 'data': found an object with the keys ['items']",
        ),
        (Answer(body=[{"id": 1}]), "no list under the key 'data': found a list"),
        (Answer(body={"data": {"id": 1}}), "no list under the key 'data': found an object"),
        (Answer(body={"data": None}), "no list under the key 'data': found null"),
        (Answer(body={"data": ["text"]}), "row 1 of 1 is not an object but a text"),
        (
            Answer(body={"data": [{"id": 1}, {"name": "x"}]}),
            "row 2 of 2 has no 'id' to merge on, which is an integer",
        ),
        (
            Answer(body={"data": [{"id": None}]}),
            "row 1 of 1 has no 'id' to merge on, which is an integer",
        ),
        (Answer(204), "204 No Content"),
    ],
)
def test_a_wrong_payload_is_an_error_and_never_zero_rows(
    api: FakeApi, project: Project, answer: Answer, message: str
) -> None:
    project.sync("policies")
    api.answer_always("policies", answer)
    result = project.run("policies")

    assert not result.success
    assert message in failure_message(result)
    assert project.ids("policies") == [1, 2, 3]


def test_an_error_quotes_little_of_a_body(api: FakeApi, project: Project) -> None:
    api.answer_always("roles", Answer(body=b'{"' + b"k" * 5_000_000 + b'": 1}'))
    api.answer_always("groups", Answer(body={"data": [{"id": "i" * 1_000_000}] * 2}))
    api.answer_always("policies", Answer(body=b"no", headers={"Content-Type": "x" * 20_000}))
    api.answer_always("locations", Answer(body={"data": [{"n" * 1_000_000: 1}]}))
    result = project.run("roles", "groups", "policies", "locations")
    assert len(failure_message(result)) < 3_000
    assert sum(len(str(entry)) for entry in project.instance.all_logs(result.run_id)) < 500_000


def test_a_page_of_nothing_but_fields_is_refused_before_it_is_made(api: FakeApi, project: Project) -> None:
    api.answer_always("roles", Answer(body=b'{"data": [{"id": 1' + b',"a":1' * 1_700_000 + b"}]}"))
    assert "that they would take about" in failure_message(project.run("roles"))
