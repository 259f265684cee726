"""A listing that goes on for ever fails, however it is paged."""

import pytest
from dlt.extract.exceptions import ResourceExtractionError

from analytics_assets_tests.servers.fake_api import FakeApi
from analytics_assets_tests.support.reading import read_ids
from analytics_assets_tests.support.rows import organization


@pytest.mark.parametrize(("paged", "enough"), [("empty_api", "4"), ("ninjaone", "6")], ids=["offset", "id"])
def test_a_listing_over_the_page_cap_is_an_error(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, paged: str, enough: str
) -> None:
    api: FakeApi = request.getfixturevalue(paged)
    api.rows["organizations"] = [organization(n) for n in range(1, 46)]
    monkeypatch.setenv("SOURCES__ANALYTICS__MAX_PAGES", str(int(enough) - 1))
    with pytest.raises(ResourceExtractionError, match=f"the listing goes on after {int(enough) - 1} pages"):
        read_ids("organizations")
    monkeypatch.setenv("SOURCES__ANALYTICS__MAX_PAGES", enough)
    assert read_ids("organizations") == list(range(1, 46))
