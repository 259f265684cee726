"""The words of a run that fails, and whether it is worth another try."""

import pytest

from analytics_assets.defs.display.errors import explain
from analytics_assets_tests.servers.fake_api import Answer, FakeApi
from analytics_assets_tests.support.project import Project, failure_message


def test_resources_that_failed_alike_share_a_line(api: FakeApi, project: Project) -> None:
    for resource in ("policies", "groups"):
        api.rows[resource] = [api.rows[resource][0] | {"name": ["no text"], "id": n} for n in range(11)]
    api.answer_always("locations", Answer(403))
    api.answer_always("roles", Answer(403))
    first, *reasons = failure_message(project.run()).splitlines()
    assert first == "4 of 8 resources failed; the others are loaded."
    assert [reason.split()[:5] for reason in reasons] == [
        ["-", "policies,", "groups:", "11", "of"],
        # Their requests differ, and what the API says of them does not.
        ["-", "locations,", "roles:", "the", "API"],
    ]


def test_a_single_failure_is_counted_in_the_singular(api: FakeApi, project: Project) -> None:
    api.answer_always("roles", Answer(403))
    assert failure_message(project.run("roles")).startswith("The only selected resource failed.\n- roles: GET ")


@pytest.mark.parametrize(("status", "limit"), [(401, "0"), (403, "0"), (503, None)])
def test_a_run_that_would_fail_again_is_not_retried(
    api: FakeApi, project: Project, status: int, limit: str | None
) -> None:
    api.answer_always("policies", Answer(status))
    result = project.run("policies", "roles")
    run = project.instance.get_run_by_id(result.run_id)
    assert run is not None
    assert run.tags.get("dagster/max_retries") == limit


def test_the_causes_of_an_object_stores_error_are_shown() -> None:
    """As Delta's library says it, in colours."""
    said = "Generic S3 error\n   \x1b[31m↳\x1b[0m Error performing GET\n    \x1b[31m↳\x1b[0m 404 Not Found\nrow-canary"
    assert explain(OSError(said), ()) == "OSError: Generic S3 error: Error performing GET: 404 Not Found"
