"""The containers of `deploy/`, as plain processes with the commands, variables, secrets and mounts of its files."""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from analytics_assets_tests.support.checkout import CHECKOUT
from analytics_assets_tests.support.waiting import until

DEPLOY = CHECKOUT / "deploy"

GRACE = 20
"""Seconds for a service to end after SIGTERM. Shorter than in the file, where a run may be at work."""

START_TIMEOUT = 120
"""Seconds until a container is healthy. Only a failure ever takes them."""

FILE_SYSTEM = """
set -eu
mount -t tmpfs tmpfs /run
cp -R secrets /run/secrets
mount -t tmpfs tmpfs /opt
mkdir /opt/venv
mount --bind "$VENV" /opt/venv
cp -R image/. /opt
mount -t tmpfs tmpfs /var/lib
mkdir /var/lib/dagster
mount --bind data /var/lib/dagster
mount --bind hosts /etc/hosts
mount --bind tmp /tmp
mount -o remount,ro /opt
mount -o remount,bind,ro /
cd "$WORKDIR"
exec setpriv --no-new-privs --bounding-set=-all --inh-caps=-all "$@"
"""
"""Lays out what the image and the mounts of a service make, in a mount namespace: everything but /tmp, the volume and
other mounts of this machine is read-only. Root without capabilities stands for the user of the image, who may not be
able to read this checkout."""


def compose() -> dict[str, Any]:
    """The Compose file, with its anchors resolved."""
    parsed: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
    return parsed


def dockerfile(instruction: str) -> str:
    """The last instruction of its kind in the Dockerfile, which is that of the image."""
    text = re.sub(r"\\\n\s*", " ", (DEPLOY / "Dockerfile").read_text(encoding="utf-8"))
    return re.findall(rf"^{instruction} (.*)$", text, re.MULTILINE)[-1]  # type: ignore[no-any-return]


def may_mount() -> bool:
    """Whether this process may give another one a file system of its own."""
    command = ["unshare", "--mount", "setpriv", "--no-new-privs", "true"]
    return bool(shutil.which("unshare")) and subprocess.run(command, capture_output=True, check=False).returncode == 0


@dataclass
class Containers:
    """Services of the Compose file that run on this machine.

    Args:
        root: A directory for their files.
        ports: The free port in place of each that the files name.
        variables: Values in place of those that the files give to variables.
        secrets: Texts of the files with secrets, by the source that the Compose file names.
    """

    root: Path
    ports: Mapping[str, str]
    variables: Mapping[str, str]
    secrets: Mapping[str, str]

    def prepare(self, name: str) -> Path:
        """Lays out the files of a service."""
        service, here = compose()["services"][name], self.root / name
        for directory in ("secrets", "tmp", "image/dagster", "image/analytics/.dlt", "image/bin"):
            (here / directory).mkdir(parents=True)
        (self.root / "data").mkdir(exist_ok=True)
        (here / "data").symlink_to(self.root / "data")
        (here / "hosts").write_text(f"127.0.0.1 localhost {' '.join(compose()['services'])}\n", encoding="utf-8")
        for given in service["secrets"]:
            source, target = (given, given) if isinstance(given, str) else (given["source"], given["target"])
            (here / "secrets" / target).write_text(self.secrets[source] + "\n", encoding="utf-8")
        parts = [(path).read_text(encoding="utf-8") for path in (CHECKOUT / "dagster.yaml", DEPLOY / "postgres.yaml")]
        (here / "image/dagster/dagster.yaml").write_text("".join(parts), encoding="utf-8")
        workspace = self._here((DEPLOY / "workspace.yaml").read_text(encoding="utf-8"))
        (here / "image/dagster/workspace.yaml").write_text(workspace, encoding="utf-8")
        shutil.copy(CHECKOUT / ".dlt/config.toml", here / "image/analytics/.dlt")
        shutil.copy(DEPLOY / "with-secrets", here / "image/bin")
        return here

    @contextmanager
    def running(self, name: str) -> Iterator["subprocess.Popen[bytes]"]:
        """Runs a service until it is healthy, and ends it as `docker stop` does."""
        here = self.prepare(name)
        service = compose()["services"][name]
        command = service.get("command") or json.loads(dockerfile("CMD"))
        check = service.get("healthcheck", {}).get("test") or json.loads(
            dockerfile("HEALTHCHECK").partition(" CMD ")[2]
        )
        log = here / "log"
        with (
            log.open("wb") as output,
            self._start(name, [*json.loads(dockerfile("ENTRYPOINT")), *command], output) as process,
        ):
            try:
                until(lambda: self._is_healthy(name, process, check), f"{name} is healthy", START_TIMEOUT, pause=1.5)
                yield process
                process.send_signal(signal.SIGTERM)
                with suppress(subprocess.TimeoutExpired):
                    # Dagster's code server may wait for calls of a daemon that is gone. Docker kills it, too.
                    process.wait(GRACE)
            except BaseException:
                print(log.read_text(encoding="utf-8")[-5_000:])  # noqa: T201 - pytest shows it if the test fails
                raise
            finally:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)

    def output(self, name: str, *command: str) -> str:
        """What a command prints in a container of a service, as with `docker compose run`."""
        if not (self.root / name).exists():
            self.prepare(name)
        with self._start(name, list(command), subprocess.PIPE) as process:
            return process.communicate()[0].decode()

    def _is_healthy(self, name: str, process: "subprocess.Popen[bytes]", check: list[str]) -> bool:
        assert process.poll() is None, f"{name} has ended"
        with self._start(name, check[check[0] == "CMD" :], subprocess.DEVNULL) as health:
            return health.wait(START_TIMEOUT) == 0

    def _start(self, name: str, command: list[str], output: Any) -> "subprocess.Popen[bytes]":
        service = compose()["services"][name]
        image = dict(pair.split("=", 1) for pair in shlex.split(dockerfile("ENV")))
        given = {key: self._here(value) for key, value in service["environment"].items()}
        known = {key: value for key, value in self.variables.items() if key in given}
        path = image["PATH"].replace("$PATH", f"/opt/bin:{os.environ['PATH']}")
        environment = {**image, **given, **known, "PATH": path, "VENV": sys.prefix, "WORKDIR": dockerfile("WORKDIR")}
        return subprocess.Popen(
            ["unshare", "--mount", "sh", "-c", FILE_SYSTEM, "sh", *map(self._here, command)],
            cwd=self.root / name,
            env={**environment, "PYTHONPATH": str(CHECKOUT)},
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def _here(self, text: str) -> str:
        """A text of the files, with the ports of this machine."""
        return re.sub(r"\b\d{4}\b", lambda port: self.ports.get(port[0], port[0]), text)
