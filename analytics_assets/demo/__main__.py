"""Runs the demo API in a process of its own: `python -m analytics_assets.demo --port 8765 --dialect ninjaone`."""

import argparse
import sys

from analytics_assets.api.connector import SHIPPED
from analytics_assets.demo.server import DemoServer, credentials


def main() -> None:
    """Serves until Ctrl-C, after it has printed the settings that point the assets at it."""
    parser = argparse.ArgumentParser(
        prog="python -m analytics_assets.demo", description="The demo API on a loopback port."
    )
    parser.add_argument("--port", type=int, default=8765, help="port to listen on; 0 picks a free one (default: 8765)")
    parser.add_argument(
        "--dialect",
        choices=sorted(SHIPPED.dialects_by_name),
        default=SHIPPED.dialects[0].name,
        help=f"wire format to speak (default: {SHIPPED.dialects[0].name})",
    )
    arguments = parser.parse_args()
    try:
        server = DemoServer(arguments.port, dialect=arguments.dialect)
    except (OSError, OverflowError) as error:
        sys.exit(f"Cannot listen on port {arguments.port}: {error}")
    with server:
        settings = {
            "dialect": arguments.dialect,
            "base_url": server.url,
            **credentials(SHIPPED.dialects_by_name[arguments.dialect]),
        }
        words = " ".join(
            f"{SHIPPED.setting(key).replace('.', '__').upper()}={value}" for key, value in settings.items()
        )
        sys.stdout.write(f"Demo API on {server.url}. Point the assets at it with\n  {words}\n")
        sys.stdout.flush()
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            sys.stdout.write("Stopped.\n")


if __name__ == "__main__":
    main()
