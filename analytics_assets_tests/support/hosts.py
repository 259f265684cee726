"""Hosts: network namespaces on this machine, each with a network card, processes, a home and a checkout of its own."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from analytics_assets_tests.support.checkout import CHECKOUT
from analytics_assets_tests.support.environment import CONFIGURED_BY


@dataclass
class Host:
    """A host, reached by its network namespace.

    Args:
        root: Directory of everything that it has: `home`, `tmp`, `dagster` (its DAGSTER_HOME) and `checkout`.
        namespace: Name of its network namespace; `None` for this machine's own network.
        environment: Variables of its processes.
    """

    root: Path
    namespace: str | None
    environment: Mapping[str, str] = field(default_factory=dict)

    def set_up(self, dagster_yaml: str, config_toml: str) -> None:
        """Gives it its directories, and a copy of the project that is configured by files."""
        for name in ("home", "tmp", "dagster", "data"):
            (self.root / name).mkdir(parents=True)
        for name in ("analytics_assets", ".dlt"):
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(CHECKOUT / name, self.root / "checkout" / name, ignore=ignored)
        for name in ("dagster.yaml", "workspace.yaml"):
            shutil.copy(CHECKOUT / name, self.root / "checkout")
        (self.root / "dagster/dagster.yaml").write_text(dagster_yaml, encoding="utf-8")
        self.configure(config_toml)

    def configure(self, config_toml: str) -> None:
        """Writes its `.dlt/config.toml`."""
        (self.root / "checkout/.dlt/config.toml").write_text(config_toml, encoding="utf-8")

    @contextmanager
    def running(self, name: str, *command: str) -> Iterator["subprocess.Popen[bytes]"]:
        """Runs a program of the virtual environment there; at the end it is killed with all that it has started."""
        program = [str(Path(sys.executable).parent / command[0]), *command[1:]]
        if self.namespace:
            as_host = ["unshare", "--uts", "sh", "-c", 'hostname "$0" && exec "$@"', self.root.name]
            program = ["nsenter", f"--net=/run/netns/{self.namespace}", *as_host, *program]
        with (
            self.log(name).open("wb") as output,
            subprocess.Popen(
                program,
                cwd=self.root / "home",
                env=self._variables(),
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            ) as process,
        ):
            try:
                yield process
            except BaseException:
                print(f"--- {name}:\n{self.log(name).read_text(encoding='utf-8')[-3_000:]}")  # noqa: T201 - for pytest
                raise
            finally:
                _kill_group(process.pid)

    def log(self, name: str) -> Path:
        """What a program has printed."""
        return self.root / f"{name}.log"

    def pids(self) -> list[int]:
        """All processes in its namespace."""
        assert self.namespace
        return [int(pid) for pid in _ip("netns", "pids", self.namespace).split()]

    def kill(self) -> None:
        """Ends all its processes at once, as a power cut does."""
        while pids := self.pids():
            for pid in pids:
                _kill(pid)

    def _variables(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(CONFIGURED_BY)}
        return {
            **kept,
            "HOME": f"{self.root}/home",
            "TMPDIR": f"{self.root}/tmp",
            "DAGSTER_HOME": f"{self.root}/dagster",
            "DAGSTER_DATA": f"{self.root}/data",
            "PYTHONPATH": f"{self.root}/checkout",
            "RUNTIME__DLTHUB_TELEMETRY": "false",
            **self.environment,
        }


@contextmanager
def network(root: Path, *names: str) -> Iterator[tuple[str, list[Host]]]:
    """Hosts in namespaces of their own, and the address at which they reach this machine.

    Needs root. The address is on a bridge that only they are connected to.
    """
    # Two test runs on one machine have networks of their own.
    number = os.getpid() % 60_000
    bridge, subnet = f"ab{number}", f"10.{64 + number // 250 % 128}.{number % 250}"
    with ExitStack() as stack:
        _ip("link", "add", bridge, "type", "bridge")
        stack.callback(_ip, "link", "del", bridge)
        _ip("address", "add", f"{subnet}.1/24", "dev", bridge)
        _ip("link", "set", bridge, "up")
        hosts = []
        for index, name in enumerate(names):
            namespace, card = f"{name}-{number}", f"av{number}-{index}"
            _ip("netns", "add", namespace)
            host = Host(root / name, namespace)
            stack.callback(_ip, "netns", "del", namespace)
            stack.callback(host.kill)
            _ip("link", "add", card, "type", "veth", "peer", "name", "eth0", "netns", namespace)
            _ip("link", "set", card, "master", bridge, "up")
            _ip("-n", namespace, "address", "add", f"{subnet}.{index + 2}/24", "dev", "eth0")
            _ip("-n", namespace, "link", "set", "eth0", "up")
            _ip("-n", namespace, "link", "set", "lo", "up")
            hosts.append(host)
        yield f"{subnet}.1", hosts


def may_make_networks() -> bool:
    """Whether this process may make a network namespace and a bridge."""
    if not shutil.which("ip") or not shutil.which("nsenter"):
        return False
    probe = f"ap{os.getpid() % 60_000}"
    made = [["netns", "add", probe], ["link", "add", probe, "type", "bridge"]]
    undone = [["netns", "del", probe], ["link", "del", probe]]
    codes = [subprocess.run(["ip", *each], capture_output=True, check=False).returncode for each in (*made, *undone)]
    return not any(codes[: len(made)])


def _ip(*arguments: str) -> str:
    return subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True).stdout


def _kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def _kill_group(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
