"""What the commands but `dev` do. To import this module takes seconds, because it imports Dagster and dlt."""

import argparse
import logging
import signal
import sys
from pathlib import Path
from typing import Any, NoReturn

import dagster as dg
from dlt.common.configuration.providers.toml import TomlProviderReadException
from dlt.destinations.exceptions import DatabaseException
from rich.box import HEAVY_HEAD
from rich.table import Table

from analytics_assets.api.mistakes import CatalogError
from analytics_assets.api.redaction import redact
from analytics_assets.api.settings import SettingsError
from analytics_assets.defs.assets.resource import AnalyticsResource
from analytics_assets.defs.automation.crons import ScheduleConfigError
from analytics_assets.defs.automation.watch import watch
from analytics_assets.defs.automation.watched import watched_of
from analytics_assets.defs.display.errors import reason_of
from analytics_assets.defs.display.progress import count
from analytics_assets.defs.display.terminal import live_progress, open_console, print_about
from analytics_assets.defs.names import Names
from analytics_assets.defs.quality.connection_check import Verdict, check_connection
from analytics_assets.interrupts import describe_end, end, noticed
from analytics_assets.project import dev_command
from analytics_assets.warehouse.access import describe_driver_error
from analytics_assets.warehouse.errors import DestinationError
from analytics_assets.warehouse.leftovers import count_leftover, drop_leftover, find_heir, find_leftovers
from analytics_assets.warehouse.locks import hold
from analytics_assets.warehouse.session import Session

try:
    from analytics_assets.definitions import defs, project_names
except CatalogError as error:
    sys.exit(str(error))

QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


class _PressedError(SystemExit):
    """Ctrl-C in a command that has something to put away. dlt would treat a KeyboardInterrupt as its own failure."""


def run(given: argparse.Namespace) -> int:
    """Runs a command of the parsed command line. Returns the exit status."""
    try:
        if given.command == "sync":
            return sync()
        if given.command == "watch":
            watch(project_names(), watched_of(defs()), _say, once=given.once)
        signal.signal(signal.SIGINT, _raise_pressed)
        if given.command == "drop":
            drop(given.resource, ask=not given.yes)
            return 0
        return check()
    except _PressedError:
        end("Ended by Ctrl-C: this command loads nothing.")
    except (CatalogError, ScheduleConfigError, SettingsError) as error:
        sys.exit(str(error))
    except TomlProviderReadException as error:
        # dlt reads several directories, and does not say which of the files it could not parse.
        files = " or ".join(path for path in error.full_paths if Path(path).exists())
        sys.exit(f"{files} cannot be read as TOML: {error.__context__}. Correct it there.")


def _raise_pressed(*_: object) -> NoReturn:
    raise _PressedError


def _say(text: str) -> None:
    """Prints at once, for the person who waits."""
    open_console().print(text, markup=False, highlight=False)


def sync() -> int:
    """Runs `analytics_sync` on the instance of DAGSTER_HOME, and prints the outcome. Returns the exit status."""
    console, names = open_console(), project_names()
    with noticed() as is_pressed:
        with live_progress(console) as bars:
            signal.signal(signal.SIGINT, lambda *_: end(describe_end(bars.loaded()), bars.stderr))
            job = defs().resolve_job_def(names.sync)
            with bars.undisturbed(), dg.DagsterInstance.get() as instance:
                result = job.execute_in_process(run_config=QUIET, instance=instance, raise_on_error=False)
                logged = instance.all_logs(result.run_id)
        if is_pressed():
            end(describe_end(bars.loaded()))
    table = _table(names, result)
    # As wide as it would be if there were room.
    width = console.measure(table, options=console.options.update_width(1000)).maximum
    console.print(table if width <= console.width else _table(names, result, narrow=True), soft_wrap=False)
    console.print(_summary(result), highlight=False)
    warnings = [entry for entry in logged if entry.level == logging.WARNING and not entry.is_dagster_event]
    # A wait is logged again and again.
    for text in dict.fromkeys(entry.user_message for entry in warnings):
        console.print(text, style="yellow", markup=False, highlight=False)
    if result.success:
        console.print(
            f"Next: [bold]{dev_command()}[/bold] opens Dagster's UI with these assets on http://localhost:3000"
        )
        return 0
    steps = [event for event in result.all_events if event.is_step_failure]
    # That the run has failed would only repeat it.
    for event in steps or (event for event in result.all_events if event.is_failure):
        described = event.step_failure_data.user_failure_data if event.is_step_failure else None
        says = (described and described.description) or event.message or ""
        console.print(says, style="red", markup=False, highlight=False)
    console.print("Next: correct what is said above, and run [bold]sync[/bold] again. It loads what is missing.")
    return 1


