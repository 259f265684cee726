"""A resource and a dialect of a test's own, read as those of the catalog are."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest
from dlt.extract.exceptions import ResourceExtractionError

from analytics_assets.api.catalog import Column, Resource
from analytics_assets.api.connector import Connector
from analytics_assets.api.dialects.base import Dialect, Endpoint
from analytics_assets.api.listing import Listing, open_listings
from analytics_assets.api.settings import Settings
from analytics_assets.api.settings_reader import read_settings
from analytics_assets.api.source import read_listing

TOKEN = "token-5c1d-canary"

THINGS = Resource(
    name="things",
    description="One row per thing.",
    columns=(Column("id", "bigint", "Identifier", nullable=False), Column("name", "text", "Name")),
)


def things(first: int, last: int) -> list[dict[str, Any]]:
    return [{"id": number, "name": f"Thing {number}"} for number in range(first, last + 1)]


class Connected:
    """Endpoints of a test's own, to which the configuration points."""

    def __init__(self, connector: Connector) -> None:
        self.connector = connector
        self.listing: Listing

    def settings(self, *by_run_config: str, **explicit: Any) -> Settings:
        return read_settings(self.connector, by_run_config, **explicit)

    def open(self, name: str = "things") -> Listing:
        [self.listing] = open_listings(self.settings(), [self.connector.by_name[name]]).values()
        return self.listing

    def rows(self, name: str = "things") -> list[dict[str, Any]]:
        """The rows that a source reads, in the order of the pages."""
        source = read_listing(self.open(name))
        return [row for table in source.resources[name] for row in table.to_pylist()]

    def ids(self, name: str = "things") -> list[Any]:
        return [row["id"] for row in self.rows(name)]

    def refusal(self, name: str = "things") -> str:
        with pytest.raises(ResourceExtractionError) as caught:
            self.rows(name)
        return str(caught.value)


Connect = Callable[..., Connected]


def connector(monkeypatch: pytest.MonkeyPatch) -> Connect:
    """Returns what points the configuration to endpoints of a test's own."""

    def connect(
        url: str, endpoints: Endpoint | Mapping[str, Endpoint], *resources: Resource, **dialect: Any
    ) -> Connected:
        if isinstance(endpoints, Endpoint):
            endpoints, resources = {"things": endpoints}, (THINGS,)
        described = Dialect("vendor", endpoints, page_size=20, **dialect)
        mistakes = [*described.mistakes(), *(each for endpoint in endpoints.values() for each in endpoint.mistakes())]
        assert mistakes == []
        monkeypatch.setenv("SOURCES__VENDOR__BASE_URL", url)
        if "auth" not in dialect:
            monkeypatch.setenv("SOURCES__VENDOR__API_KEY", TOKEN)
        return Connected(Connector("vendor", resources, (described,)))

    return connect
