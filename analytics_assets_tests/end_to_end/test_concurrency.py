"""Two runs at once, and a disk that fills up."""

import os
import resource
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from analytics_assets.demo.exchange import Request
from analytics_assets_tests.servers.fake_api import Answer, FakeApi
from analytics_assets_tests.support.commands import EIGHT, materialize
from analytics_assets_tests.support.project import Project, metadata
from analytics_assets_tests.support.rows import activity, policy


def start(home: Path, *resources: str, prepare: Callable[[], None] | None = None) -> "subprocess.Popen[str]":
    """Dagster's CLI in a process and an instance of its own, so that no pool keeps the runs apart."""
    home.mkdir(exist_ok=True)
    selection = " or ".join(f"key:analytics/{name}" for name in resources)
    return subprocess.Popen(
        materialize(selection, EIGHT),
        env={**os.environ, "DAGSTER_HOME": str(home)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=prepare,  # noqa: PLW1509 - it only sets a limit
    )


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (("policies", "organizations"), ("activities", "roles")),
        (("policies", "activities"), ("policies", "activities")),
    ],
    ids=["different subsets", "the same subset"],
)
def test_two_runs_at_once_wait_for_each_other_and_keep_every_cursor(
    api: FakeApi, project: Project, tmp_path: Path, first: tuple[str, ...], second: tuple[str, ...]
) -> None:
    runs = [start(tmp_path / "one", *first), start(tmp_path / "two", *second)]
    outputs = [run.communicate()[0] for run in runs]
    assert [run.returncode for run in runs] == [0, 0], "\n".join(outputs)
    for resource_name in {*first, *second}:
        assert project.ids(resource_name) == [row["id"] for row in api.rows[resource_name]]

    api.rows["policies"].append(policy(90, "2024-06-01T00:00:00Z"))
    result = project.sync(*{*first, *second})
    for resource_name, new in (("policies", 1), ("activities", 0)):
        if resource_name in {*first, *second}:
            assert metadata(result, resource_name)["rows_loaded"] == new


def test_a_disk_that_fills_up_is_an_error_and_loses_nothing(api: FakeApi, project: Project, tmp_path: Path) -> None:
    project.sync("activities")
    known = project.ids("activities")
    many = [activity(n, "2024-06-01T00:00:00Z", message=os.urandom(600).hex()) for n in range(100, 8_000)]
    api.rows["activities"] += many

    def limit_files() -> None:
        largest = project.database.stat().st_size + 2_000_000
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest, largest))

    def in_big_pages(request: Request) -> Answer:
        after = int(request.query["after"])
        return Answer(body={"activities": api.rows["activities"][after : after + 1000]})

    api.faults["activities"].append(in_big_pages)
    run = start(tmp_path / "full", "activities", prepare=limit_files)
    output, _ = run.communicate()

    assert run.returncode != 0
    assert "activities: The disk is full" in output
    assert project.ids("activities") == known
    project.sync("activities")
    assert project.ids("activities") == [row["id"] for row in api.rows["activities"]]
