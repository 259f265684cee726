"""Where a redirect may lead, and what a URL shows."""

from http.client import responses

from pyreqwest.http import Url

from analytics_assets.api.http.origin import DEFAULT_PORTS
from analytics_assets.api.http.request import Pairs
from analytics_assets.api.http.response import RefusedResponseError

REDIRECTS = frozenset({301, 302, 303, 307, 308})

KEEP_METHOD = frozenset({307, 308})
"""Redirects that a client follows with the same method and body."""

LONGEST_PLACE = 200
"""Characters of a URL that errors of redirects show."""


def without(url: Url, params: Pairs) -> Url:
    """Returns a URL without parameters of these names."""
    names = {name for name, _ in params}
    if not names & url.query_dict_multi_value.keys():
        return url
    return url.with_query([pair for pair in url.query_pairs if pair[0] not in names] or None)


def follow(url: Url, location: str, status: int) -> Url:
    """Returns the URL of a redirect, if the token may go there: within the origin, or from http to https of a host."""
    try:
        target = url.join(location)
    except ValueError:
        target = None
    if target is not None and target.scheme in DEFAULT_PORTS and not target.username and target.password is None:
        is_upgrade = (url.scheme, target.scheme) == ("http", "https") and url.host_str == target.host_str
        if is_upgrade or target.origin_ascii == url.origin_ascii:
            return target
    raise RefusedResponseError(
        f"{without_secrets(url)} answered {status} {responses[status]}, which leads to"
        f" {'no URL' if target is None else without_secrets(target)}. Redirects are followed within the origin only,"
        " as the token belongs to it: check the setting base_url, and that nothing answers in the API's place."
    )


def without_secrets(url: Url) -> str:
    """Returns a URL as messages may show it: without user, password, query and fragment."""
    return f"{url.scheme}://{url.authority.rpartition('@')[2]}{url.path}"[:LONGEST_PLACE]
