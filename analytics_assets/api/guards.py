"""What a response must satisfy before its rows count: a wrong answer is an error, never zero rows."""

import re
from collections import Counter
from collections.abc import Iterable
from typing import Any

from dlt.common.json import json

from analytics_assets.api.answer import Answer
from analytics_assets.api.catalog import PRIMARY_KEY, Resource
from analytics_assets.api.dialect import Endpoint
from analytics_assets.api.dialects.registry import advise
from analytics_assets.api.redaction import redact
from analytics_assets.api.report import Report
from analytics_assets.api.settings import Settings

EXCERPT = 80
"""Characters of a wrong body that an error shows."""

QUOTED = 40
"""Characters of a key or an id that an error shows."""

SEARCHED = 10_000
"""Bytes of a wrong body that are searched for the token, which some servers send back."""

TOTAL = "total"
"""Key of a body that says how many rows the listing has; dlt's own default. The progress needs it, nothing else."""

MOST_WEIGHT = 400_000_000
"""Bytes, about, that the rows of one answer may take in memory."""

WIDE = re.compile(rb"[\xf0-\xff]|\\u[dD][89abAB]")
"""A character beyond the first 65,536, in UTF-8 or as JSON escapes it."""

TEXTS = re.compile(rb'"(?:[^"\\]|\\.)*"')
"""The texts in a JSON body, keys included."""

PIECES = re.compile(rb'(?:[^"]++|"(?:[^"\\]|\\.)*+"){1,10000}+|"')
"""A JSON body in pieces, none of which ends within a text."""

ADVICE = {
    401: "The API did not accept the token: check sources.analytics.api_key, and that it has not expired.",
    403: "The token is valid but may not read this resource: check its scopes or role.",
    404: "There is no such path: check sources.analytics.base_url and its dialect.",
    429: "The API's rate limit outlasted the retries: set sources.analytics.requests_per_second.",
}


class StatusError(ValueError):
    """The API answered with an error status."""

    def __init__(self, problem: str, status: int) -> None:
        super().__init__(problem)
        self.status = status


class PayloadError(ValueError):
    """The API answered 200, but not with what the resource's rows look like."""


def read_rows(answer: Answer, resource: Resource, settings: Settings, report: Report) -> list[dict[str, Any]]:
    """The rows of an answer. Counts it, and notes how many rows there are in all, if the answer says so.

    Raises:
        StatusError: Its status is an error.
        PayloadError: Its body is not JSON with a list of rows where the endpoint has them.
    """
    where = f"{resource.name}: GET {answer.where}"
    if answer.status >= 300:
        advice = _advise(answer, resource, settings)
        raise StatusError(f"{where} answered {answer.status} {answer.reason}. {advice}", answer.status)
    endpoint = settings.endpoint(resource.name)
    weight = weigh(answer.body)
    if weight > MOST_WEIGHT:
        raise PayloadError(
            f"{where} answered with {len(answer.body):,} bytes that hold so many values that they would take about"
            f" {weight / 1e6:,.0f} MB of memory. Set sources.analytics.page_size to less."
        )
    try:
        body = json.loadb(answer.body)
    except ValueError as error:
        raise PayloadError(
            f"{where} answered {answer.status} with a body that is not JSON ({answer.content_type}, {len(answer.body)}"
            f" bytes), beginning: {_shown(answer, resource)}. Is base_url the API itself, not a proxy or a login page?"
        ) from error
    rows = endpoint.find(body)
    if not isinstance(rows, list):
        raise PayloadError(f"{where} answered {answer.status}, but {_describe_mismatch(body, resource, endpoint)}")
    report.pages += 1
    report.body_bytes += len(answer.body)
    report.weight += weight
    if isinstance(body, dict) and type(total := body.get(TOTAL)) is int:
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
        raise PayloadError(f"{where} lists {PRIMARY_KEY} {shortened(twice)} twice on one page.")
    return rows


