"""Each test has its own API, warehouse, dlt directories and Dagster instance."""

import gc
import os
import shutil
import tempfile
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import dagster as dg
import pytest

from analytics_assets.api.connector import SHIPPED
from analytics_assets_tests.servers.fake_api import TOKEN, FakeApi, serve
from analytics_assets_tests.servers.fake_ninjaone import FakeNinjaOne, serve_ninjaone
from analytics_assets_tests.servers.webhook import Webhook, listening
from analytics_assets_tests.support.checkout import CHECKOUT
from analytics_assets_tests.support.environment import CONFIGURED_BY
from analytics_assets_tests.support.lake import serve_s3
from analytics_assets_tests.support.mariadb import mariadb_binaries, serve_mariadb
from analytics_assets_tests.support.needs import absent
from analytics_assets_tests.support.postgres import create_database, postgres_binaries, serve_postgres
from analytics_assets_tests.support.project import Project
from analytics_assets_tests.support.rows import small_rows
from analytics_assets_tests.support.shipped import shipped_rows
from analytics_assets_tests.support.vendors import Connect, connector
from analytics_assets_tests.support.watch import Watch
from analytics_assets_tests.support.wire import (
    Kind,
    Scene,
    Warehouse,
    scene,
)

COLLECT_AFTER = 10_000
"""Objects created minus objects freed, after which CPython looks for garbage. With its default of 700, which is less
than one event of Dagster makes, a tenth of the CPU seconds of the tests went there."""


def pytest_collection() -> None:
    """Lets the garbage collector look rarely, and not at what Dagster and dlt have made while they were imported."""
    gc.freeze()
    gc.set_threshold(COLLECT_AFTER, *gc.get_threshold()[1:])


def pytest_collection_finish() -> None:
    """Nor at the tests."""
    gc.freeze()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts slow tests first in each worker's share, which it begins with: at the end, no worker waits for one."""
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    slow = [item for item in items if item.get_closest_marker("slow")]
    quick = [item for item in items if not item.get_closest_marker("slow")]
    ends = [len(quick) * each // workers for each in range(workers + 1)]
    items[:] = [
        item for each, (start, end) in enumerate(pairwise(ends)) for item in (*slow[each::workers], *quick[start:end])
    ]


@pytest.fixture(autouse=True)
def clean_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the machine's configuration reaches a test, nothing of a test stays on the machine."""
    for name in list(os.environ):
        if name.startswith(CONFIGURED_BY):
            monkeypatch.delenv(name)
    monkeypatch.setenv("DLT_PROJECT_DIR", str(tmp_path / "project"))
    monkeypatch.setenv("DLT_DATA_DIR", str(tmp_path / "dlt"))
    monkeypatch.setenv("RUNTIME__DLTHUB_TELEMETRY", "false")
    monkeypatch.setenv("RUNTIME__REQUEST_BACKOFF_FACTOR", "0")


@pytest.fixture
def empty_api(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeApi]:
    """An API without rows, to which the configuration points."""
    with serve() as api:
        monkeypatch.setenv("SOURCES__ANALYTICS__BASE_URL", api.url)
        monkeypatch.setenv("SOURCES__ANALYTICS__API_KEY", TOKEN)
        yield api


@pytest.fixture
def api(empty_api: FakeApi) -> FakeApi:
    """An API with a few rows of each resource."""
    empty_api.rows = small_rows()
    return empty_api


@pytest.fixture
def shipped_api(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeApi]:
    """An API with rows of whatever the shipped catalog lists, to which the configuration points."""
    with serve(connector=SHIPPED) as api:
        api.rows = shipped_rows()
        monkeypatch.setenv("SOURCES__ANALYTICS__BASE_URL", api.url)
        monkeypatch.setenv("SOURCES__ANALYTICS__API_KEY", TOKEN)
        yield api


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    database = tmp_path / "warehouse.duckdb"
    monkeypatch.setenv("DESTINATION__DUCKDB__CREDENTIALS", str(database))
    with dg.DagsterInstance.ephemeral() as instance:
        yield Project(instance, database)


@pytest.fixture
def webhook(monkeypatch: pytest.MonkeyPatch) -> Iterator[Webhook]:
    """A webhook to which the configuration points."""
    with listening() as received:
        monkeypatch.setenv("ALERTS__WEBHOOK_URL", received.url)
        yield received


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """The URL of a Postgres server of this test run's own."""
    binaries = postgres_binaries()
    if binaries is None:
        absent("no Postgres on this machine: install Debian's postgresql, or Homebrew's")
    # Not below pytest's own directory, which no other user may enter.
    with tempfile.TemporaryDirectory(prefix="analytics_postgres_") as name:
        yield from serve_postgres(binaries, Path(name))


@pytest.fixture
def postgres(postgres_server: str) -> str:
    """The URL of an empty database of the test's own."""
    return create_database(postgres_server)


@pytest.fixture(scope="session")
def mariadb_server() -> Iterator[str]:
    """The URL of a MariaDB server of this test run's own."""
    server = mariadb_binaries()
    if server is None:
        absent("no MariaDB on this machine: install Debian's mariadb-server, or Homebrew's mariadb")
    # Not below pytest's own directory, which no other user may enter.
    with tempfile.TemporaryDirectory(prefix="analytics_mariadb_") as name:
        yield from serve_mariadb(server, Path(name))


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """The URL of an S3 server of this test run's own."""
    yield from serve_s3()


@pytest.fixture
def ninjaone(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeNinjaOne]:
    """The public API without rows, to which the configuration points."""
    with serve_ninjaone() as api:
        settings = {"BASE_URL": api.url, "API_KEY": TOKEN, "DIALECT": "ninjaone", "PAGE_SIZE": "10"}
        for key, value in settings.items():
            monkeypatch.setenv(f"SOURCES__ANALYTICS__{key}", value)
        yield api


@pytest.fixture
def connect(monkeypatch: pytest.MonkeyPatch) -> Connect:
    """Points the configuration to endpoints of a test's own."""
    return connector(monkeypatch)


@pytest.fixture
def duck(tmp_path: Path) -> Iterator[Scene]:
    with scene(Warehouse("duckdb", str(tmp_path / "values.duckdb"))) as found:
        yield found


@pytest.fixture(params=["duckdb", "postgres", "sqlite"])
def anywhere(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Scene]:
    """A scene with each kind of destination."""
    kind: Kind = request.param
    where = request.getfixturevalue("postgres") if kind == "postgres" else str(tmp_path / f"values.{kind}")
    with scene(Warehouse(kind, where)) as found:
        yield found


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A DAGSTER_HOME with the file that is shipped."""
    path = tmp_path / "home"
    path.mkdir()
    shutil.copy(CHECKOUT / "dagster.yaml", path)
    return path


@pytest.fixture
def instance(home: Path) -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.from_config(str(home)) as found:
        yield found


@pytest.fixture
def watch(instance: dg.DagsterInstance) -> Watch:
    return Watch(instance)
