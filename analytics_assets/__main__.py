"""The command line: `sync` runs the job `analytics_sync`, `check` tests whether it would succeed, `dev` runs the UI.

python -m analytics_assets sync
python -m analytics_assets check
python -m analytics_assets drop devices
python -m analytics_assets dev --port 3000
python -m analytics_assets watch --once
"""

import argparse
import logging
import os
import signal
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NoReturn

import dagster as dg
from dlt.common.configuration.providers.toml import TomlProviderReadException
from dlt.destinations.exceptions import DatabaseException
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from analytics_assets.api.mistakes import CatalogError
from analytics_assets.api.redaction import redact
from analytics_assets.api.settings import SettingsError
from analytics_assets.defs.assets.resource import AnalyticsResource
from analytics_assets.defs.automation.crons import ScheduleConfigError
from analytics_assets.defs.automation.watch import watch
from analytics_assets.defs.automation.watched import watched_of
from analytics_assets.defs.display.progress import count
from analytics_assets.defs.display.terminal import live_progress
from analytics_assets.defs.names import Names
from analytics_assets.defs.quality.connection_check import check_connection
from analytics_assets.dev import dev
from analytics_assets.project import read_umask, use_dagster_home
from analytics_assets.warehouse.access import describe_driver_error
from analytics_assets.warehouse.errors import DestinationError
from analytics_assets.warehouse.leftovers import count_leftover, drop_leftover, find_heir, find_leftovers
from analytics_assets.warehouse.locks import advisory_locks
from analytics_assets.warehouse.session import Session

try:
    from analytics_assets.definitions import defs, project_names
except CatalogError as error:
    sys.exit(str(error))

INTERRUPTED = 130
"""Exit status of a command that Ctrl-C ended: 128 and the number of SIGINT, as in shells."""

QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


def main() -> None:
    """Parses the command line and runs the command."""
    parser = argparse.ArgumentParser(prog="python -m analytics_assets")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("sync", help="load new rows of all resources through Dagster, and print a table of the outcome")
    commands.add_parser(
        "check", help="test whether a sync would succeed: ask the API and the destination, load nothing"
    )
    former = commands.add_parser("drop", help="drop the table and state of a resource that the catalog no longer lists")
    former.add_argument("resource", help="name of the resource, as `check` says it")
    former.add_argument("--yes", action="store_true", help="do not ask")
    ui = commands.add_parser("dev", help="run Dagster's UI, for browsers on this machine only, and Dagster's daemon")
    ui.add_argument("--port", type=int, default=3000, help="port of the UI (default: 3000)")
    outside = commands.add_parser(
        "watch", help="tell the webhook when Dagster's daemon is down, and when it is up again"
    )
    outside.add_argument("--once", action="store_true", help="print all that is wrong, and end with 1 if anything is")
    given = parser.parse_args()
    _keep_to_owner()
    if given.command in {"sync", "dev", "watch"}:
        _find_home()
    if given.command == "dev":
        sys.exit(dev(given.port, _say))
    if given.command == "watch":
        watch(project_names(), watched_of(defs()), _say, once=given.once)
    signal.signal(signal.SIGINT, _interrupt)
    try:
        if given.command == "drop":
            drop(given.resource, ask=not given.yes)
            return
        sys.exit(sync() if given.command == "sync" else check())
    except (CatalogError, ScheduleConfigError, SettingsError) as error:
        sys.exit(str(error))
    except TomlProviderReadException as error:
        # dlt reads several directories, and does not say which of the files it could not parse.
        files = " or ".join(path for path in error.full_paths if Path(path).exists())
        sys.exit(f"{files} cannot be read as TOML: {error.__context__}. Correct it there.")


def _say(text: str) -> None:
    """Prints at once, for the person who waits."""
    print(text, flush=True)


def _find_home() -> None:
    try:
        use_dagster_home(_say)
    except OSError as error:
        sys.exit(
            f"Dagster's history needs a directory, and {error.filename} cannot be made: {error.strerror}. Set"
            " DAGSTER_HOME to the absolute path of one."
        )
    if not Path(home := os.environ["DAGSTER_HOME"]).is_absolute():
        sys.exit(
            f"DAGSTER_HOME = {home!r} has to be an absolute path. Without the variable, Dagster's history is in"
            " .dagster, beside .dlt."
        )


def _interrupt(*_: object) -> NoReturn:
    """Ends the process at Ctrl-C. A KeyboardInterrupt would not: dlt treats it as a failure of its current step."""
    print("Ended by Ctrl-C: what is loaded stays, and the next sync loads the rest.", file=sys.stderr)
    sys.exit(INTERRUPTED)


