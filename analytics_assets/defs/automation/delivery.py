"""Where alerts go.

[alerts]
webhook_url = "https://hooks.slack.com/services/..."    # a secret: .dlt/secrets.toml, or ALERTS__WEBHOOK_URL
heartbeat_url = "https://hc-ping.com/..."               # a secret as well, or ALERTS__HEARTBEAT_URL
ui_url = "https://dagster.example.com"                  # base of the links: .dlt/config.toml, or ALERTS__UI_URL
"""

import html
import logging
import time
from urllib.parse import urlsplit

import dlt

from analytics_assets.api.http.event_loop import run_in_background
from analytics_assets.api.http.response import NoResponseError
from analytics_assets.api.settings import read_secret

DEFAULT_UI_URL = "http://localhost:3000"

DELIVERY_ATTEMPTS = 2
"""Attempts to post an alert. Dagster gives a sensor 60 seconds for up to five failed runs: if all of them took longer,
the next tick would post some alerts again."""

DELIVERY_PAUSE = 1.0
"""Seconds between two attempts."""

WEBHOOK_TIMEOUT = 4.0
"""Seconds that a webhook has to respond."""

LONGEST = 1800
"""Most characters of a text. Discord takes 2,000, and refuses a longer one."""


class AlertError(RuntimeError):
    """An alert could not be delivered. The message never quotes a URL of `[alerts]`, which is a secret."""


def tell(text: str) -> None:
    """Delivers a text to `alerts.webhook_url`: as JSON to an http URL, and through Apprise to any other.

    Raises:
        AlertError: No webhook is configured, its URL is malformed, or it did not accept the text.
    """
    url = read_secret("alerts.webhook_url")
    if not url:
        raise AlertError(
            "Nobody was told this, because there is no webhook: set ALERTS__WEBHOOK_URL, or [alerts] webhook_url in"
            f" .dlt/secrets.toml.\n{text}"
        )
    # The text may quote the API. As it is, the quote could be markup or a name that notifies a whole channel.
    text = text.replace("@", "@\N{ZERO WIDTH SPACE}")
    if _is_http(url):
        _post("webhook", url, {"text": html.escape(text, quote=False)})
    else:
        _notify(url, text)


def give_heartbeat() -> None:
    """Posts to `alerts.heartbeat_url`, if that is set: a service outside that tells when the posts cease.

    Raises:
        AlertError: The URL is malformed, or the service did not accept the post.
    """
    if url := read_secret("alerts.heartbeat_url"):
        _post("heartbeat", url, {"text": "alive"})


def link_to(*path: str) -> str:
    """The address of a page of Dagster's UI."""
    ui_url = dlt.config.get("alerts.ui_url", str) or DEFAULT_UI_URL
    return "/".join([ui_url.rstrip("/"), *path])


def fit(lines: list[str], link: str) -> str:
    """One text of some lines that is short enough for each service, with the link to the rest of them.

    Args:
        lines: The lines, at least one.
        link: Where the rest is. It is left out if all lines fit.
    """
    first, *others = lines
    while _length(first) > LONGEST:
        first = f"{first[: len(first) * 9 // 10]}..."
    shown, length = [first], _length(first)
    for line in others:
        length += 1 + _length(line)
        if length > LONGEST:
            break
        shown.append(line)
    if shown == lines:
        return "\n".join(shown)
    hidden = len(lines) - len(shown)
    return "\n".join([*shown, f"... and {hidden} more: {link}" if hidden else f"More: {link}"])


def _length(line: str) -> int:
    # As `tell` posts it.
    return len(html.escape(line, quote=False)) + line.count("@")


def _post(what: str, url: str, body: dict[str, str]) -> None:
    from analytics_assets.api.http import client  # noqa: PLC0415 - definitions need no HTTP

    try:
        host = urlsplit(url).hostname
    except ValueError:
        host = None
    if not _is_http(url) or not host:
        raise _malformed(what)
    problem = ""
    for attempt in range(DELIVERY_ATTEMPTS):
        if attempt:
            time.sleep(DELIVERY_PAUSE)
        try:
            status = run_in_background(client.post(url, body, WEBHOOK_TIMEOUT)).result()
        except NoResponseError as error:
            problem = str(error)
        else:
            if status < 300:
                return
            problem = f"it answered {status}"
    raise AlertError(f"The {what} at {host} did not take the alert: {problem}. Check alerts.{what}_url.")


def _is_http(url: str) -> bool:
    return url.lower().startswith(("http://", "https://"))


def _notify(url: str, text: str) -> None:
    """Delivers a text to one of the services that Apprise knows, such as `mailto://` or `ntfy://`."""
    try:
        import apprise  # noqa: PLC0415 - an extra
    except ImportError:
        if "://" not in url:
            raise _malformed("webhook") from None
        raise AlertError(
            "alerts.webhook_url is not an http URL, and other services need Apprise: pip install"
            " 'analytics-assets[alerts]'."
        ) from None
    # Addresses are secrets: Apprise logs them at all levels, and the HTTP library below it at DEBUG.
    logging.getLogger("apprise").setLevel(logging.CRITICAL + 1)
    logging.getLogger("urllib3").setLevel(logging.INFO)
    service = apprise.Apprise.instantiate(url, suppress_exceptions=True)
    if service is None:
        raise _malformed("webhook")
    service.socket_connect_timeout = service.socket_read_timeout = WEBHOOK_TIMEOUT
    if not service.notify(body=text, body_format=apprise.NotifyFormat.TEXT):
        raise AlertError(f"{service.service_name} did not take the alert. Check alerts.webhook_url.")


def _malformed(what: str) -> AlertError:
    example = "hooks.slack.com/services/..." if what == "webhook" else "hc-ping.com/..."
    return AlertError(
        f"alerts.{what}_url is not a URL such as https://{example} (not shown here). Correct it in .dlt/secrets.toml,"
        f" or as ALERTS__{what.upper()}_URL in the environment."
    )
