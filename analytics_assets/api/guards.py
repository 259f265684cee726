"""What a response must satisfy before its rows count: a wrong answer is an error, never zero rows."""

from typing import Any
from urllib.parse import urlsplit

from dlt.common.json import json
from requests import HTTPError, Response

from analytics_assets.api.catalog import PRIMARY_KEY, Resource
from analytics_assets.api.redaction import redact
from analytics_assets.api.report import Report

EXCERPT = 80
"""Characters of a wrong body that an error shows."""

SEARCHED = 10_000
"""Bytes of a wrong body that are searched for the token, which some servers send back."""

ADVICE = {
    401: "The API did not accept the token: check sources.analytics.api_key, and that it has not expired.",
    403: "The token is valid but may not read this resource: check its scopes or role.",
    404: "There is no such path: check sources.analytics.base_url and the path in the catalogue.",
    429: "The API's rate limit outlasted the retries: set sources.analytics.requests_per_second.",
}


class StatusError(HTTPError):
    """The API answered with an error status."""


class PayloadError(ValueError):
    """The API answered 200, but not with what the resource's rows look like."""


class PageGuard:
    """Checks the status and the shape of every response of one resource, and counts it. A response hook of dlt's."""

    def __init__(self, resource: Resource, report: Report) -> None:
        self.resource = resource
        self.report = report

    def __call__(self, response: Response) -> None:
        """Checks one response.

        Raises:
            StatusError: Its status is 400 or above. Those of `transport.RETRIED_STATUSES` are then retried.
            PayloadError: Its body is not a JSON object with a list of rows under the resource's selector.
        """
        if response.is_redirect:
            return
        url = urlsplit(response.url)
        where = f"{self.resource.name}: GET {url.path}{'?' if url.query else ''}{url.query}"
        if response.status_code >= 400:
            advice = ADVICE.get(response.status_code, "Its body begins: " + _excerpt(response))
            problem = f"{where} answered {response.status_code} {response.reason}. {advice}"
            raise StatusError(problem, response=response)
        selector = self.resource.selector
        try:
            body = json.loadb(response.content)
        except ValueError as error:
            kind = response.headers.get("Content-Type", "no content type")
            raise PayloadError(
                f"{where} answered {response.status_code} with a body that is not JSON ({kind}, {len(response.content)}"
                f" bytes), beginning: {_excerpt(response)}. Is base_url the API itself, not a proxy or a login page?"
            ) from error
        rows = body.get(selector) if isinstance(body, dict) else None
        if not isinstance(rows, list):
            keys = f"an object with the keys {sorted(body)[:8]}" if isinstance(body, dict) else type(body).__name__
            found = keys if not isinstance(body, dict) or selector not in body else type(rows).__name__
            raise PayloadError(
                f"{where} answered {response.status_code}, but there is no list under the key {selector!r}: found"
                f" {found}. Does the dialect fit this API?"
            )
        listed: set[int | str] = set()
        for position, row in enumerate(rows):
            key = _read_key(row, f"{where}: row {position + 1} of {len(rows)}")
            if key in listed:
                raise PayloadError(f"{where} lists {PRIMARY_KEY} {key!r} twice on one page.")
            listed.add(key)
        self.report.body_bytes += len(response.content)


def _read_key(row: Any, where: str) -> int | str:  # noqa: ANN401 - whatever JSON holds
    if not isinstance(row, dict):
        raise PayloadError(f"{where} is not an object but {type(row).__name__}.")
    key = row.get(PRIMARY_KEY)
    if not isinstance(key, int | str) or isinstance(key, bool) or key == "":
        found = f"{key!r:.40}" if PRIMARY_KEY in row else f"only the keys {sorted(row)[:8]}"
        raise PayloadError(f"{where} has no {PRIMARY_KEY!r} to merge on: found {found}.")
    return key


def _excerpt(response: Response) -> str:
    sent = response.request.headers.get("Authorization", "").removeprefix("Bearer ")
    text = redact(response.content[:SEARCHED].decode("utf-8", errors="replace"), [sent])
    return repr(" ".join(text.split())[:EXCERPT])
