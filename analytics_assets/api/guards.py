"""What a response must satisfy before its rows count: a wrong answer is an error, never zero rows."""

from collections import Counter
from typing import Any

from dlt.common.json import json

from analytics_assets.api.answer import Answer
from analytics_assets.api.catalog import PRIMARY_KEY, Resource
from analytics_assets.api.redaction import redact
from analytics_assets.api.report import Report

EXCERPT = 80
"""Characters of a wrong body that an error shows."""

SEARCHED = 10_000
"""Bytes of a wrong body that are searched for the token, which some servers send back."""

TOTAL = "total"
"""Key of a body that says how many rows the listing has; dlt's own default. The progress needs it, nothing else."""

ADVICE = {
    401: "The API did not accept the token: check sources.analytics.api_key, and that it has not expired.",
    403: "The token is valid but may not read this resource: check its scopes or role.",
    404: "There is no such path: check sources.analytics.base_url and the path in the catalogue.",
    429: "The API's rate limit outlasted the retries: set sources.analytics.requests_per_second.",
}


class StatusError(ValueError):
    """The API answered with an error status."""

    def __init__(self, problem: str, status: int) -> None:
        super().__init__(problem)
        self.status = status


class PayloadError(ValueError):
    """The API answered 200, but not with what the resource's rows look like."""


def read_rows(answer: Answer, resource: Resource, report: Report) -> list[dict[str, Any]]:
    """The rows of an answer. Counts it, and notes how many rows there are in all, if the answer says so.

    Raises:
        StatusError: Its status is an error.
        PayloadError: Its body is not a JSON object with a list of rows under the resource's selector.
    """
    where = f"{resource.name}: GET {answer.where}"
    if answer.status >= 300:
        advice = ADVICE.get(answer.status, "Its body begins: " + _excerpt(answer, resource))
        raise StatusError(f"{where} answered {answer.status} {answer.reason}. {advice}", answer.status)
    selector = resource.selector
    try:
        body = json.loadb(answer.body)
    except ValueError as error:
        raise PayloadError(
            f"{where} answered {answer.status} with a body that is not JSON ({answer.content_type}, {len(answer.body)}"
            f" bytes), beginning: {_excerpt(answer, resource)}. Is base_url the API itself, not a proxy or a login"
            " page?"
        ) from error
    rows = body.get(selector) if isinstance(body, dict) else None
    if not isinstance(rows, list):
        keys = f"an object with the keys {sorted(body)[:8]}" if isinstance(body, dict) else type(body).__name__
        found = keys if not isinstance(body, dict) or selector not in body else type(rows).__name__
        raise PayloadError(
            f"{where} answered {answer.status}, but there is no list under the key {selector!r}: found {found}. Does"
            " the dialect fit this API?"
        )
    report.pages += 1
    report.body_bytes += len(answer.body)
    if type(total := body.get(TOTAL)) is int:
        report.total = total
    listed: set[int | str] = set()
    for position, row in enumerate(rows, 1):
        # The usual row first: this runs for every one of them.
        key = row.get(PRIMARY_KEY) if type(row) is dict else None
        if type(key) is not int and not (type(key) is str and key):
            raise PayloadError(_problem(row, f"{where}: row {position} of {len(rows)}"))
        listed.add(key)
    if len(listed) < len(rows):
        twice = next(key for key, count in Counter(row[PRIMARY_KEY] for row in rows).items() if count > 1)
        raise PayloadError(f"{where} lists {PRIMARY_KEY} {twice!r} twice on one page.")
    return rows


def _problem(row: Any, where: str) -> str:  # noqa: ANN401 - whatever JSON holds
    if not isinstance(row, dict):
        return f"{where} is not an object but {type(row).__name__}."
    found = f"{row[PRIMARY_KEY]!r:.40}" if PRIMARY_KEY in row else f"only the keys {sorted(row)[:8]}"
    return f"{where} has no {PRIMARY_KEY!r} to merge on: found {found}."


def _excerpt(answer: Answer, resource: Resource) -> str:
    if resource.is_sensitive:
        return "(not shown, as this resource has sensitive fields)"
    text = redact(answer.body[:SEARCHED].decode("utf-8", errors="replace"), [answer.token])
    return repr(" ".join(text.split())[:EXCERPT])
