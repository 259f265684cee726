"""`base_url = demo`: the demo API inside this process."""

from collections.abc import Iterator
from functools import cache
from threading import Thread

from dlt.sources.helpers.rest_client.paginators import SinglePagePaginator

from analytics_assets.api.connector import Connector
from analytics_assets.api.dialects.base import ById, ByOffset, Dialect
from analytics_assets.api.settings import Settings


def resolve_demo(settings: Settings) -> Settings:
    """Replaces `base_url = demo` by the address and the credentials of the demo API, which it starts.

    Settings with another `base_url` are returned unchanged.

    Raises:
        SettingsError: The demo API does not speak the dialect.
    """
    if not settings.is_demo:
        return settings
    if beyond := list(_beyond(settings.wire_format)):
        problem = f"selects the built-in API, which does not know what the dialect has: {', '.join(beyond)}"
        raise settings.error("base_url", problem, settings.base_url)
    from analytics_assets.demo.server import credentials  # noqa: PLC0415 - a real API needs no demo

    url = embedded_url(settings.connector, settings.wire_format.name)
    resolved = settings.copy()
    # What is configured for a real API is not for this one.
    nothing = dict.fromkeys(("api_key", "client_id", "client_secret", "token_url", "scope"))
    resolved.update({**nothing, "base_url": url, **credentials(settings.wire_format)})
    return resolved


def _beyond(dialect: Dialect) -> Iterator[str]:
    """What the demo API does not speak, by resource."""
    for name, endpoint in dialect.endpoints.items():
        if endpoint.parent or endpoint.method != "GET":
            yield f"{name} ({endpoint})"
        elif not isinstance(endpoint.pagination, ByOffset | ById | SinglePagePaginator | None):
            yield f"{name} ({endpoint.pagination_is})"


@cache
def embedded_url(connector: Connector, dialect: str) -> str:
    """Base URL of a demo API inside this process. Each dialect of a connector has one.

    The first call for it starts its server, which ends with the process.

    Raises:
        KeyError: The dialect is unknown.
    """
    from analytics_assets.demo.server import DemoServer  # noqa: PLC0415 - as above

    server = DemoServer(dialect=dialect, connector=connector)
    Thread(target=server.serve_forever, name=f"demo-api-{dialect}", daemon=True).start()
    return server.url
