"""Runs the demo API by itself: `python -m analytics_assets.demo --port 8765`."""

import argparse
import sys

from analytics_assets.demo.server import DEMO_TOKEN, DemoServer


def main() -> None:
    """Serves until interrupted."""
    parser = argparse.ArgumentParser(
        prog="python -m analytics_assets.demo", description="The demo API on a loopback port."
    )
    parser.add_argument("--port", type=int, default=8765, help="port to listen on; 0 picks a free one (default: 8765)")
    arguments = parser.parse_args()
    try:
        server = DemoServer(arguments.port)
    except (OSError, OverflowError) as error:
        sys.exit(f"Cannot listen on port {arguments.port}: {error}")
    with server:
        sys.stdout.write(
            f"Demo API on {server.url}. Point the assets at it with\n"
            f"  SOURCES__ANALYTICS__BASE_URL={server.url} SOURCES__ANALYTICS__API_KEY={DEMO_TOKEN}\n"
        )
        sys.stdout.flush()
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            sys.stdout.write("Stopped.\n")


if __name__ == "__main__":
    main()
