"""Explains why a resource failed, for the person who reads the run."""

import errno
import logging
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import dagster as dg

from analytics_assets.api.http.errors import PayloadError, StatusError
from analytics_assets.api.http.response import NoResponseError, RefusedResponseError, UnreachableError
from analytics_assets.api.pagination.base import PaginationError
from analytics_assets.api.redaction import redact
from analytics_assets.warehouse.deletions import ShrunkListingError
from analytics_assets.warehouse.errors import CatalogChangeError, DestinationError

DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Errors of the system that mean a full disk, an exceeded quota, or a file that is too large."""

LONGEST_FOREIGN = 600
"""Most characters that are shown of an error text that this project did not write."""

LONGEST_EXPLANATION = 3_000
"""Most characters of an explanation. Our own texts quote the API, and such a quote has no limit of its own."""

CAUSE = re.compile(r"\n\s*(?:\x1b\[\d+m)?↳(?:\x1b\[0m)?")
"""What leads from a line of Delta's library to the next, which is the cause of it."""

REQUEST = re.compile(r"^(GET|POST) \S+ answered")
"""How the text of an error status begins, with the request of the resource."""


def explain(error: Exception, secrets: tuple[str | None, ...]) -> str:
    """One paragraph: what went wrong and what to do.

    Args:
        error: The raised error. Its chain of causes is searched for one that this project can explain.
        secrets: Values that the text must not show.
    """
    text = _explain(error)
    return redact(text if len(text) <= LONGEST_EXPLANATION else f"{text[:LONGEST_EXPLANATION]} …", secrets)


def list_reasons(failures: Mapping[str, str]) -> list[str]:
    """Lines for a list in Markdown: one for each reason, with the names of all resources that failed for it.

    Args:
        failures: The text of `explain`, by name of the resource.
    """
    groups: dict[str, list[str]] = {}
    for name, why in failures.items():
        groups.setdefault(reason_of(name, why), []).append(name)
    return [
        f"- {failed[0]}: {failures[failed[0]].removeprefix(f'{failed[0]}: ')}"
        if len(failed) == 1
        else f"- {', '.join(failed)}: {reason}"
        for reason, failed in groups.items()
    ]


def reason_of(name: str, why: str) -> str:
    """What several resources may have in common: the text of `explain` without the resource's name and its request."""
    return REQUEST.sub("the API answered", why.removeprefix(f"{name}: "))


def is_permanent(error: Exception, *, by_hand: bool = False) -> bool:
    """Whether another run would fail the same way.

    The API refused a request with a status from 400 to 499 but 429 (too many requests), or the catalog has changed. A
    URL that a person typed for one run is wrong if nothing is there, or if what answers is no such API. The configured
    API has served before: it may be starting anew, or the network is down, so that another run is worth it.

    Args:
        error: The raised error. Its chain of causes is searched.
        by_hand: Whether run config leads the run to another URL than the configured one.
    """
    causes = list(_causes(error))
    statuses = [cause.status for cause in causes if isinstance(cause, StatusError)]
    return (
        isinstance(error, CatalogChangeError)
        or any(400 <= status < 500 and status != 429 for status in statuses)
        or (by_hand and any(isinstance(cause, UnreachableError | PayloadError) for cause in causes))
    )


def raise_interrupt(error: Exception) -> None:
    """Raises the interrupt behind an error: dlt makes failures of its own of Ctrl-C and of Dagster's termination.

    Raises:
        KeyboardInterrupt: Somebody pressed Ctrl-C.
        dg.DagsterExecutionInterruptedError: Somebody terminated the run.
    """
    for cause in _causes(error):
        if isinstance(cause, KeyboardInterrupt | dg.DagsterExecutionInterruptedError):
            raise cause from None


@contextmanager
def first_lines_only() -> Iterator[None]:
    """Makes dlt log only the first line of each message. It logs errors of drivers, whose later lines quote rows."""
    logger = logging.getLogger("dlt")
    logger.addFilter(_first_line)
    try:
        yield
    finally:
        logger.removeFilter(_first_line)


def _first_line(record: logging.LogRecord) -> bool:
    record.msg, record.args = record.getMessage().partition("\n")[0], None
    record.exc_info = record.exc_text = record.stack_info = None
    return True


def is_out_of_memory(error: Exception) -> bool:
    """Whether an error, or one of its causes, says that DuckDB needs more memory than its limit."""
    return any(map(_is_memory_error, _causes(error)))


def _explain(error: Exception) -> str:
    chain = list(_causes(error))
    explained = next(filter(None, map(_explain_cause, chain)), None)
    return explained or f"{type(chain[-1]).__name__}: {_cut(chain[-1])}"


def _explain_cause(cause: BaseException) -> str | None:
    text = None
    match cause:
        case (
            StatusError()
            | PayloadError()
            | PaginationError()
            | NoResponseError()
            | RefusedResponseError()
            | ShrunkListingError()
            | DestinationError()
            | CatalogChangeError()
        ):
            text = str(cause)
        case OSError(errno=number) if number in DISK_FULL:
            text = f"The disk is full ({_cut(cause)}). Free some, of the temporary directory too, and run again."
        case _ if _is_memory_error(cause):
            # DuckDB's later lines advise settings that do not exist here.
            first_line = str(cause).partition("\n")[0]
            text = (
                f"DuckDB needs more memory than it may have ({first_line}). Raise the setting duckdb_memory in"
                " .dlt/config.toml or the environment, or duckdb_memory of the Dagster resource in the launchpad for"
                " one run, to 1GB for example, and run again. DuckDB works on 2,048 rows at a time, and the memory must"
                " hold them several times."
            )
    return text


def _is_memory_error(cause: BaseException) -> bool:
    name, text = type(cause).__name__, str(cause)
    # At a commit, DuckDB raises another class.
    in_commit = name == "TransactionException" and ("failed to pin" in text or "failed to allocate" in text)
    return name == "OutOfMemoryException" or in_commit


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error, its cause, the cause of that, and so on."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__ or current.__context__


def _cut(error: BaseException) -> str:
    """The first line of an error that this project did not write. Drivers quote rows and statements in later lines."""
    text = " ".join(CAUSE.sub(": ", str(error).strip()).partition("\n")[0].split())
    return text if len(text) <= LONGEST_FOREIGN else text[:LONGEST_FOREIGN] + " …"
