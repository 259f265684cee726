"""Runs a coroutine in uvloop if it is installed, else in asyncio's event loop."""

import asyncio
from collections.abc import Coroutine
from typing import Any

try:
    import uvloop
except ImportError:
    uvloop = None


def run(main: Coroutine[Any, Any, None]) -> None:
    """Runs a coroutine to its end."""
    if uvloop:
        uvloop.run(main)
    else:
        asyncio.run(main)
