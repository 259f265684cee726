"""The demo API in a test: its clock is the test's, and whole listings are read as each dialect has it."""

from datetime import UTC, datetime
from typing import Any

import requests

from analytics_assets.demo.exchange import Row
from analytics_assets.demo.server import DEMO_CLIENT_ID, DEMO_CLIENT_SECRET, DEMO_TOKEN, DemoServer
from analytics_assets_tests.servers.fake_api import PAGED, PATHS
from analytics_assets_tests.support.eight import EIGHT

NOON = datetime(2026, 7, 1, 12, tzinfo=UTC)


class Demo:
    """A demo API whose clock the test sets, and a client of it."""

    dialect = "analytics"

    def __init__(self) -> None:
        self.now = NOON
        self.server = DemoServer(clock=lambda: self.now, dialect=self.dialect, connector=EIGHT)

    def authorization(self) -> str:
        return f"Bearer {DEMO_TOKEN}"

    def get(self, path: str, authorization: str | None = None, **query: Any) -> requests.Response:
        headers = {"Authorization": self.authorization() if authorization is None else authorization}
        return requests.get(self.server.url + path, params=query, headers=headers, timeout=10)

    def rows(self, name: str, **query: Any) -> list[Row]:
        """The rows of one answer."""
        return self.get(PATHS[name], **query).json()["activities" if name == "activities" else "data"]  # type: ignore[no-any-return]

    def listing(self, name: str, page_size: int = 1000) -> list[Row]:
        """All rows of a resource, page by page."""
        if name not in PAGED:
            return self.rows(name)
        rows: list[Row] = []
        while page := self.rows(name, limit=page_size, after=len(rows)):
            rows += page
        return rows


class NinjaOneDemo(Demo):
    """The same in the other dialect."""

    dialect = "ninjaone"

    def __init__(self) -> None:
        super().__init__()
        self._authorization = ""

    def ask_for_token(self, **form: str) -> requests.Response:
        """Asks for a token, with what is given in place of what is right."""
        right = {
            "grant_type": "client_credentials",
            "client_id": DEMO_CLIENT_ID,
            "client_secret": DEMO_CLIENT_SECRET,
            "scope": "monitoring",
        }
        return requests.post(self.server.url + "/ws/oauth/token", data={**right, **form}, timeout=10)

    def authorization(self) -> str:
        if not self._authorization:
            self._authorization = f"Bearer {self.ask_for_token().json()['access_token']}"
        return self._authorization

    def rows(self, name: str, **query: Any) -> list[Row]:
        body = self.get(PATHS[name], **query).json()
        return body["activities"] if name == "activities" else body  # type: ignore[no-any-return]

    def listing(self, name: str, page_size: int = 1000) -> list[Row]:
        if name not in PAGED:
            return self.rows(name)
        cursor, last = ("olderThan", min) if name == "activities" else ("after", max)
        rows: list[Row] = []
        query: dict[str, Any] = {"pageSize": page_size}
        while page := self.rows(name, **query):
            rows += page
            before, query[cursor] = query.get(cursor), last(row["id"] for row in page)
            assert query[cursor] != before, "paging does not advance"
        return rows


DEMOS = {kind.dialect: kind for kind in (Demo, NinjaOneDemo)}