def weigh(body: bytes) -> int:
    """Bytes that what is in a JSON body takes in memory, about and at most: by its objects, lists, keys and values.

    A character beyond the first 65,536 makes every character of its text four bytes long.
    """
    texts = len(body) * (4 if WIDE.search(body) else 1)
    values = _weigh_values(body)
    if texts + values > MOST_WEIGHT:
        # What looks like a bracket may stand in a text; that is looked at where it matters.
        values = sum(_weigh_values(TEXTS.sub(b"", piece[0])) for piece in PIECES.finditer(body))
    return texts + values


def _weigh_values(body: bytes) -> int:
    return 200 * (body.count(b"{") + body.count(b"[")) + 100 * body.count(b":") + 60 * body.count(b",")


def _advise(answer: Answer, resource: Resource, settings: Settings) -> str:
    status, wire = answer.status, settings.wire
    if status == 401 and settings.has_client:
        return (
            f"The API does not accept a token that {settings.token_endpoint} has just issued: is base_url the host of"
            " the same region?"
        )
    if status == 401 and wire.expired_code is not None and _error_code(answer) == wire.expired_code:
        return (
            "The token in sources.analytics.api_key has expired. Set client_id and client_secret instead, and it is"
            " renewed whenever it has to be; or paste a new one."
        )
    if status == 403 and settings.wanted_scope:
        return f"{ADVICE[403]} Its scope is {settings.wanted_scope!r}: see sources.analytics.scope."
    if status in ADVICE:
        return ADVICE[status]
    unreadable = status == wire.unreadable_token and not settings.has_client
    hint = (
        " The API answers so, too, if it cannot read the token: check sources.analytics.api_key." if unreadable else ""
    )
    return f"Its body begins: {_shown(answer, resource)}.{hint}"


def _error_code(answer: Answer) -> object:
    try:
        body = json.loadb(answer.body)
    except ValueError:
        return None
    return body.get("error_code") if isinstance(body, dict) else None


def _describe_mismatch(body: object, resource: Resource, endpoint: Endpoint) -> str:
    wanted, found = "the body is no list", type(body).__name__
    if endpoint.selector is not None:
        wanted = f"there is no list under the key {endpoint.selector!r}"
        if isinstance(body, dict) and endpoint.selector in body:
            found = type(endpoint.find(body)).__name__
    if isinstance(body, dict) and (endpoint.selector is None or endpoint.selector not in body):
        found = f"an object with {_keys(body)}"
    advice = advise(resource.name, lambda other: isinstance(other.find(body), list))
    return f"{wanted}: found {found}.{advice or ' Does the dialect fit this API?'}"


def _problem(row: Any, where: str) -> str:  # noqa: ANN401 - whatever JSON holds
    if not isinstance(row, dict):
        return f"{where} is not an object but {type(row).__name__}."
    found = shortened(row[PRIMARY_KEY]) if PRIMARY_KEY in row else f"only {_keys(row)}"
    return f"{where} has no {PRIMARY_KEY!r} to merge on: found {found}."


def _keys(found: dict[str, Any]) -> str:
    return f"the keys [{', '.join(map(shortened, sorted(found)[:8]))}]"


def shortened(value: Any) -> str:  # noqa: ANN401 - whatever JSON holds
    """A value of the API as a message shows it."""
    text = repr(value[:EXCERPT] if isinstance(value, str) else value)
    return text if len(text) <= QUOTED else f"{text[:QUOTED]}…"


def _shown(answer: Answer, resource: Resource) -> str:
    return "(not shown, as this resource has sensitive fields)" if resource.is_sensitive else excerpt(answer)


def excerpt(answer: Answer, secrets: Iterable[str | None] = ()) -> str:
    """How the body of an answer begins, without the token that was sent, nor other secrets."""
    text = redact(answer.body[:SEARCHED].decode("utf-8", errors="replace"), [answer.token, *secrets])
    return repr(" ".join(text.split())[:EXCERPT])
