"""The files of `deploy/`, as the tools that read them see them. `test_deployment.py` runs them."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml
from compose_spec import PyCompose
from dagster_cloud_cli.config.models import load_dagster_cloud_yaml
from dagster_k8s.models import k8s_model_from_dict, k8s_snake_case_dict
from kubernetes import client

from analytics_assets_tests.support.checkout import CHECKOUT
from analytics_assets_tests.support.containers import DEPLOY, compose, dockerfile
from analytics_assets_tests.support.needs import absent

BIN = Path(sys.executable).parent

WEBSERVER = "analytics_assets.webserver"
"""Refuses requests of other sites' pages, which Dagster's own webserver does not."""

ACCEPTED = {
    "CL-0007": "The image of Postgres, and no other, writes outside its volume.",
    "CL-0019": "A digest cannot be known before the image is built, and that of Postgres is the operator's to choose.",
    "CL-0020": "CREDENTIALS in dlt's names of host, port, database and user.",
}
"""Findings of compose-lint that stay, and why."""

TARGETS = ("basic", "multi-user", "network-online", "shutdown", "sysinit")
"""Targets of systemd that the units name, or that it adds by itself."""


def test_hadolint_finds_nothing_in_the_dockerfile() -> None:
    found = subprocess.run([f"{BIN}/hadolint", f"{DEPLOY}/Dockerfile"], capture_output=True, text=True, check=False)
    assert (found.returncode, found.stdout) == (0, "")


def test_the_image_has_no_root_and_the_uv_of_the_makefile() -> None:
    assert dockerfile("USER") == "10001:10001"
    [version] = re.findall(r"^UV_VERSION := (.+)$", (CHECKOUT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert f"uv=={version}" in (DEPLOY / "Dockerfile").read_text(encoding="utf-8")


def test_the_compose_file_follows_the_specification() -> None:
    parsed = PyCompose.from_yaml(yaml.safe_dump(compose()))
    parsed.validate_networks()
    parsed.validate_secrets()
    parsed.validate_volumes()


def test_the_compose_file_is_safe() -> None:
    command = [f"{BIN}/compose-lint", "check", "--format", "json", f"{DEPLOY}/compose.yaml"]
    findings = json.loads(subprocess.run(command, capture_output=True, check=False).stdout)["findings"]
    assert [each for each in findings if each["rule_id"] not in ACCEPTED] == []
    assert all("__CREDENTIALS__" in each["message"] for each in findings if each["rule_id"] == "CL-0020")
    assert all(each["service"].startswith("postgres-") for each in findings if each["rule_id"] == "CL-0007")
    for service in compose()["services"].values():
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ()))
    assert WEBSERVER in compose()["services"]["webserver"]["command"]


def test_systemd_accepts_the_units(tmp_path: Path) -> None:
    if not shutil.which("systemd-analyze"):
        absent("no systemd-analyze on this machine: install Debian's systemd")
    units = tmp_path / "etc/systemd/system"
    shutil.copytree(DEPLOY / "systemd", units)
    shutil.copy(DEPLOY / "distributed/analytics-worker.service", units)
    for target in TARGETS:
        (units / f"{target}.target").write_text("[Unit]\nDescription=empty\n", encoding="utf-8")
    names = sorted(path.name for path in units.glob("*.service"))
    for name in names:
        [program] = re.findall(r"^ExecStart=(\S+)", (units / name).read_text(encoding="utf-8"), re.MULTILINE)
        assert (BIN / Path(program).name).exists()
        installed = tmp_path / program.lstrip("/")
        installed.parent.mkdir(parents=True, exist_ok=True)
        installed.touch(mode=0o755)
    command = ["systemd-analyze", "verify", f"--root={tmp_path}", *names]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (found.returncode, found.stderr) == (0, "")


def test_no_unit_sets_what_is_set_for_all() -> None:
    # systemd reads a drop-in after the unit, so that the unit's own value would not count.
    def keys(path: Path) -> set[str]:
        return set(re.findall(r"^(\w+)=", path.read_text(encoding="utf-8"), re.MULTILINE))

    for_all = keys(DEPLOY / "systemd/analytics-.service.d/common.conf")
    units = [*DEPLOY.glob("systemd/*.service"), DEPLOY / "distributed/analytics-worker.service"]
    assert {unit.name: keys(unit) & for_all for unit in units} == {unit.name: set() for unit in units}


def test_systemd_runs_what_compose_runs() -> None:
    """The same commands, but for their directories and the address that they listen on."""
    services = {"code": json.loads(dockerfile("CMD"))} | {
        name: service["command"] for name, service in compose()["services"].items() if "command" in service
    }
    for name, command in services.items():
        unit = (DEPLOY / f"systemd/analytics-{name}.service").read_text(encoding="utf-8")
        [started] = re.findall(r"^ExecStart=(.+)$", unit, re.MULTILINE)
        words = [word.rpartition("/")[2] for word in started.split()]
        assert words == [word.replace("0.0.0.0", "127.0.0.1").rpartition("/")[2] for word in command]


def test_dagster_plus_accepts_its_file() -> None:
    [location] = load_dagster_cloud_yaml((DEPLOY / "dagster_cloud.yaml").read_text(encoding="utf-8")).locations
    assert location.code_source is not None
    assert location.code_source.module_name == "analytics_assets.definitions"


def test_the_helm_values_are_those_of_dagster_yaml() -> None:
    values, shipped = _yaml(DEPLOY / "helm-values.yaml"), _yaml(CHECKOUT / "dagster.yaml")
    pools, retries = values["concurrency"]["pools"], values["dagsterDaemon"]["runRetries"]
    added = values["additionalInstanceConfig"]
    assert {"granularity": pools["granularity"], "default_limit": pools["defaultLimit"]} == shipped["concurrency"][
        "pools"
    ]
    assert {"enabled": retries["enabled"], "max_retries": retries["maxRetries"]} == shipped["run_retries"]
    # The chart has Postgres, so the class of the instance would change nothing. A pod starts so slowly that the time in
    # the queue does not matter.
    elsewhere = {"concurrency", "run_coordinator", "run_retries", "instance_class", "telemetry", "nux"}
    assert {name: block for name, block in added.items() if name in shipped} == {
        name: block for name, block in shipped.items() if name not in elsewhere
    }


@pytest.mark.parametrize(("launcher", "kind"), [("celery", "CeleryRunLauncher"), ("docker", "DockerRunLauncher")])
def test_dagster_accepts_the_launchers(
    launcher: str, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [CHECKOUT / "dagster.yaml", DEPLOY / f"distributed/{launcher}.yaml"]
    text = "".join(path.read_text(encoding="utf-8") for path in files)
    for variable in re.findall(r"{env: (\w+)}", text):
        monkeypatch.setenv(variable, "redis://localhost" if launcher == "celery" else "given")
    (tmp_path / "dagster.yaml").write_text(text, encoding="utf-8")
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        assert type(instance.run_launcher).__name__ == kind


def test_kubernetes_accepts_what_a_run_has() -> None:
    """As `dagster-k8s` makes the models of Kubernetes of it."""
    values = _yaml(DEPLOY / "distributed/helm-values.yaml")
    config = values["runLauncher"]["config"]["k8sRunLauncher"]["runK8sConfig"]
    for given, kind in (
        (config["containerConfig"] | {"name": "run"}, client.V1Container),
        (config["podSpecConfig"] | {"containers": []}, client.V1PodSpec),
    ):
        assert k8s_model_from_dict(kind, k8s_snake_case_dict(kind, given))


@pytest.mark.parametrize("variable", ["DAGSTER_POSTGRES_PASSWORD_FILE", ""])
def test_secrets_of_files_reach_a_command(tmp_path: Path, variable: str) -> None:
    (tmp_path / "password").write_text("of the file\n", encoding="utf-8")
    environment = {variable: str(tmp_path / "password")} if variable else {"DAGSTER_POSTGRES_PASSWORD": "given"}
    command = [f"{DEPLOY}/with-secrets", "sh", "-c", 'printf %s "$DAGSTER_POSTGRES_PASSWORD"']
    found = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert found.stdout == ("of the file" if variable else "given")


def _yaml(path: Path) -> dict[str, Any]:
    parsed: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return parsed
