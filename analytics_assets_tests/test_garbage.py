"""CPython's garbage collector while rows come."""

import gc
from contextlib import suppress

from analytics_assets.garbage import rarely_collected


def test_the_collector_runs_rarely_only_while_rows_come() -> None:
    usual = gc.get_threshold()
    with suppress(ValueError), rarely_collected():
        assert gc.get_threshold()[0] > 100 * usual[0]
        raise ValueError
    assert gc.get_threshold() == usual
