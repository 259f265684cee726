"""The component: found, scaffolded and checked by `dg`, and the same definitions as `build_definitions` makes."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml

from analytics_assets import AnalyticsApiComponent
from analytics_assets.api.catalog import Column, Resource
from analytics_assets.api.connector import Connector
from analytics_assets.api.dialects.base import Dialect, Endpoint, Parent
from analytics_assets.api.mistakes import CatalogError
from analytics_assets.component import ComponentError
from analytics_assets.definitions import defs
from analytics_assets.defs.automation.crons import ScheduleConfigError
from analytics_assets.defs.reports.assets import REPORTS
from analytics_assets_tests.servers.fake_api import TOKEN, FakeApi
from analytics_assets_tests.support.checkout import CHECKOUT

KEY = "analytics_assets.AnalyticsApiComponent"
ID = Column("id", "bigint", "Identifier", nullable=False)
FAMILY = Connector(
    "family",
    (Resource("sites", "Sites", (ID,)), Resource("devices", "Devices", (ID,))),
    (
        Dialect(
            "family",
            {
                "sites": Endpoint("/sites"),
                "devices": Endpoint("/sites/{siteId}/devices", parent=Parent("sites", {"siteId": "id"})),
            },
        ),
    ),
)
EIGHT = "analytics_assets_tests.support.specification.EIGHT"


def build(**attributes: Any) -> dg.Definitions:
    definitions: dg.Definitions = AnalyticsApiComponent(**attributes).build_defs(
        dg.ComponentTree.for_test().load_context
    )
    return definitions


def outline(definitions: dg.Definitions) -> dict[str, Any]:
    """Names and texts of all that Dagster shows."""
    repository = definitions.get_repository_def()
    specs = {spec.key: spec for spec in definitions.resolve_all_asset_specs()}
    return {
        "assets": {key: (spec.group_name, spec.description, tuple(spec.owners)) for key, spec in specs.items()},
        "checks": set(repository.asset_checks_defs_by_key),
        "jobs": {job.name: job.tags for job in repository.get_all_jobs()},
        "schedules": {each.name: each.cron_schedule for each in repository.schedule_defs},
        "sensors": {each.name for each in repository.sensor_defs},
    }


def test_without_attributes_it_is_what_the_python_way_builds(project: Any) -> None:
    assert outline(build()) == outline(defs())


def test_attributes_name_choose_and_schedule(project: Any) -> None:
    definitions = build(
        name="acme",
        connector=EIGHT,
        base_url="https://api.example.com",
        dialect="ninjaone",
        resources=["groups", "activities"],
        sync_cron="*/15 * * * *",
        reconcile_cron="0 4 * * 6",
        asset_prefix=["crm", "acme"],
        group="sales",
        owner="team:sales",
        dataset="acme_raw",
        config_section="sources.crm",
        docs_url="https://docs.example.com",
        resource_key="acme_api",
        pool="duck",
    )
    shown = outline(definitions)
    specs = {spec.key.to_user_string(): spec for spec in definitions.resolve_all_asset_specs()}
    assert set(specs) == {
        "crm/acme/groups",
        "crm/acme/activities",
        "api/acme/groups",
        "api/acme/activities",
        *(f"acme_reports/{each.name}" for each in REPORTS if set(each.inputs) <= {"groups", "activities"}),
    }
    groups = specs["crm/acme/groups"]
    assert (groups.group_name, list(groups.owners)) == ("sales", ["team:sales"])
    assert groups.metadata["dagster/table_name"] == "acme_raw.groups"
    assert groups.metadata["docs"] == dg.MetadataValue.url("https://docs.example.com")
    crons = {"acme_sync": "*/15 * * * *", "acme_reconcile": "0 4 * * 6", "acme_purge": "15 4 * * *"}
    assert shown["schedules"] == crons
    [resource] = [value for key, value in (definitions.resources or {}).items() if key == "acme_api"]
    assert (resource.base_url, resource.dialect) == ("https://api.example.com", "ninjaone")


@pytest.mark.parametrize(
    ("attributes", "said"),
    [
        ({"connector": "no.such.CONNECTOR"}, "'no.such.CONNECTOR' cannot be imported: No module named 'no'"),
        ({"connector": "CONNECTOR"}, "'CONNECTOR' cannot be imported"),
        ({"connector": "json.dumps"}, "'json.dumps' is no Connector but a function"),
        (
            {"connector": EIGHT, "resources": ["grups"]},
            "analytics has no resource grups. It has activities, automation_scripts",
        ),
        (
            {"connector": f"{__name__}.FAMILY", "resources": ["devices"]},
            "resources: devices is listed for each row of sites: add 'sites' to resources.",
        ),
        ({"dialect": "nope"}, "dialect: 'nope' is unknown. analytics has analytics, ninjaone."),
        ({"base_url": "ftp://me:secret@x"}, "base_url: it is not a URL such as https://api.example.com, nor demo."),
        ({"sync_cron": "bad"}, "sync_cron = 'bad' is not a cron expression such as '0 * * * *'."),
        ({"reconcile_cron": "* * * * * *"}, "reconcile_cron = '* * * * * *' is not a cron expression"),
        ({"owner": "bob"}, "owner 'bob' is not accepted by Dagster: it has to be an email address, or a team such as"),
        ({"group": "a b"}, "group 'a b' is not accepted by Dagster: it has to be a word of letters, digits and"),
        *(
            ({key: word}, f"resource_key '{word}': functions have a parameter of this name")
            for key, word in (
                ("name", "import"),
                ("name", "context"),
                ("name", "config"),
                ("resource_key", "io_manager"),
            )
        ),
        ({"resource_key": "a-b"}, "resource_key 'a-b': functions have a parameter of this name"),
        ({"resource_key": "1a"}, "resource_key '1a': functions have a parameter of this name"),
    ],
)
def test_a_wrong_attribute_is_said(attributes: dict[str, Any], said: str) -> None:
    with pytest.raises((ComponentError, CatalogError, ScheduleConfigError)) as caught:
        build(**attributes)
    assert said in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.fixture
def host(tmp_path: Path) -> Path:
    """A project as `create-dagster` makes it."""
    package = tmp_path / "host" / "src" / "host"
    (package / "defs").mkdir(parents=True)
    for folder in (package, package / "defs"):
        (folder / "__init__.py").touch()
    (package / "definitions.py").write_text(
        "from pathlib import Path\nimport dagster as dg\n\n@dg.definitions\ndef defs():\n"
        "    return dg.load_from_defs_folder(path_within_project=Path(__file__).parent)\n"
    )
    (tmp_path / "host" / "pyproject.toml").write_text(
        '[project]\nname = "host"\nversion = "1"\n[tool.dg]\ndirectory_type = "project"\n'
        '[tool.dg.project]\nroot_module = "host"\n'
    )
    return tmp_path / "host"


def dg_cli(host: Path, *arguments: str, **environment: str) -> str:
    result = subprocess.run(
        [str(Path(sys.executable).with_name("dg")), *arguments],
        cwd=host,
        capture_output=True,
        text=True,
        check=False,
        env={
            **os.environ,
            "PYTHONPATH": f"{host / 'src'}{os.pathsep}{CHECKOUT}",
            "DG_TELEMETRY_DISABLED": "1",
            **environment,
        },
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def test_dg_finds_scaffolds_checks_and_launches_it(host: Path, api: FakeApi, tmp_path: Path) -> None:
    listed = json.loads(dg_cli(host, "list", "components", "--json"))
    assert KEY in {each["key"] for each in listed["items"]}
    dg_cli(host, "scaffold", "defs", KEY, "ingest")
    file = host / "src" / "host" / "defs" / "ingest" / "defs.yaml"
    assert yaml.safe_load(file.read_text()) == {"type": KEY, "attributes": {}}
    file.write_text(
        f"type: {KEY}\nattributes:\n  name: acme\n  connector: {EIGHT}\n  base_url: {api.url}\n  resources: [groups]\n"
    )
    dg_cli(host, "check", "yaml")
    dg_cli(host, "check", "defs")
    home = tmp_path / "home"
    home.mkdir()
    dg_cli(host, "launch", "--assets", "acme/groups", DAGSTER_HOME=str(home), SOURCES__ACME__API_KEY=TOKEN)
    assert len(api.asked("groups")) >= 1


OTHER = Connector(
    "other",
    (Resource("activities", "Another API's.", (Column("id", "bigint", "Identifier", nullable=False),)),),
    (Dialect("v1", {"activities": Endpoint("/activities")}),),
)


def test_another_api_gets_no_reports_of_this_project(project: Any) -> None:
    definitions = build(connector=f"{__name__}.OTHER")
    assert {spec.key.to_user_string() for spec in definitions.resolve_all_asset_specs()} == {
        "other/activities",
        "api/other/activities",
    }
