"""docs/your-api.md is true: its files are written, its commands are run, and what they print is compared."""

import json
import os
import re
import shlex
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dlt.sources.helpers.rest_client.auth as dlt_auth
import dlt.sources.helpers.rest_client.paginators as dlt_paginators
import duckdb
import pytest

from analytics_assets.api.dialects.base import ById, ByOffset, Dialect, Endpoint
from analytics_assets.api.settings import SettingsError
from analytics_assets.defs.assets.resource import AnalyticsResource
from analytics_assets.defs.names import name_all
from analytics_assets.defs.quality.connection_check import check_connection
from analytics_assets_tests.servers.crm import KEY, Crm, account, serve_crm
from analytics_assets_tests.servers.vendor import Vendor
from analytics_assets_tests.support.checkout import CHECKOUT

DOCUMENT = (CHECKOUT / "docs" / "your-api.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", DOCUMENT, re.MULTILINE | re.DOTALL)
FILES = {
    name: text
    for kind, text in BLOCKS
    if kind in {"python", "toml", "yaml"} and (name := text.partition("\n")[0].removeprefix("# "))
}
"""Contents by the name in their first line."""
URL = "https://api.crm.example"
BASES = ("BasePaginator", "RangePaginator", "BaseReferencePaginator", "BaseNextUrlPaginator", "JSONResponsePaginator")
"""Classes of dlt from which paginators derive, and one that is deprecated."""


def commands(*names: str) -> list[tuple[str, str]]:
    """The commands of all consoles, in their order, and what each prints."""
    consoles = [text for kind, text in BLOCKS if kind == "console"]
    found = [each for text in consoles for each in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]]
    pairs = [(command, said) for command, _, said in (each.partition("\n") for each in found)]
    return [pair for pair in pairs if pair[0].startswith(names)]


