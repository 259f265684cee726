"""Dagster's webserver for one person at one machine. It responds to its own pages, and refuses pages of other sites.

python -m analytics_assets.webserver [options of dagster-webserver]

Dagster's webserver has no authentication and does not check the header `Origin`. Any page that is open in the same
browser could launch runs there, and a page whose host name resolves to 127.0.0.1 could read everything.
"""

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, MutableMapping

    Scope = MutableMapping[str, Any]
    Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
    Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
    App = Callable[[Scope, Receive, Send], Awaitable[None]]

HOST = re.compile(r"(localhost|127\.0\.0\.1|\[::1\])(:\d+)?", re.IGNORECASE)
"""The `Host` headers of a browser on this machine. Any other name could be one that a site has pointed to 127.0.0.1."""

REFUSAL = (
    "Refused: this Dagster accepts requests of its own pages only, because it has no authentication. Open it as"
    " http://localhost with its port; for other hosts, put a proxy with authentication in front of dagster-webserver.\n"
)
"""Body of the response to a refused request."""


class OwnPagesOnly:
    """An ASGI application that passes a request on to another application only if `is_own` says so."""

    def __init__(self, app: "App") -> None:
        self._app = app

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        """Passes the request on. A refused request gets status 403, a refused web socket is closed before it opens."""
        if scope["type"] == "lifespan" or is_own(scope):
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"connection", b"close")]
            await send({"type": "http.response.start", "status": 403, "headers": headers})
            await send({"type": "http.response.body", "body": REFUSAL.encode()})


def is_own(scope: "Scope") -> bool:
    """Whether a request names this machine, and comes from one of the server's own pages or from no page at all.

    A browser names the page's site in `Origin` (but not with every GET) and in `Sec-Fetch-Site`; a program sends
    neither. A link from another site may open a page, but not `/graphql` with a query, because Dagster also accepts
    mutations in the query of a GET.
    """
    headers: dict[bytes, bytes] = {}
    for name, value in scope["headers"]:
        # Of two different values, this check could see one and the application behind it the other.
        if headers.setdefault(name, value) != value:
            return False
    host, origin = headers.get(b"host", b"").decode("latin-1"), headers.get(b"origin")
    if not HOST.fullmatch(host):
        return False
    if origin is not None and origin.decode("latin-1") != f"http://{host}":
        return False
    is_query_by_get = scope["path"].endswith("/graphql") and scope.get("method") == "GET" and scope["query_string"]
    if is_query_by_get:
        return False
    fetch = {name: headers.get(b"sec-fetch-" + name) for name in (b"site", b"mode", b"dest")}
    is_link = scope.get("method") == "GET" and (fetch[b"mode"], fetch[b"dest"]) == (b"navigate", b"document")
    return fetch[b"site"] in {None, b"same-origin", b"none"} or is_link


def main() -> None:
    """Runs `dagster-webserver` behind `OwnPagesOnly`."""
    import uvicorn  # noqa: PLC0415 - a part of Dagster's webserver, which only this command needs
    from dagster_webserver.cli import cli  # noqa: PLC0415

    run = uvicorn.run

    def run_own_pages_only(app: Any, **options: Any) -> None:  # noqa: ANN401 - as uvicorn has it
        run(OwnPagesOnly(app), **options)

    # Dagster has no hook for this. A test and `python -m analytics_assets dev` ask the running server if it works.
    uvicorn.run = run_own_pages_only
    cli(auto_envvar_prefix="DAGSTER_WEBSERVER")


if __name__ == "__main__":
    main()
