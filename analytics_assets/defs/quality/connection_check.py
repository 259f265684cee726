"""The connection check: would a run succeed? As a job and, without an instance, for the command line."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import dagster as dg

from analytics_assets.api.catalog import RESCUED
from analytics_assets.api.probe import Finding, probe
from analytics_assets.api.redaction import redact
from analytics_assets.api.settings import SettingsError
from analytics_assets.defs.assets.resource import AnalyticsResource
from analytics_assets.defs.assets.specs import POOL
from analytics_assets.defs.automation.run_tags import NO_RUN_RETRY
from analytics_assets.defs.display.errors import explain, list_reasons
from analytics_assets.defs.display.progress import count
from analytics_assets.defs.quality.rules import LONGEST_FIELD
from analytics_assets.demo.embedded import resolve_demo

CHECK = "analytics_check"

DESTINATION = "destination"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the check says of a resource, or of the destination."""

    subject: str
    passed: bool
    says: str


def check_connection(analytics: AnalyticsResource, log: Callable[[str], None]) -> Iterator[Verdict]:
    """Asks the API for the beginning of each listing, and the destination for room. Nothing is written.

    Args:
        analytics: What to check.
        log: Is told when something has to be waited for.

    Raises:
        SettingsError: A setting of the API is missing or wrong. No request has been made then.
    """
    settings = analytics.settings()
    secrets = settings.secrets()
    for finding in probe(resolve_demo(settings)):
        name = finding.resource.name
        if finding.error:
            yield Verdict(
                name, passed=False, says=explain(finding.error, (*secrets, *finding.secrets)).removeprefix(f"{name}: ")
            )
        else:
            yield Verdict(name, passed=True, says=redact(_describe(finding), (*secrets, *finding.secrets)))
    try:
        yield Verdict(DESTINATION, passed=True, says=analytics.check_destination(log))
    except Exception as error:  # noqa: BLE001 - each destination's driver, and dlt, have errors of their own
        yield Verdict(DESTINATION, passed=False, says=explain(error, secrets))


def build_check_job() -> dg.JobDefinition:
    """The job `analytics_check`. It waits for its turn like a sync, as it opens the warehouse."""

    # Not the name of the job, which Dagster refuses.
    @dg.op(
        name="analytics_connection",
        pool=POOL,
        description="Asks the API and the destination whether a sync would succeed.",
    )
    def check(context: dg.OpExecutionContext, analytics: AnalyticsResource) -> None:
        failures = {}
        try:
            for verdict in check_connection(analytics, context.log.warning):
                if verdict.passed:
                    context.log.info(f"{verdict.subject}: ok: {verdict.says}")
                else:
                    context.log.error(f"{verdict.subject} failed: {verdict.says}")
                    failures[verdict.subject] = verdict.says
        except SettingsError as error:
            # Not chained: the cause's own text may quote more than is meant to be seen.
            raise dg.Failure(redact(str(error), analytics.secrets())) from None
        if failures:
            raise dg.Failure("\n".join(["The connection check failed.", *list_reasons(failures)]), metadata=failures)

    @dg.job(
        name=CHECK,
        # Who asks wants to know how things are now.
        tags=NO_RUN_RETRY,
        description="Reads the first two pages of each resource, tries to write to the destination, and keeps nothing.",
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
        texts.append(f"not in api/catalog.py: {', '.join(fields)}")
    if stats.values_rescued:
        fit = "does not fit its column" if stats.values_rescued == 1 else "do not fit their columns"
        texts.append(f"{count(stats.values_rescued, 'value')} that {fit}, kept in {RESCUED}")
    return ", ".join(texts)
