"""Python's collector of cycles, in a process of its own: what it is kept from, and that nothing is left at the end."""

import subprocess
import sys

LOAD = """
import gc
from analytics_assets.definitions import defs
defs()
kept = gc.get_freeze_count()
assert kept > 100_000, kept
assert gc.isenabled()
"""

# Counting takes as long as the rest of the definitions.
LOAD_AGAIN = """
count, gc.get_freeze_count = gc.get_freeze_count, None
defs().get_repository_def()
assert count() <= kept
"""

FROZEN_BY_SOMEBODY_ELSE = """
import gc
gc.freeze()
kept = gc.get_freeze_count()
from analytics_assets.definitions import defs
defs()
assert gc.isenabled()
assert gc.get_freeze_count() <= kept
"""

# What is registered first is called last.
SEEN_LAST = """
import atexit, gc, os
atexit.register(lambda: (gc.isenabled() or gc.get_freeze_count()) and os._exit(1))
"""

COLLECTOR_OFF = """
import gc
gc.disable()
from analytics_assets.definitions import defs
defs()
assert not gc.isenabled()
assert gc.get_freeze_count() == 0
"""

SYNC_ROWS = """
from analytics_assets.collector import seldom_collected
usual = gc.get_threshold()
with seldom_collected():
    assert gc.get_threshold()[0] > 100 * usual[0]
assert gc.get_threshold() == usual
"""

# A name of the main module lives until Python takes its modules apart.
LEAVE_DUCKDB_OPEN = """
from dlt.destinations.impl.duckdb import sql_client
import duckdb
connection = duckdb.connect()
"""


def run(*code: str) -> None:
    """Runs code, which has to succeed in silence: DuckDB's binding writes a page about its objects that are left."""
    result = subprocess.run([sys.executable, "-c", "".join(code)], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def test_modules_of_the_definitions_are_out_of_its_sight_once_and_for_all() -> None:
    run(LOAD, LOAD_AGAIN)


def test_duckdb_finds_none_of_its_objects_left_at_the_end() -> None:
    run(LEAVE_DUCKDB_OPEN, LOAD)


def test_at_the_end_everything_is_in_its_sight_and_it_does_not_look_first() -> None:
    run(SEEN_LAST, LOAD)


def test_it_stays_off_where_somebody_has_switched_it_off() -> None:
    run(COLLECTOR_OFF)


def test_what_somebody_else_has_frozen_stays_theirs() -> None:
    run(FROZEN_BY_SOMEBODY_ELSE)


def test_it_runs_seldom_only_while_rows_come() -> None:
    run("import gc", SYNC_ROWS)
