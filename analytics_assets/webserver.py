"""Dagster's webserver for one person at one machine: it answers its own pages, and no page of another site.

python -m analytics_assets.webserver [options of dagster-webserver]

The webserver has no authentication and looks at no `Origin`: any page that is open in the same browser could launch
runs there, and one whose host name leads to 127.0.0.1 could read everything.
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
"""What a browser at this machine calls it. A name that somebody else has given it is not among them."""

REFUSAL = (
    "Refused: this Dagster answers requests of its own pages only, as it has no authentication. Open it as"
    " http://localhost with its port; for other hosts, put a proxy with authentication in front of dagster-webserver.\n"
)


class OwnPagesOnly:
    """An ASGI application that lets requests through to another only if they come from its own pages, or from none."""

    def __init__(self, app: "App") -> None:
        self._app = app

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        """Answers 403 to the others, and closes their web sockets before they are open."""
        if scope["type"] == "lifespan" or is_own(scope):
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"connection", b"close")]
            await send({"type": "http.response.start", "status": 403, "headers": headers})
            await send({"type": "http.response.body", "body": REFUSAL.encode()})


def is_own(scope: "Scope") -> bool:
    """Whether a request names this machine, and comes from one of its own pages or from no page at all.

    A browser says so in `Origin` (not with every GET) and `Sec-Fetch-Site`; a program says neither. A link from another
    site may open a page, and nothing that acts: Dagster takes mutations in the query of a GET as well.
    """
    headers: dict[bytes, bytes] = {}
    for name, value in scope["headers"]:
        # Of two, one could be for us and the other for whoever answers.
        if headers.setdefault(name, value) != value:
            return False
    host, origin = headers.get(b"host", b"").decode("latin-1"), headers.get(b"origin")
    if not HOST.fullmatch(host):
        return False
    if origin is not None and origin.decode("latin-1") != f"http://{host}":
        return False
    asks_by_link = scope["path"].endswith("/graphql") and scope.get("method") == "GET" and scope["query_string"]
    if asks_by_link:
        return False
    fetch = {name: headers.get(b"sec-fetch-" + name) for name in (b"site", b"mode", b"dest")}
    is_link = scope.get("method") == "GET" and (fetch[b"mode"], fetch[b"dest"]) == (b"navigate", b"document")
    return fetch[b"site"] in {None, b"same-origin", b"none"} or is_link


def main() -> None:
    """Runs `dagster-webserver` behind the application above."""
    import uvicorn  # noqa: PLC0415 - a part of Dagster's webserver, which only this command needs
    from dagster_webserver.cli import cli  # noqa: PLC0415

    run = uvicorn.run

    def run_own_pages_only(app: Any, **options: Any) -> None:  # noqa: ANN401 - as uvicorn has it
        run(OwnPagesOnly(app), **options)

    # Dagster has no hook for this. A test asks the running server, and so does `python -m analytics_assets dev`.
    uvicorn.run = run_own_pages_only
    cli(auto_envvar_prefix="DAGSTER_WEBSERVER")


if __name__ == "__main__":
    main()
