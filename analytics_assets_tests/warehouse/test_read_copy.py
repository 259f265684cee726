"""The copy for readers: always there, complete, as private as the warehouse, and never worth a failed run."""

import os
import resource
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import duckdb
import pytest
from dlt.pipeline.exceptions import PipelineStepFailed

from analytics_assets.api.settings_reader import read_settings
from analytics_assets.warehouse.read_copy import publish
from analytics_assets.warehouse.session import open_session
from analytics_assets.warehouse.sync import begin_sync, sync
from analytics_assets_tests.servers.fake_api import Answer, FakeApi
from analytics_assets_tests.support.eight import EIGHT
from analytics_assets_tests.support.holder import holding
from analytics_assets_tests.support.project import Project, failure_message, resource_config
from analytics_assets_tests.support.read_copy import reading_in_a_loop
from analytics_assets_tests.support.refreshing import refreshed
from analytics_assets_tests.support.rows import location, organization, role

GENERATIONS = """
SELECT * FROM (SELECT count(*), min(name), max(name) FROM analytics.organizations),
              (SELECT count(*), min(name), max(name) FROM analytics.locations)
"""


@pytest.fixture
def copy(project: Project) -> Path:
    return project.database.with_name("warehouse_read.duckdb")


def query(database: Path, sql: str) -> list[tuple[object, ...]]:
    with duckdb.connect(str(database), read_only=True) as connection:
        return connection.execute(sql).fetchall()


def load(*names: str) -> list[str]:
    """Syncs resources without Dagster; returns what was said meanwhile."""
    said: list[str] = []
    with (
        open_session(read_settings(EIGHT), log=said.append) as session,
        begin_sync(session, [EIGHT.by_name[name] for name in names]) as pending,
    ):
        for each in pending:
            sync(each, session)
    return said


def generation(number: int, api: FakeApi) -> tuple[object, ...]:
    """Gives all rows of two resources a new name, and returns what a reader sees of them."""
    name = f"Generation {number}"
    api.rows["organizations"] = [organization(n, name=name) for n in range(1, 45)]
    api.rows["locations"] = [location(n, name=name) for n in range(1, 35)]
    return 44, name, name, 34, name, name


def test_readers_beside_runs_are_never_refused_and_always_see_complete_data(
    project: Project, api: FakeApi, copy: Path
) -> None:
    known = [generation(1, api)]
    project.sync("organizations", "locations")
    with duckdb.connect(str(copy), read_only=True) as old:
        with reading_in_a_loop(copy, GENERATIONS) as seen:
            for number, mode in enumerate(("incremental", "rebuild", "full"), 2):
                known.append(generation(number, api))
                project.sync("organizations", "locations", config={"mode": mode})
                assert query(project.database, GENERATIONS) == query_apart(copy, GENERATIONS) == [known[-1]]
            refreshed(project, "organization_overview")
            assert query_apart(copy, "SELECT count(*) FROM reports.organization_overview") == [(44,)]
        assert old.execute(GENERATIONS).fetchall() == [known[0]]
    assert [[tuple(row) for row in rows] for rows in seen] == [[each] for each in known]


