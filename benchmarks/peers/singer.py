"""Syncs by a Singer tap, which Meltano's SDK makes, into target-duckdb. It runs in an environment of its own.

Locked: uv pip compile --no-annotate --no-header, of singer-sdk==0.54.9, target-duckdb==0.8.0 and duckdb==1.5.5.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from requests import Response
from singer_sdk import RESTStream, Stream, Tap
from singer_sdk.authenticators import BearerTokenAuthenticator
from singer_sdk.pagination import BaseAPIPaginator, BaseOffsetPaginator, SinglePagePaginator


class Pages(BaseOffsetPaginator):
    """Offsets up to the first empty page."""

    def has_more(self, response: Response) -> bool:
        """Whether the page has rows."""
        return not response.content.endswith(b"[]}")


class Listing(RESTStream[int]):
    """One resource."""

    def __init__(self, tap: Tap, declared: dict[str, Any]) -> None:
        self._paginated = declared["paginated"]
        self._records = f"$.{declared['selector']}[*]"
        super().__init__(tap, declared["name"], declared["schema"], declared["path"])
        self.primary_keys = [declared["key"]]
        self.replication_key = declared["cursor"]

    @property
    def url_base(self) -> str:
        """The API's address."""
        return str(self.config["url"])

    @property
    def records_jsonpath(self) -> str:
        """Where in a page the rows are."""
        return self._records

    @property
    def authenticator(self) -> BearerTokenAuthenticator:
        """The token, which the server ignores."""
        return BearerTokenAuthenticator(token="any")

    def get_new_paginator(self) -> BaseAPIPaginator[Any]:
        """The pagination of the resource."""
        return Pages(0, self.config["page_size"]) if self._paginated else SinglePagePaginator()

    def get_url_params(self, context: object, next_page_token: int | None) -> dict[str, int]:  # noqa: ARG002
        """The query of a page."""
        return {"after": next_page_token or 0, "limit": self.config["page_size"]} if self._paginated else {}


class ApiTap(Tap):
    """All resources of the catalog."""

    name = "tap-api"
    config_jsonschema = {"properties": {}}  # noqa: RUF012

    def discover_streams(self) -> list[Stream]:
        """The resources as streams."""
        return [Listing(self, declared) for declared in json.loads(Path(self.config["catalog"]).read_text("utf-8"))]


def main(catalog: str, url: str, database: str, page_size: str, _: str) -> int:
    """Runs the tap, which is this file again, and the target. The state of one sync is given to the next."""
    directory = Path(database).parent
    state, target_config, tap_config = (directory / name for name in ("state.json", "target.json", "tap.json"))
    target_config.write_text(json.dumps({"path": database, "default_target_schema": "analytics"}), "utf-8")
    tap_config.write_text(json.dumps({"catalog": catalog, "url": url, "page_size": int(page_size)}), "utf-8")
    tap = [sys.executable, "-I", __file__, "--config", str(tap_config)]
    tap += ["--state", str(state)] if state.exists() else []
    target = [str(Path(sys.executable).with_name("target-duckdb")), "--config", str(target_config)]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    with subprocess.Popen(tap, stdout=subprocess.PIPE, env=environment) as source:
        loaded = subprocess.run(target, stdin=source.stdout, stdout=subprocess.PIPE, env=environment, check=False)
    if lines := loaded.stdout.splitlines():
        state.write_bytes(lines[-1])
    return source.returncode or loaded.returncode


if __name__ == "__main__":
    if "--config" in sys.argv:
        ApiTap.cli()
    raise SystemExit(main(*sys.argv[1:]))
