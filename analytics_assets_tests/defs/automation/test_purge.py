"""The job that deletes old runs, on the SQLite and the Postgres of a real instance."""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import sqlalchemy as sa
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteJobOrigin, RemoteRepositoryOrigin

from analytics_assets.defs.automation import purge
from analytics_assets.defs.automation.purge import HistoryConfigError, Scope, find_old_runs, read_keep_days
from analytics_assets_tests.servers.fake_api import FakeApi
from analytics_assets_tests.support.eight import asset_key, defs
from analytics_assets_tests.support.project import Project, failure_message

HERE, ELSEWHERE = "analytics_assets", "another_location"

HUNDRED_DAYS_AGO = datetime.now(UTC) - timedelta(days=100)

STORAGE = """
storage:
  postgres:
    postgres_url: {url}
"""


@dg.asset
def of_somebody_else() -> None:
    pass


@pytest.fixture(params=["sqlite", "postgres"])
def databases(request: pytest.FixtureRequest, home: Path) -> list[str]:
    """The storage that the instance of `home` gets; returns the URLs of its databases."""
    if request.param == "sqlite":
        return [f"sqlite:///{home}/history/{name}" for name in ("runs.db", "runs/index.db")]
    url: str = request.getfixturevalue("postgres")
    with (home / "dagster.yaml").open("a", encoding="utf-8") as file:
        file.write(STORAGE.format(url=url))
    return [url]


def names_run(databases: list[str], home: Path, run_id: str) -> list[str]:
    """The tables, files and directories that have something of a run."""
    found = [path.name for path in home.rglob(f"*{run_id}*")]
    for url in databases:
        engine = sa.create_engine(url)
        with engine.connect() as connection:
            inspector = sa.inspect(engine)
            for table in inspector.get_table_names():
                if any(column["name"] == "run_id" for column in inspector.get_columns(table)):
                    query = sa.text(f"SELECT count(*) FROM {table} WHERE run_id = :run_id")
                    if connection.execute(query, {"run_id": run_id}).scalar():
                        found.append(table)
        engine.dispose()
    return found


