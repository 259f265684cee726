"""`base_url = demo`: the demo API inside this process."""

from functools import cache
from threading import Thread

from analytics_assets.api.settings import Settings


def resolve_demo(settings: Settings) -> Settings:
    """Replaces `base_url = demo` by the address and the credentials of the demo API, which it starts.

    Settings with another `base_url` are returned unchanged.

    Raises:
        SettingsError: The demo API does not speak the dialect.
    """
    if not settings.is_demo:
        return settings
    from analytics_assets.demo.server import CREDENTIALS  # noqa: PLC0415 - a real API needs no demo

    dialect = settings.wire_format.name
    if dialect not in CREDENTIALS:
        speaks = f"selects the built-in API, which speaks {' and '.join(CREDENTIALS)}, not {dialect}"
        raise settings.error("base_url", speaks, settings.base_url)
    resolved = settings.copy()
    # What is configured for a real API is not for this one.
    nothing = dict.fromkeys(("api_key", "client_id", "client_secret", "token_url", "scope"))
    resolved.update({**nothing, "base_url": embedded_url(dialect), **CREDENTIALS[dialect]})
    return resolved


@cache
def embedded_url(dialect: str) -> str:
    """Base URL of a demo API inside this process. Each dialect has one.

    The first call for a dialect starts its server, which ends with the process.

    Raises:
        KeyError: The dialect is unknown.
    """
    from analytics_assets.demo.server import DemoServer  # noqa: PLC0415 - as above

    server = DemoServer(dialect=dialect)
    Thread(target=server.serve_forever, name=f"demo-api-{dialect}", daemon=True).start()
    return server.url