class Folder:
    """A project of its own, with files of the document, in which its commands are run."""

    def __init__(self, path: Path, url: str) -> None:
        self.path = path
        self.url = url

    def write(self, *names: str, below: str = ".") -> None:
        for name in names:
            file = self.path / below / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(FILES[name].replace(URL, self.url).replace('"..."', f'"{KEY}"'), encoding="utf-8")

    def declare(self, file: Path) -> None:
        """Pastes the lines that the document adds to the columns of each resource."""
        text = file.read_text(encoding="utf-8")
        for resource in ("ACCOUNTS", "CONTACTS"):
            lines = FILES[f"crm.py, into the columns of {resource}"].partition("\n")[2]
            before, entry, after = text.partition(f"{resource} = Resource(")
            text = before + entry + after.replace("    ),\n)", f"{lines}    ),\n)", 1)
        file.write_text(text, encoding="utf-8")

    def run(self, command: str, *, fails: bool = False, **environment: str) -> str:
        """What a command prints, both ways."""
        program, *arguments = shlex.split(command)
        result = subprocess.run(
            [str(Path(sys.executable).with_name(program)), *arguments],
            cwd=self.path,
            env={
                **{name: value for name, value in os.environ.items() if name != "DLT_PROJECT_DIR"},
                "PYTHONPATH": f"{self.path / 'src'}{os.pathsep}{CHECKOUT}",
                "DG_TELEMETRY_DISABLED": "1",
                "PYTHONIOENCODING": "utf-8",
                "TZ": "UTC",
                **environment,
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            check=False,
        )
        assert bool(result.returncode) == fails, result.stdout
        return result.stdout

    def says(self, command: str) -> str:
        """What a command of the document prints, without what the document says that it leaves out."""
        lines = [
            re.sub(r"^\S+ \S+ \S+ - dagster - INFO - .* - crm_(connection|api) - ", "", line)
            for line in self.run(command).splitlines()
            if " - dagster - DEBUG - " not in line and not line.startswith("|")
        ]
        text = "\n".join(line for line in lines if line not in {"The settings of this run:", "What this run did:"})
        text = re.sub(r"http://127\.0\.0\.1:\d+", URL, text)
        return text.replace(str(self.path), "/home/you/crm").strip()

    def rows(self, query: str) -> list[Any]:
        with duckdb.connect(str(self.path / "data" / "warehouse.duckdb"), read_only=True) as connection:
            connection.execute("SET TimeZone = 'UTC'")
            return connection.execute(query).fetchall()


def alike(text: str) -> str:
    """A text without what differs from run to run: how many listings of contacts were ahead of the probe's end."""
    return re.sub(r"(contacts: .*) on \d+ pages", r"\1 on some pages", text.strip())


@pytest.fixture
def served() -> Iterator[tuple[Crm, Vendor]]:
    with serve_crm() as both:
        yield both


@pytest.fixture
def folder(served: tuple[Crm, Vendor], tmp_path: Path) -> Folder:
    path = tmp_path / "crm"
    path.mkdir()
    made = Folder(path, served[1].url)
    made.write(".dlt/config.toml", ".dlt/secrets.toml")
    return made


def test_the_api_answers_as_the_document_shows(served: tuple[Crm, Vendor]) -> None:
    for command, said in commands("curl"):
        header, url = shlex.split(command.replace("$KEY", KEY).replace(URL, served[1].url))[2:]
        request = urllib.request.Request(url, headers=dict([header.split(": ")]))
        with urllib.request.urlopen(request) as response:
            assert json.load(response) == json.loads(said)


def test_from_the_description_to_rows_and_to_what_is_new(served: tuple[Crm, Vendor], folder: Folder) -> None:
    crm, vendor = served
    folder.write("crm.py", "definitions.py", "look.py", "load.py")
    [check, first, look, second, look_again] = commands("dg launch -f", "python look")
    assert alike(folder.says(check[0])) == alike(check[1])
    folder.declare(folder.path / "crm.py")
    assert "not in the catalog: meta (column meta)\n" in folder.says(check[0])

    for command, said in (first, look):
        assert folder.says(command) == said.strip()
    crm.update(7, datetime(2025, 7, 2, tzinfo=UTC), name="Account 7, renamed")
    crm.accounts[121] = account(121)
    vendor.requests.clear()
    for command, said in (second, look_again):
        assert folder.says(command) == said.strip()

    # The newest account was edited on June 28 at 17:00, and the lag is a minute. The contacts need all accounts.
    since = {asked.query.get("updated_since") for asked in vendor.asked("/v1/accounts")}
    assert since == {"2025-06-28T16:59:00Z", None}
    assert folder.rows("SELECT count(*), count(DISTINCT _dlt_load_id) FROM crm.accounts") == [(121, 2)]
    loaded_last = "(SELECT max(_dlt_load_id) FROM crm.accounts)"
    assert folder.rows(f"SELECT id, name FROM crm.accounts WHERE _dlt_load_id = {loaded_last} ORDER BY id") == [
        (7, "Account 7, renamed"),
        (121, "Account 121"),
    ]
    assert folder.rows("SELECT account_id, number FROM crm.contacts ORDER BY ALL LIMIT 3") == [(1, 1), (1, 2), (2, 1)]
    [script] = commands("python load")
    assert folder.says(script[0]) == script[1].strip()

    file = folder.path / "crm.py"
    text = file.read_text(encoding="utf-8").replace("(ACCOUNTS, CONTACTS)", "(ACCOUNTS,)")
    file.write_text(re.sub(r' {8}"contacts": Endpoint\(.*?\n {8}\),\n', "", text, flags=re.DOTALL), encoding="utf-8")
    folder.write("drop.py")
    assert folder.run("python drop.py") == "Left: contacts\n"
    assert folder.run("python drop.py") == "Left:\n"
    assert folder.rows("SELECT table_name FROM duckdb_tables() WHERE table_name = 'contacts'") == []


def test_mistakes_are_said_as_the_document_shows(folder: Folder) -> None:
    folder.write("crm.py", "definitions.py")
    file = folder.path / "crm.py"
    folder.declare(file)
    text = file.read_text()
    for right, wrong in (
        ('cursor="meta.updated_at"', 'cursor="updated_at"'),
        ('Parent("accounts"', 'Parent("account"'),
        ('"text", "Company', '"string", "Company'),
    ):
        assert right in text
        text = text.replace(right, wrong)
    file.write_text(text)
    [shown] = [text for kind, text in BLOCKS if not kind and text.startswith("The catalog has")]
    said = folder.run("python -c 'import definitions'", fails=True, PYTHONPATH=f"{CHECKOUT}")
    assert said.partition("CatalogError: ")[2] == shown


def said_by_check(text: str) -> str:
    namespace: dict[str, Any] = {}
    exec(text, namespace)
    try:
        verdicts = list(check_connection(name_all(namespace["CRM"]), AnalyticsResource(), pytest.fail))
    except SettingsError as error:
        return str(error)
    return "\n".join(verdict.says for verdict in verdicts if not verdict.passed)


@pytest.mark.parametrize(
    ("number", "right", "wrong"),
    [
        (0, KEY, "wrong"),
        (1, '"data.items"', '"data.rows"'),
        (2, "paging.next_cursor", "paging.next"),
        (3, 'cursor_param="cursor"', 'cursor_param="page"'),
        (4, '{"account_id": "id"}', '{"account_id": "uid"}'),
        (5, "base_url", ""),
    ],
)
def test_what_is_wrong_the_check_says_as_the_document_shows(
    served: tuple[Crm, Vendor], monkeypatch: pytest.MonkeyPatch, project: object, number: int, right: str, wrong: str
) -> None:
    monkeypatch.setenv("SOURCES__CRM__API_KEY", KEY.replace(right, wrong))
    if right != "base_url":
        monkeypatch.setenv("SOURCES__CRM__BASE_URL", served[1].url)
    table = DOCUMENT.partition("| what is wrong |")[2].partition("\n\n")[0].splitlines()[2:]
    assert len(table) == 6
    assert table[number].split("`")[-2] in said_by_check(FILES["crm.py"].replace(right, wrong))


def test_two_tenants_stand_beside_an_asset_of_the_host(folder: Folder) -> None:
    folder.write("crm.py", "tenants.py")
    code = "import tenants; print(*sorted(key.to_user_string() for key in tenants.defs.resolve_all_asset_keys()))"
    said = folder.run(f"python -c '{code}'", PYTHONPATH=f"{CHECKOUT}").split()
    tenants = [f"crm/{tenant}/{name}" for tenant in ("acme", "umbrella") for name in ("accounts", "contacts")]
    assert [key for key in said if not key.startswith("api/")] == [*tenants, "own"]


def test_the_component_is_checked_and_launched_by_dg(served: tuple[Crm, Vendor], folder: Folder) -> None:
    served[0].accounts[121] = account(121)
    package = Path("src", "my_project")
    folder.write("src/my_project/defs/crm/defs.yaml")
    folder.write("crm.py", below=str(package))
    folder.declare(folder.path / package / "crm.py")
    for module in (package, package / "defs"):
        (folder.path / module / "__init__.py").touch()
    # As `create-dagster` makes them.
    (folder.path / package / "definitions.py").write_text(
        "from pathlib import Path\nimport dagster as dg\n\n@dg.definitions\ndef defs():\n"
        "    return dg.load_from_defs_folder(path_within_project=Path(__file__).parent)\n"
    )
    (folder.path / "pyproject.toml").write_text(
        '[project]\nname = "my_project"\nversion = "1"\n[tool.dg]\ndirectory_type = "project"\n'
        '[tool.dg.project]\nroot_module = "my_project"\n'
    )
    for command, said in commands("dg check", "dg launch --job"):
        assert folder.says(command) == said.strip()
    assert folder.rows("SELECT count(*) FROM crm.accounts") == [(121,)]


def classes_in(heading: str) -> dict[str, Any]:
    """What the code in the column under a heading makes, by the name of its class."""
    rows = DOCUMENT.partition(heading)[2].partition("\n\n")[0].splitlines()[1:]
    names: dict[str, Any] = {**vars(dlt_paginators), **vars(dlt_auth), "ByOffset": ByOffset, "ById": ById}
    codes = [code for row in rows for code in re.findall(r"`(\w+\(.*?\))`", row.split("|")[2])]
    return {code.partition("(")[0]: eval(code, names) for code in codes}


def test_all_of_dlts_paginators_and_auth_classes_are_shown_with_code_that_works() -> None:
    paginators = classes_in("| the API sends or wants | pagination |\n")
    auths = classes_in("| the API wants | auth | settings |\n")
    for module, base, found, others in (
        (dlt_paginators, dlt_paginators.BasePaginator, paginators, BASES),
        (dlt_auth, dlt_auth.AuthConfigBase, auths, ("AuthConfigBase", "OAuth2AuthBase")),
    ):
        kinds = {name for name, kind in vars(module).items() if isinstance(kind, type) and issubclass(kind, base)}
        assert kinds - set(others) == set(found) - {"ByOffset", "ById"}
    for paginator in paginators.values():
        assert Endpoint("/accounts", pagination=paginator).mistakes() == []
    for auth in auths.values():
        assert Dialect("v1", {}, auth=auth).mistakes() == []
