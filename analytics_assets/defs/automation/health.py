"""The sensor `analytics_health` tells what is wrong with the tables and what loads them, and what is right again.

Its cursor has the keys of what people know as wrong. It moves when a text was delivered, so that nothing is told twice
and nothing is lost while nobody listens.
"""

import json
from collections.abc import Collection, Set
from dataclasses import replace
from datetime import UTC, datetime

import dagster as dg

from analytics_assets.defs.automation.alerts import TOLD
from analytics_assets.defs.automation.delivery import fit, give_heartbeat, link_to, tell
from analytics_assets.defs.automation.findings import Finding, Findings, remember
from analytics_assets.defs.automation.run_findings import OVER, find_failed_runs, find_unfinished_runs
from analytics_assets.defs.automation.run_tags import location_of, tag_run
from analytics_assets.defs.automation.table_findings import find_checks, find_freshness
from analytics_assets.defs.automation.tick_findings import find_ticks
from analytics_assets.defs.automation.watched import Watched
from analytics_assets.defs.names import Names

TICK = 30
"""Seconds between two ticks of the sensor."""

LONGEST = 300
"""Most characters of one finding of several in a text."""


def build_health(names: Names, watched: Watched) -> dg.SensorDefinition:
    """The sensor `analytics_health`.

    Args:
        names: Names of the connector.
        watched: What it watches.
    """

    @dg.sensor(
        name=names.derived("health"),
        minimum_interval_seconds=TICK,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=(
            "Posts to the webhook of [alerts] what is wrong: checks of severity ERROR, freshness policies that fail,"
            " runs that wait or work too long, schedules that were switched off or do not tick, new fields of the API;"
            " and what is right again. A tick that has something to post fails if there is no webhook."
        ),
    )
    def health(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        told = read_told(context.cursor)
        here = replace(watched, location=location_of(context))
        found = find_all(context.instance, here, told, datetime.now(UTC))
        news = {key: finding for key, finding in found.items() if finding.is_news}
        if not news:
            # Not in a tick with news, which must not be told again because a heartbeat fails.
            give_heartbeat()
            known = sum(finding.wrong for finding in found.values())
            return dg.SkipReason(f"Nothing new. {watched.counted()} are watched; wrong, and told: {known}.")
        tell(describe(names.connector.name, news.values()))
        _remember(context, told, news)
        return dg.SkipReason(f"Told {len(news)} things.")

    return health


def find_all(instance: dg.DagsterInstance, watched: Watched, told: Set[str], now: datetime) -> Findings:
    """All findings.

    Args:
        instance: Where Dagster keeps what is looked at.
        watched: What is watched.
        told: Keys of the things that people know as wrong, failed runs excepted: these have a tag.
        now: The present.
    """
    return {
        **find_checks(instance, watched, told),
        **find_freshness(instance, watched, told),
        **find_unfinished_runs(instance, watched, told, now),
        **find_failed_runs(instance, watched, now),
        **find_ticks(instance, watched, told, now),
    }


def read_told(cursor: str | None) -> set[str]:
    """The keys in a cursor. One that somebody edited counts as empty."""
    try:
        return {str(key) for key in json.loads(cursor or "[]")}
    except (ValueError, TypeError):
        return set()


def describe(name: str, findings: Collection[Finding]) -> str:
    """One text of some findings: first what is wrong, then what is right again.

    Args:
        name: Name of the connector.
        findings: The findings, at least one.
    """
    wrong, over = ({finding.says: None for finding in findings if finding.wrong is state} for state in (True, False))
    lines = [*wrong, *over]
    if len(lines) == 1:
        # A phone shows the first line.
        return fit(f"{name}: {lines[0]}".splitlines(), _link_in(lines[0]) or link_to("automation"))
    head = f"{name}: wrong: {len(wrong)}, right again: {len(over)}."
    return fit([head, *map(_shorten, lines)], link_to("automation"))


def _shorten(says: str) -> str:
    """A finding among others: not much longer than `LONGEST`, with the link at its end."""
    return says if len(says) <= LONGEST else f"{says[:LONGEST]} ... {_link_in(says)}".rstrip()


def _link_in(says: str) -> str:
    """The link at the end of a finding, or nothing."""
    last = says.rsplit(maxsplit=1)[-1]
    return last if "://" in last else ""


def _remember(context: dg.SensorEvaluationContext, told: set[str], news: Findings) -> None:
    """Moves the cursor. Failed runs have a tag in its place, because the failure alert tells of them, too."""
    runs = {key: finding for key, finding in news.items() if key.startswith("run ")}
    context.update_cursor(json.dumps(sorted(remember(told, {key: news[key] for key in news.keys() - runs.keys()}))))
    for key, finding in runs.items():
        run_id = key.removeprefix("run ")
        tag_run(context.instance, run_id, {TOLD: run_id if finding.wrong else OVER + run_id})
