"""Steps as configuration: which executor runs them, and a step for each resource."""

import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from analytics_assets.api.settings import SettingsError
from analytics_assets.defs.automation.alerts import describe_failure
from analytics_assets.defs.execution import read_executor, read_split
from analytics_assets.defs.names import Names
from analytics_assets_tests.servers.fake_api import Answer, FakeApi
from analytics_assets_tests.support.commands import EIGHT, materialize, run
from analytics_assets_tests.support.eight import NAMES, asset_key
from analytics_assets_tests.support.project import Project, materialized, metadata, resource_config

SPLIT = replace(NAMES, split=True)
MAX_RETRIES = "dagster/max_retries"


@pytest.fixture
def split(monkeypatch: pytest.MonkeyPatch) -> Names:
    monkeypatch.setenv("EXECUTION__SPLIT", "true")
    return SPLIT


def steps(events: Sequence[dg.DagsterEvent]) -> set[str]:
    return {str(event.step_key) for event in events if event.event_type is dg.DagsterEventType.STEP_SUCCESS}


def both(*resources: str) -> set[str]:
    return {f"analytics_{kind}_{name}" for name in resources for kind in ("api", "checks")}


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        (
            "executor",
            "threads",
            r"execution\.executor = 'threads' is unknown; known: in_process, multiprocess, celery, k8s",
        ),
        ("executor", "dask", r"needs a package that is missing: dagster_dask\. Install it: pip install .*\[dask\]"),
        ("config", "ten", r"execution\.config = 'ten' is no table, nor a JSON object"),
        ("split", "eight", r"execution\.split = 'eight' is neither true nor false.*EXECUTION__SPLIT"),
    ],
)
def test_wrong_values_are_refused(monkeypatch: pytest.MonkeyPatch, key: str, value: str, message: str) -> None:
    monkeypatch.setenv(f"EXECUTION__{key.upper()}", value)
    monkeypatch.setitem(sys.modules, "dagster_dask", None)
    with pytest.raises(SettingsError, match=message):
        read_split() if key == "split" else read_executor()


def test_the_configured_executor_runs_all_jobs_that_sync(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXECUTION__EXECUTOR", "multiprocess")
    monkeypatch.setenv("EXECUTION__CONFIG", '{"max_concurrent": 3}')
    jobs = ("analytics_sync", "analytics_reconcile", "analytics_verify")
    assert {project.definitions.resolve_job_def(name).executor_def.name for name in jobs} == {"multiprocess"}
    assert project.definitions.resolve_job_def("analytics_check").executor_def.name == "in_process"
    # Run config goes with what is configured.
    config: dict[str, Any] = {"execution": {"config": {"tag_concurrency_limits": []}}}
    assert dg.validate_run_config(project.definitions.resolve_job_def("analytics_sync"), config)


def test_each_resource_is_a_step_whose_failure_costs_only_itself(
    api: FakeApi, project: Project, split: Names, monkeypatch: pytest.MonkeyPatch
) -> None:
    api.answer_always("roles", Answer(403))
    api.answer_always("groups", Answer(400))
    result = project.run("roles", "policies", "groups")
    assert materialized(result) == ["policies"]
    assert steps(result.all_events) == both("policies")
    dagster_run = project.instance.get_run_by_id(result.run_id)
    assert dagster_run
    text = describe_failure(project.instance, dagster_run)
    assert "\n- roles: GET /v2/roles answered 403" in text
    assert "\n- groups: GET /v2/groups answered 400" in text
    # Another run would meet both again.
    assert dagster_run.tags[MAX_RETRIES] == "0"

    # One that may get better is worth a retry, in whichever order they fail.
    api.faults["policies"].append(lambda _: Answer(503))
    again = project.instance.get_run_by_id(project.run("roles", "policies", "groups").run_id)
    assert again
    assert again.tags.get(MAX_RETRIES) == str(project.instance.run_retries_max_retries)


def test_run_config_of_all_steps_goes_with_any_selection(api: FakeApi, project: Project, split: Names) -> None:
    assert sorted(split.run_config(mode="full")["ops"]) == sorted(f"analytics_api_{name}" for name in api.rows)
    del api.rows["roles"][2]
    assert project.run("roles", run_config=split.run_config(mode="full")).success
    # The schedule's job has the config of all.
    result = project.sync("roles", "groups", job="analytics_reconcile")
    assert steps(result.all_events) == both("roles", "groups")
    assert metadata(result, "groups")["mode"] == "full"


def test_steps_in_processes_of_their_own_wait_for_the_file_and_divide_the_limits(
    api: FakeApi, project: Project, split: Names, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("EXECUTION__EXECUTOR", "multiprocess")
    monkeypatch.setenv("SOURCES__ANALYTICS__REQUESTS_PER_SECOND", "100")
    # For a stranger they would not wait at all.
    fork = {"start_method": {"forkserver": {"preload_modules": [EIGHT]}}}
    config = resource_config(busy_timeout=0) | {"execution": {"config": {"max_concurrent": 2, **fork}}}
    command = materialize("analytics/roles,analytics/groups", EIGHT)
    done = run(tmp_path, *command, "--config-json", json.dumps(config))
    assert done.returncode == 0, done.stderr
    with dg.DagsterInstance.from_config(str(tmp_path / "dagster")) as instance:
        [found] = instance.get_runs()
        logged = instance.all_logs(found.run_id)
        assert steps([entry.dagster_event for entry in logged if entry.dagster_event]) == both("roles", "groups")
        texts = [entry.user_message for entry in logged if entry.level == 20]
        says = "Up to 2 workers read the API at once. This one has 4 of 8 in flight, and 50 of 100 requests a second."
        assert texts.count(says) == 2
        assert instance.get_latest_materialization_event(asset_key("roles"))
    assert project.ids("roles") == [1, 2, 3]
