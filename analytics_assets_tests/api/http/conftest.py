"""The public API, asked by a client that fetches tokens."""

import pytest

from analytics_assets_tests.servers.fake_ninjaone import CLIENT_ID, CLIENT_SECRET, FakeNinjaOne, fill_from
from analytics_assets_tests.support.rows import small_rows


@pytest.fixture
def ninjaone(ninjaone: FakeNinjaOne, monkeypatch: pytest.MonkeyPatch) -> FakeNinjaOne:
    """The public API with a few rows, to which the configuration points with a client."""
    fill_from(ninjaone, small_rows())
    monkeypatch.delenv("SOURCES__ANALYTICS__API_KEY")
    monkeypatch.setenv("SOURCES__ANALYTICS__CLIENT_ID", CLIENT_ID)
    monkeypatch.setenv("SOURCES__ANALYTICS__CLIENT_SECRET", CLIENT_SECRET)
    return ninjaone
