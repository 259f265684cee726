"""The instance of `dagster.yaml` stores what Dagster's own does, in the same files, with fewer connections."""

import shutil
import sqlite3
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from analytics_assets_tests.support.checkout import CHECKOUT
from analytics_assets_tests.support.waiting import until

CHECKS = ("first", "second", "third")

opened: list[str] = []
"""Names of the SQLite files that were connected to."""


def note_connection(event: str, given: tuple[Any, ...]) -> None:
    if event == "sqlite3.connect":
        opened.append(Path(str(given[0])).stem)


sys.addaudithook(note_connection)


@dg.asset(check_specs=[dg.AssetCheckSpec(name, asset="table") for name in CHECKS])
def table() -> Iterator[dg.MaterializeResult[None] | dg.AssetCheckResult]:
    yield dg.MaterializeResult(metadata={"rows": 1})
    for name in CHECKS:
        yield dg.AssetCheckResult(passed=True, check_name=name)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    shutil.copy(CHECKOUT / "dagster.yaml", tmp_path)
    return tmp_path


def shipped(home: Path) -> dg.DagsterInstance:
    return dg.DagsterInstance.from_config(str(home))


def dagsters_own(home: Path) -> dg.DagsterInstance:
    """The instance that Dagster has without `dagster.yaml`."""
    return dg.DagsterInstance.from_config(str(home), "none.yaml")


def materialize(instance: dg.DagsterInstance) -> str:
    return dg.materialize([table], instance=instance).run_id


def shown(instance: dg.DagsterInstance) -> dict[str, Any]:
    """What the UI shows of all runs, of the asset, and of its checks."""
    latest = instance.get_latest_materialization_event(table.key)
    checked = instance.event_log_storage.get_latest_asset_check_execution_by_key(list(table.check_keys))
    return {
        "events": {run.run_id: list(map(str, instance.all_logs(run.run_id))) for run in instance.get_runs()},
        "materialized by": latest and latest.run_id,
        "checked": {key.name: (record.run_id, record.status.value) for key, record in checked.items()},
        "ended": [
            record.run_id
            for record in instance.fetch_run_status_changes(dg.DagsterEventType.RUN_SUCCESS, limit=9).records
        ],
    }


def test_it_and_dagsters_own_go_on_where_the_other_has_ended(home: Path) -> None:
    runs, kinds = [], []
    for open_instance in (shipped, dagsters_own, shipped):
        with open_instance(home) as instance:
            runs.append(materialize(instance))
            kinds.append(Counter(entry.dagster_event_type for entry in instance.all_logs(runs[-1])))
    assert kinds[0] == kinds[1] == kinds[2]
    with shipped(home) as one, dagsters_own(home) as other:
        assert shown(one) == shown(other)
        assert shown(one)["events"].keys() == set(runs)
        assert shown(one)["checked"] == dict.fromkeys(CHECKS, (runs[-1], "SUCCEEDED"))
        assert shown(one)["ended"] == runs[::-1]


def test_the_index_is_opened_once_however_many_events_there_are(home: Path) -> None:
    with shipped(home) as instance:
        materialize(instance)
        opened.clear()
        materialize(instance)
        assert "index" not in opened
    assert not list(home.rglob("*-wal"))


def test_whoever_watches_a_run_is_told_of_each_event_while_it_goes_on(home: Path) -> None:
    told = set[str]()
    with shipped(home) as writer, shipped(home) as ui:
        run_id = materialize(writer)
        ui.watch_event_logs(run_id, None, lambda entry, _: told.add(entry.message))
        run = writer.get_run_by_id(run_id)
        for text in ("one", "two", "three"):
            writer.report_engine_event(text, run)
            until(partial(told.__contains__, text), text)


def test_an_index_that_is_put_in_place_of_another_is_used_at_once(home: Path) -> None:
    index = home / "history/runs/index.db"
    with shipped(home) as instance:
        materialize(instance)
        # A backup is put back while the webserver runs.
        backup = index.with_name("backup")
        with closing(sqlite3.connect(index)) as source, closing(sqlite3.connect(backup)) as copy:
            source.backup(copy)
        for suffix in ("-wal", "-shm"):
            index.with_name(f"index.db{suffix}").unlink(missing_ok=True)
        backup.replace(index)
        run_id = materialize(instance)
    with dagsters_own(home) as instance:
        found = instance.get_latest_materialization_event(table.key)
        assert found
        assert found.run_id == run_id


def test_a_run_that_goes_on_after_all_was_wiped_is_stored_again(home: Path) -> None:
    with shipped(home) as instance:
        run = instance.get_run_by_id(materialize(instance))
        assert run
        instance.wipe()
        assert instance.get_latest_materialization_event(table.key) is None
        instance.report_engine_event("It goes on", run)
        assert [entry.message for entry in instance.all_logs(run.run_id)] == ["It goes on"]


def test_a_storage_of_ones_own_wins(home: Path) -> None:
    with (home / "dagster.yaml").open("a", encoding="utf-8") as file:
        file.write(f"storage:\n  sqlite:\n    base_dir: {home / 'elsewhere'}\n")
    with shipped(home) as instance:
        run_id = materialize(instance)
    assert (home / "elsewhere" / "history" / "runs" / f"{run_id}.db").exists()
