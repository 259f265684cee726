"""The connection check tells whether a sync would succeed. The job and the command `check` run it."""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import dagster as dg

from analytics_assets.api.catalog import RESCUED
from analytics_assets.api.probe import Finding, probe
from analytics_assets.api.redaction import redact
from analytics_assets.api.settings import SettingsError
from analytics_assets.defs.assets.resource import AnalyticsResource
from analytics_assets.defs.assets.specs import LONGEST_FIELD
from analytics_assets.defs.automation.run_tags import NO_RUN_RETRY
from analytics_assets.defs.display.errors import explain, list_reasons
from analytics_assets.defs.display.progress import count
from analytics_assets.defs.names import Names, given_resource
from analytics_assets.demo.embedded import resolve_demo

DESTINATION = "destination"
"""Subject of the verdict on the destination."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The outcome for one resource or for the destination."""

    subject: str
    """Name of the resource, or `DESTINATION`."""
    passed: bool
    says: str
    """What was found, or why it failed, without secrets."""
    advice: str = ""
    """Lines to paste into the catalog, under a sentence that says where; empty if every field is declared."""


def check_connection(names: Names, analytics: AnalyticsResource, log: Callable[[str], None]) -> Iterator[Verdict]:
    """Reads the first pages of each listing, and tests whether the destination can be written to. Keeps nothing.

    Args:
        names: Names of the connector.
        analytics: The resource with the settings to check.
        log: Called with a message when the check has to wait.

    Yields:
        A verdict on each resource, then one on the destination.

    Raises:
        SettingsError: A setting of the API is missing or wrong. No request was made then.
    """
    settings = analytics.settings(names)
    secrets = settings.secrets()
    refusals: Mapping[str, Exception] = {}
    try:
        says, refusals = analytics.check_destination(names, log)
        destination = Verdict(DESTINATION, passed=True, says=says)
    except Exception as error:  # noqa: BLE001 - each destination's driver, and dlt, have errors of their own
        destination = Verdict(DESTINATION, passed=False, says=explain(error, secrets))
    for finding in probe(resolve_demo(settings), settings.connector.resources):
        name, hidden = finding.resource.name, (*secrets, *finding.secrets)
        problem = finding.error or refusals.get(name)
        says = explain(problem, hidden).removeprefix(f"{name}: ") if problem else redact(_describe(finding), hidden)
        yield Verdict(name, passed=not problem, says=says, advice=redact(_advise(finding), hidden))
    yield destination


def build_check_job(names: Names) -> dg.JobDefinition:
    """The job `analytics_check`, of the connector's name. It waits in the pool, as it opens the warehouse."""

    # Dagster refuses an op with the name of its job.
    @dg.op(
        name=names.derived("connection"),
        pool=names.pool,
        description="Asks the API and the destination whether a sync would succeed.",
    )
    @given_resource(names)
    def check(context: dg.OpExecutionContext, analytics: AnalyticsResource) -> None:
        failures = {}
        try:
            for verdict in check_connection(names, analytics, context.log.warning):
                advice = f"\n{verdict.advice}" if verdict.advice else ""
                if verdict.passed:
                    context.log.info(f"{verdict.subject}: ok: {verdict.says}{advice}")
                else:
                    context.log.error(f"{verdict.subject} failed: {verdict.says}{advice}")
                    failures[verdict.subject] = verdict.says
        except SettingsError as error:
            # Not chained: the cause's own text may quote secrets.
            raise dg.Failure(redact(str(error), analytics.secrets(names.connector))) from None
        if failures:
            raise dg.Failure("\n".join(["The connection check failed.", *list_reasons(failures)]), metadata=failures)

    @dg.job(
        name=names.derived("check"),
        executor_def=dg.in_process_executor,
        # No run retry: a check reports the state at the time it was asked.
        tags=NO_RUN_RETRY,
        description="Reads the first two pages of each resource, tests whether the destination can be written to, and"
        " keeps nothing.",
    )
    def job() -> None:
        check()

    return job


def _describe(finding: Finding) -> str:
    stats = finding.stats
    pages, rows = stats.requests - stats.retries, stats.rows_read
    texts = [f"{rows} row{'' if rows == 1 else 's'} on {pages} page{'' if pages == 1 else 's'}"]
    if finding.resource.cursor and rows:
        texts.append(f"{finding.resource.cursor} in {1 - stats.rows_without_cursor / rows:.0%} of them")
    if stats.rows_in_future:
        texts.append(f"{stats.rows_in_future} of them in the future")
    if stats.retries:
        texts.append(f"{stats.retries} retries")
    if finding.undeclared:
        fields = [f"{field[:LONGEST_FIELD]} (column {column})" for field, column in finding.undeclared.items()]
        texts.append(f"not in the catalog: {', '.join(fields)}")
    if stats.values_rescued:
        fit = "does not fit its column" if stats.values_rescued == 1 else "do not fit their columns"
        texts.append(f"{count(stats.values_rescued, 'value')} that {fit}, kept in {RESCUED}")
    return ", ".join(texts)


def _advise(finding: Finding) -> str:
    if not finding.suggested:
        return ""
    where = f"To declare them, paste into the columns of the resource `{finding.resource.name}`, and run with mode:"
    columns = [
        f'    Column({json.dumps(column.name, ensure_ascii=False)}, "{column.type}", "{column.description}"),'
        for column in finding.suggested
        if len(column.name) <= LONGEST_FIELD
    ]
    return "\n".join([f"{where} rebuild where the table exists:", *columns])
