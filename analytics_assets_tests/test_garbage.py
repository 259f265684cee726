"""CPython's garbage collector while rows come."""

import gc
from contextlib import suppress

from analytics_assets.garbage import COLLECT_AFTER, rarely_collected


def test_the_collector_runs_rarely_only_while_rows_come() -> None:
    usual = gc.get_threshold()
    with suppress(ValueError), rarely_collected():
        assert gc.get_threshold()[0] == COLLECT_AFTER > usual[0]
        raise ValueError
    assert gc.get_threshold() == usual


def test_blocks_that_overlap_leave_the_collector_as_they_found_it() -> None:
    before = gc.get_threshold()
    one, other = rarely_collected(), rarely_collected()
    one.__enter__()
    other.__enter__()
    one.__exit__(None, None, None)
    assert gc.get_threshold() != before
    other.__exit__(None, None, None)
    assert gc.get_threshold() == before
