"""`base_url = demo`: the demo API inside this process."""

from functools import cache
from threading import Thread

from analytics_assets.api.connector import Connector
from analytics_assets.api.settings import Settings


def resolve_demo(settings: Settings) -> Settings:
    """Replaces `base_url = demo` by the address and the credentials of the demo API, which it starts.

    Settings with another `base_url` are returned unchanged.
    """
    if not settings.is_demo:
        return settings
    from analytics_assets.demo.server import credentials  # noqa: PLC0415 - a real API needs no demo

    url = embedded_url(settings.connector, settings.wire_format.name)
    resolved = settings.copy()
    # What is configured for a real API is not for this one.
    nothing = dict.fromkeys(("api_key", "client_id", "client_secret", "token_url", "scope"))
    resolved.update({**nothing, "base_url": url, **credentials(settings.wire_format)})
    return resolved


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