def test_a_purge_leaves_nothing_of_an_old_run_and_keeps_what_assets_checks_and_others_need(
    api: FakeApi, databases: list[str], home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    del api
    monkeypatch.setenv("DESTINATION__DUCKDB__CREDENTIALS", str(tmp_path / "warehouse.duckdb"))
    with dg.DagsterInstance.from_config(str(home)) as instance:
        project = Project(instance, tmp_path / "warehouse.duckdb")
        foreign = dg.materialize([of_somebody_else], instance=instance).run_id
        only_groups = project.sync("groups").run_id
        # From here on one run has the latest materialization of groups, and another the latest checks.
        only_checks = project.run(job="analytics_verify").run_id
        old = project.sync("roles").run_id
        newest = project.sync("roles").run_id
        left = names_run(databases, home, old)
        assert {"runs", "event_logs", "asset_check_executions", old} <= set(left), left

        # Nothing is deleted by a setting that cannot be read.
        monkeypatch.setenv("HISTORY__KEEP_DAYS", "0")
        refused = project.run(job="analytics_purge")
        assert "history.keep_days = '0' is not a number of days from 0.05" in failure_message(refused)
        assert instance.get_run_by_id(old)

        # A run that failed before it evaluated what it had planned.
        monkeypatch.setenv("SOURCES__ANALYTICS__PAGE_SIZE", "none")
        planned = project.run().run_id
        monkeypatch.delenv("SOURCES__ANALYTICS__PAGE_SIZE")
        monkeypatch.setattr(purge, "SHORTEST_KEPT", 0)
        monkeypatch.setenv("HISTORY__KEEP_DAYS", "0.00001")
        said = project.log(project.sync(job="analytics_purge"))
        assert names_run(databases, home, old) == []
        stayed = {foreign, only_groups, only_checks, planned, newest}
        assert stayed <= {run.run_id for run in instance.get_runs()}
        assert "to delete that began more than 1e-05 days ago" in said
        assert re.search(r"([1-9]) of \1 runs? deleted", said)
        for name, run_id in (("groups", only_groups), ("roles", newest)):
            [latest] = instance.fetch_materializations(asset_key(name), limit=1).records
            assert latest.run_id == run_id
            entry = instance.get_latest_materialization_event(asset_key(name))
            assert entry is not None
            assert entry.run_id == run_id

        # Then only the purges themselves grow old.
        project.sync(job="analytics_purge")
        assert {run.run_id for run in instance.get_runs() if run.job_name != "analytics_purge"} == stayed
    assert (tmp_path / "warehouse.duckdb").exists()


def add(
    instance: dg.DagsterInstance,
    *,
    job: str = "analytics_sync",
    location: str | None = HERE,
    created: datetime = HUNDRED_DAYS_AGO,
    **fields: Any,
) -> str:
    """A run that somebody launched some time ago."""
    fields.setdefault("status", dg.DagsterRunStatus.SUCCESS)
    if location:
        repository = RemoteRepositoryOrigin(RegisteredCodeLocationOrigin(location), "__repository__")
        fields["remote_job_origin"] = RemoteJobOrigin(repository, job)
    run = dg.DagsterRun(job_name=job, **fields)
    return instance.run_storage.add_historical_run(run, created).run_id


def test_only_finished_runs_of_this_location_that_nothing_refers_to_are_old(instance: dg.DagsterInstance) -> None:
    ours, theirs = asset_key("roles"), dg.AssetKey("of_somebody_else")
    old = [
        add(instance),
        add(instance, status=dg.DagsterRunStatus.FAILURE),
        add(instance, location=None),
        add(instance, job="__ASSET_JOB", asset_selection=frozenset({ours})),
        add(instance, tags={"dagster/partition": "2026-01"}),
    ]
    # What is launched from the assets of several is not this connector's alone.
    add(instance, job="__ASSET_JOB", asset_selection=frozenset({ours, theirs}))
    add(instance, job="of_somebody_else")
    add(instance, location=ELSEWHERE)
    add(instance, status=dg.DagsterRunStatus.STARTED)
    add(instance, created=datetime.now(UTC) - timedelta(days=80))
    # These are kept: the last of their partition, one that was run again lately, and one whose retry still waits.
    add(instance, tags={"dagster/partition": "2026-01"})
    add(instance, tags={"dagster/partition": "2026-02"}, status=dg.DagsterRunStatus.FAILURE)
    root = add(instance, status=dg.DagsterRunStatus.FAILURE)
    retry = {"dagster/root_run_id": root, "dagster/parent_run_id": root}
    add(instance, tags=retry, root_run_id=root, parent_run_id=root, created=datetime.now(UTC))
    parent = add(instance, status=dg.DagsterRunStatus.FAILURE)
    add(instance, status=dg.DagsterRunStatus.QUEUED, root_run_id=parent, parent_run_id=parent)

    scope = Scope(jobs={"analytics_sync"}, assets={ours}, observed=(), checks=())
    run = instance.get_run_by_id(add(instance, job="analytics_purge", status=dg.DagsterRunStatus.STARTED))
    assert run is not None
    before = datetime.now(UTC) - timedelta(days=90)
    assert find_old_runs(instance, before, scope, run) == (old, 4)


@pytest.mark.parametrize("value", ["0", "0.04", "-1", "often", "nan", "40000"])
def test_a_wrong_age_is_named(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("HISTORY__KEEP_DAYS", value)
    with pytest.raises(
        HistoryConfigError, match=f"keep_days = '{value}' is not a number of days from 0.05 to 36500.*schedule"
    ):
        read_keep_days()


def test_the_purge_runs_daily_without_being_switched_on() -> None:
    schedule = defs().resolve_schedule_def("analytics_purge")
    assert schedule.default_status is dg.DefaultScheduleStatus.RUNNING
    assert schedule.cron_schedule == "15 4 * * *"
    assert schedule.job_name == "analytics_purge"
