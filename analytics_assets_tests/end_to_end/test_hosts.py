"""Runs on two hosts by Celery, as `deploy/distributed/` has it: one dies in the middle, and the other does its run."""

import shutil
import tempfile
import threading
from contextlib import ExitStack, closing
from pathlib import Path

import dagster as dg
import psycopg2
import pytest

from analytics_assets.api.connector import SHIPPED
from analytics_assets.demo.exchange import Request
from analytics_assets_tests.servers.bulk_api import BulkApi, find_wrong, serve_bulk
from analytics_assets_tests.support.cluster import PATIENCE, Cluster, cluster, instance_config
from analytics_assets_tests.support.hosts import may_make_networks, network
from analytics_assets_tests.support.needs import absent
from analytics_assets_tests.support.postgres import postgres_binaries
from analytics_assets_tests.support.shipped import NAMES
from analytics_assets_tests.support.waiting import until
from analytics_assets_tests.support.watch import look_up, pid_of

ROWS = 1_000
ENDED = {dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED}
RUN_TIMEOUT = 40
"""Seconds after which a run counts as hung; here, with its host. A sync of these rows takes less than ten."""


def launch(deployed: Cluster) -> str:
    """Has the daemon run a sync, and returns its id."""
    before = {run.run_id for run in deployed.instance.get_runs()}
    deployed.call("dagster", "job", "launch", "--job", NAMES.sync)
    [run] = [run for run in deployed.instance.get_runs() if run.run_id not in before]
    return run.run_id


def stall(api: BulkApi) -> threading.Event:
    """Lets the API stop in the middle of the listing, until the event is set."""
    go_on = threading.Event()

    def wait(_: Request) -> None:
        if len(api.requests) > ROWS // 200:
            go_on.wait(120)

    api.before_answer = wait
    return go_on


def await_end(instance: dg.DagsterInstance, run_id: str) -> dg.DagsterRunStatus:
    until(lambda: look_up(instance, run_id).status in ENDED, f"the end of {run_id}", PATIENCE, pause=0.5)
    return look_up(instance, run_id).status


@pytest.mark.slow
def test_what_a_dead_host_was_to_do_another_does_and_one_that_is_configured_otherwise_does_nothing() -> None:
    if not may_make_networks():
        absent("no right to make a network namespace: run this test as root, on Linux, with iproute2 and util-linux")
    if not postgres_binaries() or not shutil.which("redis-server"):
        absent("no Postgres or no Redis on this machine: install Debian's postgresql and redis-server")
    dagster_yaml = instance_config(2, max_runtime_seconds=RUN_TIMEOUT, poll_interval_seconds=2)
    with tempfile.TemporaryDirectory(prefix="analytics_hosts_") as name, ExitStack() as stack:
        root = Path(name)
        root.chmod(0o755)
        address, hosts = stack.enter_context(network(root, "alpha", "beta"))
        api = stack.enter_context(serve_bulk(address, ROWS))
        go_on = stall(api)
        config = {"base_url": api.url, "allow_http": True, "dialect": "ninjaone", "page_size": 100}
        deployed = stack.enter_context(cluster(root, address, hosts, config, dagster_yaml))
        instance = deployed.instance

        first = launch(deployed)
        until(lambda: len(api.requests) > ROWS // 200, "a run in the middle", PATIENCE)
        dead = deployed.host_of(pid_of(instance, first))
        dead.kill()
        go_on.set()
        assert await_end(instance, first) is dg.DagsterRunStatus.FAILURE
        succeeded = dg.RunsFilter(statuses=[dg.DagsterRunStatus.SUCCESS])
        until(lambda: instance.get_runs(succeeded), "a retry that succeeds", PATIENCE, pause=0.5)
        [other] = [host for host in hosts if host is not dead]
        with closing(psycopg2.connect(deployed.warehouse)) as connection, connection.cursor() as cursor:
            cursor.execute(find_wrong(NAMES.table(SHIPPED.by_name["activities"])))
            assert cursor.fetchone() == (ROWS, ROWS, 0)
        # Celery's own directory stays empty.
        assert [path for path in (other.root / "tmp").iterdir() if not path.name.startswith("pymp-")] == []

        asked = len(api.requests)
        other.configure(deployed.config_toml.replace("page_size = 100", "page_size = 200"))
        third = launch(deployed)
        assert await_end(instance, third) is dg.DagsterRunStatus.FAILURE
        said = f"The host {other.root.name} is configured otherwise than the code location that launched this run:"
        assert f"{said} page_size is 200 here and 100 there." in deployed.messages(third)
        assert len(api.requests) == asked
