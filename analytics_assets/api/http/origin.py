"""The origin of a URL (scheme, host and port), which decides where a secret may go."""

import ipaddress
import re
from functools import lru_cache
from urllib.parse import urlsplit

from analytics_assets.api.entries import read_entries

DEFAULT_PORTS = {"http": 80, "https": 443}


def origin_of(url: str) -> str | None:
    """Returns the origin of an http or https URL, such as `https://api.example.com:443`; `None` for any other text."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        return None
    # A client reads a backslash as a slash, so it would connect to another host than `urlsplit` finds.
    if parts.scheme not in DEFAULT_PORTS or not host or re.search(r"[\\\s\x00-\x1f]", url):
        return None
    return f"{parts.scheme}://{host}:{DEFAULT_PORTS[parts.scheme] if port is None else port}"


@lru_cache(maxsize=16)
def is_loopback(host: str) -> bool:
    """Whether a host is this machine. Cached, because every request asks this of the same one or two hosts."""
    host = host.strip("[]").removesuffix(".")
    if host == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    address = getattr(address, "ipv4_mapped", None) or address
    # A connection to the unspecified address (0.0.0.0 or ::) reaches this machine.
    return address.is_loopback or address.is_unspecified


def read_origins(configured: object) -> frozenset[str]:
    """Returns the origins in a list, or in a text with commas between them; an entry without a scheme is https.

    Raises:
        ValueError: An entry is no origin.
    """
    found = set()
    for entry in read_entries(configured):
        origin = origin_of(entry if "://" in entry else f"https://{entry}")
        if origin is None:
            raise ValueError(f"{entry!r} is no origin")
        found.add(origin)
    return frozenset(found)