def check() -> int:
    """Prints a line for each resource, one for the destination, and what is next. Returns the exit status."""
    console, names = open_console(), project_names()
    # Initializing it replaces each `EnvVar` by the variable's value, as a run does.
    configured: AnalyticsResource = (defs().resources or {})[names.resource_key]
    # A wrong token fails all resources for the same reason, which is said once.
    said: dict[str, str] = {}
    verdicts: list[Verdict] = []
    try:
        with configured.process_config_and_initialize_cm() as analytics:
            for verdict in check_connection(
                names, analytics, lambda text: console.print(text, markup=False, highlight=False)
            ):
                first = said.setdefault(reason_of(verdict.subject, verdict.says), verdict.subject)
                is_repeated = first != verdict.subject and not verdict.passed
                says = f"for the same reason as {first}" if is_repeated else verdict.says
                mark = "[green]ok[/green]    " if verdict.passed else "[red]failed[/red]"
                print_about(console, f"{mark}  {verdict.subject:<18}  ", says)
                if verdict.advice:
                    where, _, lines = verdict.advice.partition("\n")
                    console.print(where, markup=False, highlight=False)
                    # To be pasted, so that no line may be broken.
                    console.print(lines, markup=False, highlight=False, soft_wrap=True)
                verdicts.append(verdict)
    except SettingsError as error:
        console.print(str(error), style="red", markup=False, highlight=False)
        return 1
    passed = [verdict for verdict in verdicts if verdict.passed]
    is_ready = len(passed) == len(verdicts)
    following = (
        f"[bold]{dev_command()}[/bold] opens Dagster's UI; [bold]Materialize all[/bold] loads them."
        if is_ready
        else "correct what is said of the others, and check again."
    )
    console.print(f"{len(passed)} of {len(verdicts)} ready. Next: {following}", highlight=False)
    return 0 if is_ready else 1


def drop(name: str, *, ask: bool) -> None:
    """Drops what is left of a resource that the catalog no longer lists, and says what. Exits with 1 if it does not.

    Args:
        name: Name of the resource.
        ask: Whether to ask on the terminal first.
    """
    names = project_names()
    if name in names.connector.left_out:
        sys.exit(
            f"{name} is switched off by {names.connector.setting('resources')}, and its table stays for the day when it"
            " is on again. To drop it for good, remove it from the catalog first."
        )
    if name in names.connector.by_name:
        sys.exit(
            f"{name} is in the catalog. Run with mode: rebuild to drop its table and load it anew; to drop it for"
            " good, remove it from the catalog first."
        )
    configured: AnalyticsResource = (defs().resources or {})[names.resource_key]
    try:
        with configured.process_config_and_initialize_cm() as analytics:
            path = analytics.target(names).duckdb_path
            if path and not path.exists():
                sys.exit(f"Nothing is left of a resource {name!r} in the warehouse: there is no file {path}.")
            with (
                analytics.session(names, _say) as session,
                hold(session, name, analytics.busy_timeout),
            ):
                with session.client:
                    _drop(session, name, ask=ask)
                session.publish()
    except (SettingsError, DestinationError) as error:
        sys.exit(redact(str(error), configured.secrets(names.connector)))


def _drop(session: Session, name: str, *, ask: bool) -> None:
    client, connector = session.client, session.connector
    if name not in (leftovers := find_leftovers(client, connector)):
        there = f"There is {', '.join(leftovers)}." if leftovers else "Nothing else is left, either."
        sys.exit(f"Nothing is left of a resource {name!r} in the warehouse. {there}")
    rows, heir = count_leftover(client, name), find_heir(client, connector, name)
    table = f"the table {connector.dataset}.{name}"
    what = "no table, and dlt's state" if rows is None else f"{table} with {count(rows, 'row')}, and dlt's state"
    if heir:
        what = f"dlt's state, and not {table}, because the pipeline {heir} has it, too"
    _say(f"Left of {name} in {session.target}: {what}.")
    if ask and not sys.stdin.isatty():
        sys.exit("Nothing was dropped: there is no terminal to ask on. Add --yes to drop it.")
    if ask and input("Drop it for good? [y/N] ").strip().lower() not in {"y", "yes"}:
        sys.exit("Nothing was dropped.")
    try:
        drop_leftover(client, connector, name)
    except DatabaseException as error:
        sys.exit(f"{name} cannot be dropped: {describe_driver_error(error, client)}")
    _say(f"Dropped: {what}.")


def _summary(result: dg.ExecuteInProcessResult) -> str:
    """What was loaded of what was read, and what that cost, so that a sync with nothing new is known for one."""
    done = _materialized(result).values()
    loaded, read, requests = (
        sum(each.get(name, 0) for each in done) for name in ("rows_loaded", "rows_read", "requests")
    )
    says = f"{count(loaded, 'row')} loaded, {read:,} read in {count(requests, 'request')}."
    return f"Nothing new: {says}" if result.success and not loaded else says


def _materialized(result: dg.ExecuteInProcessResult) -> dict[dg.AssetKey, dict[str, Any]]:
    """The metadata of each asset that was materialized, by its key."""
    return {
        event.asset_key: {name: value.value for name, value in event.materialization.metadata.items()}
        for event in result.get_asset_materialization_events()
        if event.asset_key
    }


def _table(names: Names, result: dg.ExecuteInProcessResult, *, narrow: bool = False) -> Table:
    """A line for each resource. A narrow one fits into 40 columns: it has less, and no lines."""
    table = Table(title=f"Job {names.sync}: assets {'/'.join(names.prefix)}/...", box=None if narrow else HEAVY_HEAD)
    table.add_column("Asset", overflow="fold")
    for heading in ("Loaded", "In table") if narrow else ("Rows loaded", "Rows in table", "Seconds"):
        table.add_column(heading, justify="right", no_wrap=True)
    if not narrow:
        table.add_column("Status", no_wrap=True)
    done = _materialized(result)
    for resource in names.connector.resources:
        key = names.asset_key(resource.name)
        values = done.get(key, {})
        cells = [f"{values[name]:,}" if name in values else "" for name in ("rows_loaded", "dagster/row_count")]
        seconds = f"{values['seconds']:.1f}" if values else ""
        status = "[green]materialized[/green]" if values else "[red]failed[/red]"
        shown = ([*cells] if values else [status]) if narrow else [*cells, seconds, status]
        table.add_row(resource.name, *shown)
    return table