def _keep_to_owner() -> None:
    """Makes files written from now on, such as Dagster's history, readable by their owner alone, or as `UMASK` says."""
    try:
        os.umask(read_umask())
    except ValueError:
        sys.exit(f"UMASK = {os.environ['UMASK']!r} is no octal number such as 077, the default, or 027.")


def sync() -> int:
    """Runs `analytics_sync` on the instance of DAGSTER_HOME, and prints the outcome. Returns the exit status."""
    console, names = Console(), project_names()
    job = defs().resolve_job_def(names.sync)
    with dg.DagsterInstance.get() as instance, live_progress(console) if console.is_terminal else nullcontext():
        result = job.execute_in_process(run_config=QUIET, instance=instance, raise_on_error=False)
        logged = instance.all_logs(result.run_id)
    if any(map(_is_interrupt, result.all_events)):
        _interrupt()
    console.print(_table(names, result))
    for entry in logged:
        if entry.level == logging.WARNING and not entry.is_dagster_event:
            console.print(entry.user_message, style="yellow", markup=False, highlight=False)
    if result.success:
        console.print("Next: [bold]make dev[/bold] opens Dagster's UI with these assets on http://localhost:3000")
        return 0
    for event in result.all_events:
        if event.is_step_failure and event.step_failure_data.user_failure_data:
            console.print(
                event.step_failure_data.user_failure_data.description, style="red", markup=False, highlight=False
            )
        elif event.is_failure and event.message:
            console.print(event.message, style="red", markup=False, highlight=False)
    return 1


def _is_interrupt(event: dg.DagsterEvent) -> bool:
    # While a step runs, Dagster handles Ctrl-C itself and fails the step; before and after, it fails the run.
    if event.is_step_failure:
        source = event.step_failure_data.error_source
        return source is not None and source.value == "INTERRUPT"
    reason = event.job_failure_data.failure_reason if event.is_job_failure and event.job_failure_data else None
    return reason is not None and reason.value == "UNEXPECTED_TERMINATION"


def check() -> int:
    """Prints a line for each resource and one for the destination; returns the exit status."""
    console, names = Console(soft_wrap=True), project_names()
    # Initializing it replaces each `EnvVar` by the variable's value, as a run does.
    configured: AnalyticsResource = (defs().resources or {})[names.resource_key]
    passed = True
    try:
        with configured.process_config_and_initialize_cm() as analytics:
            for verdict in check_connection(
                names, analytics, lambda text: console.print(text, markup=False, highlight=False)
            ):
                mark = "[green]ok[/green]    " if verdict.passed else "[red]failed[/red]"
                console.print(f"{mark}  {verdict.subject:<18}  {escape(verdict.says)}", highlight=False)
                if verdict.advice:
                    console.print(verdict.advice, markup=False, highlight=False)
                passed = passed and verdict.passed
    except SettingsError as error:
        console.print(str(error), style="red", markup=False, highlight=False)
        return 1
    return 0 if passed else 1


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
                advisory_locks(session, [name], analytics.busy_timeout),
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
    _say(f"Left of {name} in {session.target.duckdb_path or session.target.type}: {what}.")
    if ask and not sys.stdin.isatty():
        sys.exit("Nothing was dropped: there is no terminal to ask on. Add --yes to drop it.")
    if ask and input("Drop it for good? [y/N] ").strip().lower() not in {"y", "yes"}:
        sys.exit("Nothing was dropped.")
    try:
        drop_leftover(client, connector, name)
    except DatabaseException as error:
        sys.exit(f"{name} cannot be dropped: {describe_driver_error(error, client)}")
    _say(f"Dropped: {what}.")


def _table(names: Names, result: dg.ExecuteInProcessResult) -> Table:
    table = Table("Asset", title=f"Job {names.sync}: assets {'/'.join(names.prefix)}/...")
    for heading in ("Rows loaded", "Rows in table", "Seconds"):
        table.add_column(heading, justify="right")
    table.add_column("Status")
    done = {event.asset_key: event.materialization.metadata for event in result.get_asset_materialization_events()}
    for resource in names.connector.resources:
        key = names.asset_key(resource.name)
        values: dict[str, Any] = {name: value.value for name, value in done.get(key, {}).items()}
        cells = [f"{values[name]:,}" if name in values else "" for name in ("rows_loaded", "dagster/row_count")]
        seconds = f"{values['seconds']:.1f}" if values else ""
        status = "[green]materialized[/green]" if values else "[red]failed[/red]"
        table.add_row(resource.name, *cells, seconds, status)
    return table


if __name__ == "__main__":
    main()
