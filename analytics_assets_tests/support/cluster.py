"""The deployment of `deploy/distributed/` with Celery: a host for Dagster, and hosts that do its runs."""

import json
import re
import shlex
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import dagster as dg
import pytest

from analytics_assets_tests.servers.fake_api import TOKEN
from analytics_assets_tests.support.checkout import CHECKOUT
from analytics_assets_tests.support.hosts import Host
from analytics_assets_tests.support.postgres import create_database, postgres_binaries, serve_postgres
from analytics_assets_tests.support.redis_server import serve_redis
from analytics_assets_tests.support.waiting import until

DISTRIBUTED = CHECKOUT / "deploy/distributed"

PATIENCE = 300
"""Seconds that a service or a run may take. Only a failure ever takes them."""


@dataclass
class Cluster:
    """A running deployment.

    Args:
        control: The host of code server and daemon: this machine.
        hosts: The hosts that do the runs.
        warehouse: URL of the warehouse.
        instance: Dagster's instance, as the control host has it.
        config_toml: What `.dlt/config.toml` says on all hosts.
    """

    control: Host
    hosts: list[Host]
    warehouse: str
    instance: dg.DagsterInstance
    config_toml: str

    def call(self, *command: str) -> None:
        """Calls a command of Dagster on the control host, with its workspace."""
        with self.control.running("command", *command, "--workspace", f"{self.control.root}/workspace.yaml") as process:
            assert process.wait(PATIENCE) == 0, self.control.log("command").read_text(encoding="utf-8")

    def host_of(self, pid: int) -> Host:
        """The host that a process is on."""
        return next(host for host in self.hosts if pid in host.pids())

    def messages(self, run_id: str) -> str:
        """All that a run has logged."""
        return "\n".join(f"{event.message} {_details(event)}" for event in self.instance.all_logs(run_id))


def instance_config(limit: int, **run_monitoring: int) -> str:
    """The `dagster.yaml` of all hosts, made as the document says, with other times of `run_monitoring`."""
    parts = [CHECKOUT / "dagster.yaml", CHECKOUT / "deploy/postgres.yaml", DISTRIBUTED / "celery.yaml"]
    text = "".join(part.read_text(encoding="utf-8") for part in parts)
    for name, value in {"default_limit": limit, "max_concurrent_runs": limit, **run_monitoring}.items():
        text, times = re.subn(rf"{name}: \d+", f"{name}: {value}", text)
        assert times == 1, name
    return text


def worker_command(concurrency: int) -> list[str]:
    """How the unit starts a worker."""
    unit = (DISTRIBUTED / "analytics-worker.service").read_text(encoding="utf-8")
    [started] = re.findall(r"^ExecStart=(.+)$", unit, re.MULTILINE)
    program, *words = shlex.split(re.sub(r"--concurrency \d+", f"--concurrency {concurrency}", started))
    return [program.rpartition("/")[2], *words]


@contextmanager
def cluster(
    root: Path,
    address: str,
    hosts: list[Host],
    config: Mapping[str, object],
    dagster_yaml: str,
    concurrency: int = 1,
    **postgres: str,
) -> Iterator[Cluster]:
    """Runs the deployment until the end of the block. Needs Postgres and Redis.

    Args:
        root: A directory that every user may enter.
        address: Address of this machine, at which the hosts reach it.
        hosts: The hosts that do runs.
        config: Keys of `[sources.analytics]` on all hosts.
        dagster_yaml: The instance.
        concurrency: Runs at once on each of the hosts.
        postgres: Settings of the Postgres server.
    """
    binaries = postgres_binaries()
    assert binaries
    (root / "postgres").mkdir()
    with ExitStack() as stack:
        server = stack.enter_context(contextmanager(serve_postgres)(binaries, root / "postgres", address, **postgres))
        history, warehouse = create_database(server), create_database(server)
        redis, code = stack.enter_context(serve_redis(address=address)), free_port(address)
        assert redis
        environment = {
            "CELERY_BROKER_URL": redis,
            "CELERY_RESULT_BACKEND": redis,
            "CODE_SERVER_HOST": address,
            "DAGSTER_POSTGRES_HOST": address,
            "DAGSTER_POSTGRES_PORT": str(urlsplit(server).port),
            "DAGSTER_POSTGRES_DB": history.rpartition("/")[2],
            "DAGSTER_POSTGRES_USER": "loader",
            "DAGSTER_POSTGRES_PASSWORD": "pw-canary",
            "DESTINATION__POSTGRES__CREDENTIALS": warehouse,
            "SOURCES__ANALYTICS__API_KEY": TOKEN,
        }
        control = Host(root / "control", None)
        keys = "".join(f"{key} = {json.dumps(value)}\n" for key, value in config.items())
        config_toml = f'destination_type = "postgres"\n\n[sources.analytics]\n{keys}'
        for host in (control, *hosts):
            host.environment = environment
            host.set_up(dagster_yaml, config_toml)
        workspace = (CHECKOUT / "deploy/workspace.yaml").read_text(encoding="utf-8").replace("4000", str(code))
        (control.root / "workspace.yaml").write_text(workspace, encoding="utf-8")
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        for name, value in (environment | {"DAGSTER_DATA": f"{control.root}/data"}).items():
            if name.startswith(("CELERY_", "DAGSTER_")):
                patch.setenv(name, value)

        def run(host: Host, name: str, *command: str) -> "subprocess.Popen[bytes]":
            return stack.enter_context(host.running(name, *command))

        served = ("--module-name", "analytics_assets.definitions")
        run(control, "code", "dagster", "code-server", "start", "--host", address, "--port", str(code), *served)
        workers = [(host, run(host, "worker", *worker_command(concurrency))) for host in hosts]
        # It makes the tables of the history, before anything else looks for them.
        instance = stack.enter_context(dg.DagsterInstance.from_config(f"{control.root}/dagster"))
        until(lambda: answers(address, code), "the code server listens", PATIENCE, pause=0.2)
        run(control, "daemon", "dagster-daemon", "run", "--workspace", f"{control.root}/workspace.yaml")
        for host, process in workers:
            while " ready." not in host.log("worker").read_text(encoding="utf-8"):
                assert process.poll() is None, "a worker has ended"
                time.sleep(0.2)
        deployed = Cluster(control, hosts, warehouse, instance, config_toml)
        try:
            yield deployed
        except BaseException:
            for each in instance.get_runs():
                print(f"--- {each.run_id} {each.status.value}:\n{deployed.messages(each.run_id)[-3_000:]}")  # noqa: T201 - for pytest
            raise


def free_port(address: str) -> int:
    with socket.socket() as probe:
        probe.bind((address, 0))
        port: int = probe.getsockname()[1]
        return port


def answers(address: str, port: int) -> bool:
    """Whether somebody listens there."""
    with socket.socket() as probe:
        return probe.connect_ex((address, port)) == 0


def _details(event: dg.EventLogEntry) -> str:
    return str(event.get_dagster_event().event_specific_data) if event.is_dagster_event else ""
