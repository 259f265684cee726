"""The deployment in `deploy/` on a real Postgres: its processes, a sync, a backup of both databases and its restore."""

import shutil
import socket
import subprocess
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import dagster as dg
import psycopg2
import pytest
import requests

from analytics_assets.api.connector import SHIPPED
from analytics_assets_tests.servers.fake_api import TOKEN, FakeApi
from analytics_assets_tests.support.containers import Containers, compose, may_mount
from analytics_assets_tests.support.needs import absent
from analytics_assets_tests.support.postgres import create_database, postgres_binaries
from analytics_assets_tests.support.project import Project, metadata
from analytics_assets_tests.support.rows import policy
from analytics_assets_tests.support.shipped import NAMES, as_shipped
from analytics_assets_tests.support.waiting import until

PASSWORD = "password-canary-51c7"

WEBHOOK = "https://hooks.example.com/webhook-canary-51c7"

READ_SECRET = "from analytics_assets.api.settings import read_secret; print(read_secret('alerts.webhook_url'))"

LAUNCH = """mutation($job: String!) { launchRun(executionParams: {mode: "default", selector: {
  repositoryLocationName: "analytics_assets", repositoryName: "__repository__", jobName: $job}})
  { __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } } }"""

STATUS = "query($id: ID!) { runOrError(runId: $id) { ... on Run { status } } }"


def free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


def ask(url: str, query: str, **variables: str) -> Any:
    response = requests.post(f"{url}/graphql", json={"query": query, "variables": variables}, timeout=60)
    response.raise_for_status()
    return response.json()["data"]


def count_rows(database: str) -> dict[str, int]:
    with closing(psycopg2.connect(database)) as connection, connection.cursor() as cursor:
        counts = {}
        for resource in SHIPPED.resources:
            cursor.execute(f"SELECT count(*) FROM {NAMES.table(resource)}")
            [(counts[resource.name],)] = cursor.fetchall()
        return counts


def dump(database: str, directory: Path) -> Path:
    """A backup, by the command of the document."""
    path = directory / f"{database.rpartition('/')[2]}.dump"
    with path.open("wb") as output:
        subprocess.run([f"{postgres_binaries()}/pg_dump", "--format=custom", database], stdout=output, check=True)
    return path


def restore(server: str, path: Path) -> str:
    """A new database with what is in a backup, by the command of the document."""
    database = create_database(server)
    command = [f"{postgres_binaries()}/pg_restore", "--no-owner", "--exit-on-error", "--dbname", database]
    with path.open("rb") as dumped:
        subprocess.run(command, stdin=dumped, check=True)
    return database


@pytest.mark.slow
def test_the_containers_sync_into_postgres_and_their_backup_goes_on_from_there(
    postgres_server: str, shipped_api: FakeApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not may_mount():
        absent("no right to give a process a file system of its own: run this test as root, on Linux")
    cursors = {each.name: each.cursor for each in SHIPPED.resources if each.cursor}
    resource, cursor = next(iter(cursors.items()))
    rows = shipped_api.rows[resource]
    late = rows.pop(rows.index(max(rows, key=lambda row: str(row[cursor]))))
    history, warehouse = create_database(postgres_server), create_database(postgres_server)
    at = urlsplit(postgres_server)
    ports = {"3000": free_port(), "4000": free_port(), "5432": str(at.port)}
    containers = Containers(
        tmp_path,
        ports,
        variables={
            "DAGSTER_POSTGRES_DB": history.rpartition("/")[2],
            "DAGSTER_POSTGRES_USER": str(at.username),
            "DESTINATION__POSTGRES__CREDENTIALS__DATABASE": warehouse.rpartition("/")[2],
            "SOURCES__ANALYTICS__BASE_URL": shipped_api.url,
        },
        secrets={
            "dagster-postgres-password": PASSWORD,
            "warehouse-password": PASSWORD,
            "sources--analytics--api-key": TOKEN,
            "alerts--webhook-url": WEBHOOK,
        },
    )
    url = f"http://localhost:{ports['3000']}"
    with ExitStack() as stack:
        for name in ("code", "webserver", "daemon"):
            stack.enter_context(containers.running(name))
        assert containers.output("watch", "python", "-c", READ_SECRET) == f"{WEBHOOK}\n"
        watch = compose()["services"]["watch"]["healthcheck"]["test"]
        assert containers.output("watch", *watch[1:]) == ""
        launched = ask(url, LAUNCH, job=NAMES.sync)["launchRun"]
        assert launched["__typename"] == "LaunchRunSuccess", launched
        run_id = launched["run"]["runId"]
        ended = {"SUCCESS", "FAILURE", "CANCELED"}
        until(lambda: ask(url, STATUS, id=run_id)["runOrError"]["status"] in ended, "the run ends", 120, pause=0.5)
        assert ask(url, STATUS, id=run_id)["runOrError"]["status"] == "SUCCESS"
        assert list((tmp_path / "data").rglob("*.err"))
        dumps = [dump(database, tmp_path) for database in (history, warehouse)]
    for log in tmp_path.glob("*/log"):
        assert [secret for secret in (PASSWORD, TOKEN, WEBHOOK) if secret in log.read_text(encoding="utf-8")] == []

    loaded = {name: len(rows) for name, rows in shipped_api.rows.items()}
    history, warehouse = (restore(postgres_server, path) for path in dumps)
    assert count_rows(warehouse) == loaded
    rows.append(late)
    monkeypatch.setenv("DESTINATION_TYPE", "postgres")
    monkeypatch.setenv("DESTINATION__POSTGRES__CREDENTIALS", warehouse)
    (tmp_path / "home").mkdir()
    config = f"storage: {{postgres: {{postgres_url: {history!r}}}}}\n"
    (tmp_path / "home/dagster.yaml").write_text(config, encoding="utf-8")
    with dg.DagsterInstance.from_config(str(tmp_path / "home")) as instance:
        assert [run.run_id for run in instance.get_runs()] == [run_id]
        result = as_shipped(Project(instance, tmp_path / "unused")).sync()
    again = {name: metadata(result, name)["rows_loaded"] for name in cursors}
    assert again == {**dict.fromkeys(cursors, 0), resource: 1}
    assert count_rows(warehouse) == {**loaded, resource: loaded[resource] + 1}


def test_a_copy_of_the_duckdb_file_is_a_backup(api: FakeApi, project: Project, tmp_path: Path) -> None:
    project.sync("policies")
    backup = shutil.copy(project.database, tmp_path / "backup.duckdb")
    api.rows["policies"].append(policy(90, "2024-06-01T00:00:00Z"))
    project.sync("policies")
    shutil.copy(backup, project.database)
    assert 90 not in project.ids("policies")
    assert metadata(project.sync("policies"), "policies")["rows_loaded"] == 1
    assert project.ids("policies") == [row["id"] for row in api.rows["policies"]]