def query_apart(copy: Path, sql: str) -> list[tuple[object, ...]]:
    """Asks in a process of its own: one that still has the former copy open would be given that."""
    script = "import sys, duckdb; print(duckdb.connect(sys.argv[1], read_only=True).execute(sys.argv[2]).fetchall())"
    done = subprocess.run([sys.executable, "-c", script, str(copy), sql], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found: list[tuple[object, ...]] = eval(done.stdout)
    return found


def test_what_others_have_loaded_is_in_the_copy_though_a_resource_failed(
    project: Project, api: FakeApi, copy: Path
) -> None:
    api.answer_always("policies", Answer(404))
    assert not project.run("policies", "roles").success
    assert query(copy, "SELECT count(*) FROM analytics.roles") == [(3,)]
    # A script that does not catch the error.
    api.rows["roles"].append(role(4, "2024-06-01T00:00:00Z"))
    with pytest.raises(PipelineStepFailed):
        load("roles", "policies")
    assert query(copy, "SELECT count(*) FROM analytics.roles") == [(4,)]


def test_a_script_makes_the_copy_while_it_holds_the_warehouse(project: Project, api: FakeApi, copy: Path) -> None:
    roles = EIGHT.by_name["roles"]
    with open_session(read_settings(EIGHT)) as session:
        with begin_sync(session, [roles]) as [pending]:
            sync(pending, session)
        assert query(copy, "SELECT count(*) FROM analytics.roles") == [(3,)]
        # DuckDB's lock is still there: closing the file in this process would have given it up.
        with pytest.raises(AssertionError), holding(project.database):
            pass
    with holding(project.database):
        pass


def test_an_unchanged_warehouse_is_not_copied_and_a_copy_that_is_gone_is_made_anew(
    project: Project, api: FakeApi, copy: Path
) -> None:
    load("roles")
    load("roles")
    made = copy.stat().st_ino
    # As a file system with coarse times stores it.
    os.utime(copy, (0, int(copy.stat().st_mtime)))
    load("roles")
    assert copy.stat().st_ino == made
    project.database.chmod(0o640)
    load("roles")
    assert stat.S_IMODE(copy.stat().st_mode) == 0o440
    copy.unlink()
    load("roles")
    assert query(copy, "SELECT count(*) FROM analytics.roles") == [(3,)]


def test_nobody_may_write_to_the_copy_and_only_those_may_read_it_who_may_read_the_warehouse(
    project: Project, api: FakeApi, copy: Path
) -> None:
    load("organizations")
    assert stat.S_IMODE(copy.stat().st_mode) == 0o400
    project.database.chmod(0o640)
    # As if somebody whom no permission stops had written to the former copy, and left a log.
    with duckdb.connect(str(copy.with_name("careless.duckdb"))) as careless:
        careless.execute("PRAGMA disable_checkpoint_on_shutdown; CREATE TABLE careless (id INT)")
    copy.with_name("careless.duckdb.wal").rename(f"{copy}.wal")
    project.query("CREATE VIEW analytics.named AS FROM warehouse.analytics.organizations")
    load("organizations")
    found = copy.stat()
    assert stat.S_IMODE(found.st_mode) == 0o440
    assert (found.st_uid, found.st_gid) == (project.database.stat().st_uid, project.database.stat().st_gid)
    assert sorted(path.name for path in copy.parent.glob("*duckdb*")) == [
        "careless.duckdb",
        "warehouse.duckdb",
        "warehouse_read.duckdb",
    ]
    # A view that names the database finds it under that name only.
    with duckdb.connect() as connection:
        connection.execute(f"ATTACH '{copy}' AS warehouse (READ_ONLY)")
        assert connection.execute("SELECT count(*) FROM warehouse.analytics.named").fetchall() == [(45,)]


@contextmanager
def small_disk(size: int) -> Iterator[None]:
    """No process that is started here can write a larger file."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_leaves_the_former_copy_and_nothing_else(project: Project, api: FakeApi, copy: Path) -> None:
    load("roles")
    before = copy.read_bytes()
    said: list[str] = []
    with duckdb.connect(str(project.database)) as connection, small_disk(100_000):
        project.database.touch()
        publish(connection, project.database, copy, 1, said.append)
    [message] = said
    assert f"The read copy {copy} was not made: File too large. Readers keep the former one, of 20" in message
    assert "Free some room" in message
    assert copy.read_bytes() == before
    assert [path.name for path in copy.parent.glob(".*")] == []


def test_a_copy_that_cannot_be_made_is_a_warning(
    project: Project, api: FakeApi, copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def warned(value: str) -> str:
        monkeypatch.setenv("SOURCES__ANALYTICS__READ_COPY", value)
        return "".join(load("roles"))

    # Relative to the project, which has no such directory.
    nowhere = tmp_path / "project" / "nowhere" / "copy.db"
    message = f"The read copy {nowhere} was not made: No such file or directory. There is no former one. Create its"
    assert message in warned("nowhere/copy.db")
    own = tmp_path / "own.duckdb"
    own.write_bytes(b"somebody's")
    own.chmod(0o400)
    assert "There is a file of that name which is none of our copies" in warned(str(own))
    assert own.read_bytes() == b"somebody's"
    link = tmp_path / "link.duckdb"
    link.symlink_to(tmp_path / "unmounted" / "read.duckdb")
    assert "That is a symbolic link" in warned(str(link))
    assert link.is_symlink()
    (tmp_path / "directory.d").mkdir()
    assert "That is a directory. Set read_copy to the path of a file. There is no former" in warned(
        str(tmp_path / "directory.d")
    )
    assert warned("false") == warned(str(tmp_path / "mine.db")) == ""
    assert not copy.exists()
    assert query(tmp_path / "mine.db", "SELECT count(*) FROM analytics.roles") == [(3,)]

    monkeypatch.setenv("SOURCES__ANALYTICS__READ_COPY_MAX_GB", "0.0001")
    message = warned("true")
    assert f"The read copy {copy} was not made, because {project.database} has 0.0 GB" in message
    assert "DuckLake or Postgres" in message
    assert not copy.exists()


def test_an_error_without_text_is_a_warning_too(copy: Path) -> None:
    class Closed:
        def execute(self, _: str) -> None:
            raise RuntimeError

    said: list[str] = []
    publish(cast("duckdb.DuckDBPyConnection", Closed()), copy, copy, 1, said.append)
    assert said == [f"The read copy {copy} was not made: RuntimeError. There is no former one."]


KILLED = """
import os, signal, sys
from pathlib import Path
import duckdb
from analytics_assets.warehouse import read_copy
def half(database, descriptor):
    os.write(descriptor, database.read_bytes()[:50_000])
    os.kill(os.getpid(), signal.SIGKILL)
read_copy._copy = half
database = Path(sys.argv[1])
with duckdb.connect(str(database)) as connection:
    database.touch()
    read_copy.publish(connection, database, Path(sys.argv[2]), 1, print)
"""


def test_a_kill_while_it_is_copied_leaves_the_former_copy_and_the_next_run_tidies_up(
    project: Project, api: FakeApi, copy: Path
) -> None:
    load("organizations")
    before = copy.read_bytes()
    killed = subprocess.run([sys.executable, "-c", KILLED, project.database, copy], check=False)
    assert killed.returncode < 0
    assert copy.read_bytes() == before
    assert [path.stat().st_size for path in copy.parent.glob(".*.tmp")] == [50_000]
    load("organizations")
    assert list(copy.parent.glob(".*")) == []
    assert copy.read_bytes() != before


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("read_copy", "off", "read_copy = 'off' is neither true, nor false, nor the path of a file such as"),
        ("read_copy", "s3://bucket/read.db", "is neither true, nor false, nor the path"),
        (
            "read_copy",
            "{database}",
            "is the warehouse itself. Set it in [sources.analytics] of .dlt/config.toml, or as SOURCES__",
        ),
        ("read_copy", "{database}.wal", "has the name of DuckDB's log of the warehouse"),
        (
            "read_copy",
            "~nobody9/read.duckdb",
            "cannot be used: no home directory is known for the user after ~. Set it",
        ),
        ("read_copy", "elsewhere/analytics.db", "is called like a schema in it"),
        ("read_copy_max_gb", "0", "read_copy_max_gb = 0.0 is not above 0"),
        ("read_copy_max_gb", "much", "read_copy_max_gb = 'much' is not a number"),
    ],
)
def test_wrong_settings_of_the_copy_are_one_error_before_any_request(
    project: Project, api: FakeApi, monkeypatch: pytest.MonkeyPatch, key: str, value: str, message: str
) -> None:
    monkeypatch.setenv(f"SOURCES__ANALYTICS__{key.upper()}", value.format(database=project.database))
    assert message in failure_message(project.run("roles"))
    assert api.requests == []
    assert not project.database.exists()


def test_another_file_by_run_config_is_not_copied_over_the_configured_copy(
    project: Project, api: FakeApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = tmp_path / "shared.duckdb"
    monkeypatch.setenv("SOURCES__ANALYTICS__READ_COPY", str(shared))
    project.sync("roles")
    made = shared.stat().st_ino
    data = Path(os.environ["DLT_PROJECT_DIR"]) / "data"
    project.sync("roles", run_config=resource_config(base_url="demo"))
    project.sync("roles", run_config=resource_config(destination_credentials="data/other.duckdb"))
    assert shared.stat().st_ino == made
    assert {path.name for path in data.iterdir()} == {
        "demo.duckdb",
        "demo_read.duckdb",
        "other.duckdb",
        "other_read.duckdb",
    }
