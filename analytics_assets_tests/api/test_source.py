"""The source by itself, without Dagster."""

import re
import subprocess
import sys
import time
from pathlib import Path

import duckdb
import pytest

from analytics_assets.api.listing import open_listings
from analytics_assets.api.settings_reader import read_settings
from analytics_assets.warehouse.session import open_session
from analytics_assets.warehouse.sync import begin_sync, sync
from analytics_assets_tests.servers.fake_api import PATHS, FakeApi
from analytics_assets_tests.support.checkout import CHECKOUT
from analytics_assets_tests.support.eight import BY_NAME, EIGHT, RESOURCES
from analytics_assets_tests.support.shipped import keys, loaded_keys


@pytest.fixture
def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "alone.duckdb"
    monkeypatch.setenv("DESTINATION__DUCKDB__CREDENTIALS", str(path))
    return path


def load() -> None:
    with open_session(read_settings(EIGHT)) as session, begin_sync(session, RESOURCES) as pending:
        for each in pending:
            sync(each, session)


def test_the_source_loads_all_resources_with_dlt_alone(api: FakeApi, database: Path) -> None:
    for _ in range(2):
        load()
    with duckdb.connect(str(database)) as connection:
        for resource, rows in api.rows.items():
            ids = connection.execute(f"SELECT id FROM analytics.{resource} ORDER BY id").fetchall()
            assert ids == [(row["id"],) for row in rows]


def test_a_script_hides_fields_and_leaves_resources_out_as_configured(
    api: FakeApi, database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCES__ANALYTICS__RESOURCES", "organizations, groups, locations")
    monkeypatch.setenv("SOURCES__ANALYTICS__HASHED", "organizations.name")
    monkeypatch.setenv("SOURCES__ANALYTICS__DROPPED", "groups.name")
    monkeypatch.setenv("SOURCES__ANALYTICS__HASH_KEY", "a key that nobody guesses")
    load()
    assert {path for path, asked in api.paths().items() if asked} == {
        PATHS[name] for name in ("organizations", "groups", "locations")
    }
    with duckdb.connect(str(database)) as connection:
        names = connection.execute("SELECT name FROM analytics.organizations").fetchall()
        assert {len(name) for (name,) in names} == {64}
        assert "name" not in {column for column, *_ in connection.execute("DESCRIBE analytics.groups").fetchall()}


def test_a_field_that_is_not_declared_is_loaded_with_dlt_alone_again_and_again(api: FakeApi, database: Path) -> None:
    api.rows["groups"][0]["brandNew"] = {"a": 1}
    for _ in range(2):
        load()
    with duckdb.connect(str(database)) as connection:
        assert connection.execute("SELECT brand_new FROM analytics.groups WHERE id = 1").fetchall() == [('{"a":1}',)]


def test_the_demo_needs_no_configuration(database: Path) -> None:
    load()
    with duckdb.connect(str(database)) as connection:
        assert connection.execute("SELECT count(*) > 2000 FROM analytics.activities").fetchone() == (True,)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_request_rate_is_kept(api: FakeApi, monkeypatch: pytest.MonkeyPatch, workers: int) -> None:
    monkeypatch.setenv("SOURCES__ANALYTICS__REQUESTS_PER_SECOND", f"{20 * workers}")
    monkeypatch.setenv("SOURCES__ANALYTICS__WORKERS", f"{workers}")
    started = time.monotonic()
    listings = open_listings(read_settings(EIGHT), (BY_NAME["organizations"], BY_NAME["locations"]))
    for listing in listings.values():
        listing.start({})
    assert all(listing.next_batch().is_last for listing in listings.values())
    requests = sum(listing.stats.requests for listing in listings.values())
    # A slow machine can only make it longer.
    assert time.monotonic() - started >= (requests - 1) / 20


def test_the_api_half_does_not_import_dagster() -> None:
    program = (
        "import sys, analytics_assets.api.source, analytics_assets.warehouse.sync, analytics_assets.demo.server;"
        "print([name for name in sys.modules if name.split('.')[0].startswith('dagster')])"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def code_in(document: str, word: str) -> str:
    """The one Python block of a document that has a word in it."""
    text = (CHECKOUT / document).read_text(encoding="utf-8")
    [block] = [each for each in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if word in each]
    return str(block)


def test_the_readme_syncs_without_dagster(shipped_api: FakeApi, database: Path) -> None:
    syncs = code_in("README.md", "open_session")
    subprocess.run([sys.executable, "-c", syncs], capture_output=True, check=True)
    for resource, rows in shipped_api.rows.items():
        assert loaded_keys(database, resource) == keys(resource, rows)
