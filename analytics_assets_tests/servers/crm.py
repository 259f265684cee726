"""The API of the worked example in docs/your-api.md: accounts by cursor token, and the contacts of each account."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from analytics_assets_tests.servers.fake_api import Answer
from analytics_assets_tests.servers.vendor import Asked, Vendor, serve_vendor

KEY = "key-4d2a-canary"
FIRST = datetime(2025, 3, 1, 9, tzinfo=UTC)


def stamp(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"


def account(number: int) -> dict[str, Any]:
    created = FIRST + timedelta(days=number - 1)
    return {
        "id": number,
        "name": f"Account {number}",
        "plan": "team" if number % 2 else "free",
        "seats": 5 * number,
        "meta": {"created_at": stamp(created), "updated_at": stamp(created + timedelta(hours=8))},
    }


class Crm:
    """The rows, which a test may change, and what each request gets."""

    def __init__(self) -> None:
        self.accounts = {number: account(number) for number in range(1, 121)}
        self.contacts = {
            number: [{"number": each, "name": f"Contact {each} of {number}"} for each in range(1, 2 + number % 2)]
            for number in self.accounts
        }

    def update(self, number: int, moment: datetime, **fields: Any) -> None:
        row = self.accounts[number]
        self.accounts[number] = {**row, **fields, "meta": {**row["meta"], "updated_at": stamp(moment)}}

    def reply(self, asked: Asked) -> Answer:
        if asked.headers.get("X-Api-Key") != KEY:
            return Answer(401, {"error": "X-Api-Key is missing or wrong"})
        match asked.path.split("/"):
            case ["", "v1", "accounts"]:
                return self._accounts(asked)
            case ["", "v1", "accounts", number, "contacts"] if (found := self.contacts.get(int(number))) is not None:
                return Answer(body={"edges": [{"node": contact} for contact in found]})
        return Answer(404, {"error": "not found"})

    def _accounts(self, asked: Asked) -> Answer:
        since = asked.query.get("updated_since", "")
        rows = [row for row in self.accounts.values() if row["meta"]["updated_at"] >= since]
        # The token says how many rows are behind it.
        begin = int(asked.query.get("cursor", "c0").removeprefix("c"))
        end = begin + int(asked.query.get("limit", "10"))
        token = f"c{end}" if end < len(rows) else None
        return Answer(body={"data": {"items": rows[begin:end]}, "paging": {"next_cursor": token}})


@contextmanager
def serve_crm() -> Iterator[tuple[Crm, Vendor]]:
    """Runs the API on a free loopback port."""
    crm = Crm()
    with serve_vendor(crm.reply) as vendor:
        yield crm, vendor
