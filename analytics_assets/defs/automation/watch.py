"""The command `watch`: tells from outside what Dagster's daemon cannot tell, because it is down or hangs."""

import signal
import sys
import time
from collections.abc import Callable, Set
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import NoReturn

import dagster as dg

from analytics_assets.defs.automation.delivery import AlertError, tell
from analytics_assets.defs.automation.findings import Finding, Findings, minute, remember
from analytics_assets.defs.automation.health import describe, find_all
from analytics_assets.defs.automation.run_findings import find_failed_runs
from analytics_assets.defs.automation.tick_findings import find_ticks, find_undelivered, read_states
from analytics_assets.defs.automation.watched import Watched
from analytics_assets.defs.names import Names

PAUSE = 30.0
"""Seconds between two looks."""

SILENCE = timedelta(minutes=3)
"""How long a part of the daemon may give no heartbeat, and the sensor may not tick. Both are due every thirty seconds,
but the parts wait for code that is loaded."""

UNTOLD = "No alert has told this yet."
"""What is said of a failed run besides, until a sensor has told it."""


def watch(names: Names, watched: Watched, log: Callable[[str], None], *, once: bool) -> NoReturn:
    """The command `watch`.

    Args:
        names: Names of the connector.
        watched: What is watched.
        log: Called with each text.
        once: Whether to look once, at all there is to watch, and to end with the exit status 1 if anything is wrong.
    """
    if once:
        problems = list_problems(names, watched)
        for problem in problems:
            log(problem)
        sys.exit(1 if problems else 0)
    # As systemd and Docker end it, or Ctrl-C.
    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, lambda *_: sys.exit(0))
    log("Watching Dagster's daemon ...")
    told: set[str] = set()
    began = datetime.now(UTC)
    while True:
        told = look(names, watched, told, log, began)
        time.sleep(PAUSE)


def list_problems(names: Names, watched: Watched) -> list[str]:
    """All that is wrong, with the daemon and with what the sensor `analytics_health` watches."""

    def find(instance: dg.DagsterInstance, now: datetime) -> Findings:
        outside = _find_outside(names, watched, set(), None, instance, now)
        return {
            **outside,
            **find_undelivered(instance, watched, names.derived("health"), now),
            **find_all(instance, watched, set(), now),
            **find_failed_runs(instance, watched, now, at_once=True),
        }

    found = _look(find, set())
    # Fields are news, and nothing that is wrong as long as they are there.
    return list(
        {
            finding.says if finding.told or not key.startswith("run ") else f"{finding.says}\n{UNTOLD}": None
            for key, finding in found.items()
            if finding.wrong and not key.startswith("field ")
        }
    )


def look(names: Names, watched: Watched, told: set[str], log: Callable[[str], None], began: datetime) -> set[str]:
    """Looks at the daemon, and tells what is wrong and what is right again.

    The rest is told by the sensor `analytics_health`, as long as that ticks.

    Args:
        names: Names of the connector.
        watched: What is watched.
        told: What people know as wrong.
        log: Called with each text.
        began: Since when somebody looks. A daemon that was started at that time may not have loaded the code yet.

    Returns:
        What people know as wrong by now.
    """
    found = _look(partial(_find_outside, names, watched, told, began), told)
    news = {key: finding for key, finding in found.items() if finding.is_news}
    if not news:
        return told
    text = describe(names.connector.name, news.values())
    log(text)
    try:
        tell(text)
    except AlertError as error:
        log(f"{str(error).splitlines()[0]} It is tried again in {PAUSE:.0f} seconds.")
        return told
    return remember(told, news)


def _look(find: Callable[[dg.DagsterInstance, datetime], Findings], told: Set[str]) -> Findings:
    key = "storage"
    try:
        with dg.DagsterInstance.get() as instance:
            found = find(instance, datetime.now(UTC))
    except Exception as error:  # noqa: BLE001 - each storage has its own errors
        # Its text quotes the address, and perhaps more.
        says = f"Dagster's storage cannot be read: {type(error).__name__}."
        return {key: Finding(wrong=True, says=says, told=key in told)}
    return {**found, key: Finding(wrong=False, says="Dagster's storage can be read again.", told=key in told)}


def _find_outside(  # noqa: PLR0913, PLR0917 - what is looked for, and where
    names: Names,
    watched: Watched,
    told: Set[str],
    began: datetime | None,
    instance: dg.DagsterInstance,
    now: datetime,
) -> Findings:
    """The daemon by its heartbeats, and the sensor `analytics_health` by its ticks."""
    statuses = instance.get_daemon_statuses().values()
    beats = {each.daemon_type: each.last_heartbeat.timestamp for each in statuses if each.last_heartbeat}
    silent = sorted(
        each.daemon_type for each in statuses if now.timestamp() - beats.get(each.daemon_type, 0) > SILENCE.seconds
    )
    since = f"since {minute(datetime.fromtimestamp(max(beats.values()), UTC))}" if beats else "ever"
    if len(silent) == len(statuses):
        says = f"Dagster's daemon is down: no heartbeat {since}. Nothing is scheduled, launched or told. Start it."
    elif silent:
        says = f"A part of Dagster's daemon hangs: no heartbeat of {', '.join(silent)} for {SILENCE}. Start it anew."
    else:
        says = "Dagster's daemon is up again."
    found: dict[str, Finding] = {"daemon": Finding(wrong=bool(silent), says=says, told="daemon" in told)}
    if silent:
        # The sensor cannot tick then.
        return found
    sensor = names.derived("health")
    health = replace(watched, schedules={}, sensors=[sensor])
    found |= find_ticks(instance, health, told, now)
    # A code location that was never loaded has no state.
    ticks = [latest.timestamp for _, _, latest in read_states(instance, health) if latest]
    last = datetime.fromtimestamp(ticks[0], UTC) if ticks else began
    wrong = last is None or now - last > SILENCE
    since = f"since {minute(last)}" if ticks and last else "yet"
    says = f"has not ticked {since}. Does its code location load?" if wrong else "ticks again."
    found["silence"] = Finding(wrong, f"The sensor {sensor} {says}", told="silence" in told)
    return found
