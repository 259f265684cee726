"""The fastest event loop there is on this machine."""

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
