"""What windows of events have loaded, so that the first sync after a backfill loads what is new and nothing else.

A window leaves the cursor alone, because others are loaded beside it. Dagster knows all of them: the materialization of
each says which window it is, when it was read, and how many rows it has brought.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg

from analytics_assets.api.catalog import Resource
from analytics_assets.api.reading import Reading, usual_lag
from analytics_assets.api.settings import Settings
from analytics_assets.defs.assets.config import Mode
from analytics_assets.defs.assets.materialization import BY_ORDER
from analytics_assets.defs.assets.run_facts import NO_WINDOW
from analytics_assets.defs.names import Names
from analytics_assets.warehouse.session import Session
from analytics_assets.warehouse.sync import Pending
from analytics_assets.warehouse.table_state import TableState, count_between

START, END, READ_AT = "window_start", "window_end", "window_read_at"
"""Metadata of the materialization of a window: its bounds, and when reading began."""

MOST_LOOKED_AT = 20_000
"""Materializations of a resource that are looked at, the newest: a window a day for fifty years."""

AT_ONCE = 1_000


@dataclass(frozen=True, slots=True)
class Window:
    """A window that was loaded."""

    start: datetime
    end: datetime
    """Where it ends. It is earlier than asked for if rows of the last seconds could still appear."""
    rows: int
    """Rows that it has brought, without those that have no cursor value: each window has these."""


def describe_window(reading: Reading, began: datetime) -> dict[str, Any]:
    """Metadata of a materialization that say which window was loaded; none if it was no window.

    Args:
        reading: What was read.
        began: When reading began.
    """
    if not reading.is_window:
        return {}
    moments = {START: reading.start, END: reading.end or began, READ_AT: began}
    return {name: dg.MetadataValue.timestamp(moment) for name, moment in moments.items() if moment}


def after_windows(
    names: Names, context: dg.OpExecutionContext, pending: Pending, session: Session, facts: Mapping[str, str]
) -> Reading | None:
    """How an incremental sync reads that has no cursor, if windows have loaded what is older; `None` otherwise.

    The windows have to follow each other from the start date without a hole. They have to be of the same API and
    destination, and their rows have to be in the table still. In doubt the sync reads everything.

    Args:
        names: Names of the connector.
        context: Context of the step.
        pending: The resource that is about to be synced.
        session: Its session.
        facts: What the run was given, as `run_facts` says.
    """
    resource, table, start = pending.listing.resource, pending.table, session.settings.start
    is_usual = (facts["mode"], facts["window"]) == (Mode.incremental.value, NO_WINDOW)
    has_cursor = not isinstance(table, TableState) or table.is_empty or table.cursor
    if has_cursor or not is_usual or not is_backfilled(resource):
        return None
    lag = usual_lag(resource, session.settings)
    windows = follow(_find_windows(context.instance, names.asset_key(resource.name), facts, lag), start)
    if not windows:
        return None
    until = windows[-1].end
    with session.client as client:
        there = count_between(client, resource, start, until)
    if there < sum(each.rows for each in windows):
        session.log(
            f"{resource.name}: the windows up to {until.isoformat()} have brought more rows than the table has, so"
            " everything is read again"
        )
        return None
    context.log.info(
        f"{resource.name}: windows have loaded all rows before {until.isoformat()}, so the sync begins there"
    )
    return Reading(since=until)


def is_backfilled(resource: Resource) -> bool:
    """Whether a backfill loads the resource: its rows are events, which have a time and never change."""
    return resource.append_only and resource.cursor is not None


def follow(windows: Iterable[Window], start: datetime) -> list[Window]:
    """The windows that lead from a start on without a hole."""
    found: list[Window] = []
    left = sorted(windows, key=lambda each: (each.start, each.end))
    while True:
        at = found[-1].end if found else start
        # One that begins before the end of another has some of its rows once more, which count twice.
        onward = [each for each in left if each.start <= at < each.end]
        if not onward:
            return found
        found.append(max(onward, key=lambda each: (each.start, each.end)))


def _find_windows(
    instance: dg.DagsterInstance, key: dg.AssetKey, facts: Mapping[str, str], lag: timedelta
) -> Iterator[Window]:
    """Yields the windows of an asset, each as it was loaded last, given what else the runs were given."""
    same = {name: value for name, value in facts.items() if name in ("base_url", "dialect", "destination")}
    seen: set[tuple[Any, Any]] = set()
    cursor, looked_at = None, 0
    while looked_at < MOST_LOOKED_AT:
        page = instance.fetch_materializations(key, limit=AT_ONCE, cursor=cursor)
        for record in page.records:
            said = record.asset_materialization.metadata if record.asset_materialization else {}
            values: dict[str, Any] = {name: value.value for name, value in said.items()}
            bounds = values.get(START), values.get(END)
            if None in bounds or bounds in seen or any(values.get(name) != value for name, value in same.items()):
                continue
            seen.add(bounds)
            if not values.get("parents_gone"):
                begins, ends, read_at = (datetime.fromtimestamp(values[name], UTC) for name in (START, END, READ_AT))
                # Rows without a cursor value are read by each window, whatever it is.
                yield Window(begins, min(ends, read_at - lag), values["rows_loaded"] - values["rows_without_cursor"])
        looked_at += AT_ONCE
        cursor = page.cursor
        if not page.has_more:
            return


def warn_of_listings(
    names: Names, context: dg.OpExecutionContext, settings: Settings, selected: Sequence[Resource], reading: Reading
) -> None:
    """Says before a window is read that it costs a whole listing, and how much that is.

    Args:
        names: Names of the connector.
        context: Context of the step.
        settings: Settings of the run.
        selected: The resources that are about to be read.
        reading: How much of them.
    """
    for each in selected:
        if reading.is_window and (why := reads_all(settings, each)):
            context.log.warning(f"{each.name}: {why}. {_last_whole(names, context.instance, settings, each)}")


def reads_all(settings: Settings, resource: Resource) -> str:
    """Why each window of a resource reads more than its own rows; empty if the API filters by its start and its end."""
    endpoint, dialect = settings.endpoint(resource.name), settings.wire_format.name
    if resource.cursor is None:
        return "has no cursor, so a window reads the whole listing"
    if endpoint.since_param and endpoint.until_param:
        return ""
    if endpoint.since_param or endpoint.newest_first:
        return f"the dialect {dialect} filters by the start alone, so a window reads the listing from its start to now"
    return f"the dialect {dialect} has no filter by {resource.cursor}, so each window reads the whole listing"


def _last_whole(names: Names, instance: dg.DagsterInstance, settings: Settings, resource: Resource) -> str:
    event = instance.get_latest_materialization_event(names.asset_key(resource.name))
    last = event.asset_materialization if event else None
    values: dict[str, Any] = {name: value.value for name, value in last.metadata.items()} if last else {}
    if values.get("dialect") != settings.wire_format.name or "requests" not in values or values["reads"] == BY_ORDER:
        return "How long it is, is not known: the last sync has not read it whole"
    return f"The last sync has read {values['rows_read']:,} rows of it, in {values['requests']:,} requests"
